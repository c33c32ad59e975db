"""URLs of mail servers and web sites: parse SMTP_URL, and tell which URLs are safe for secrets."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

URL_FORMAT_MESSAGE = "must look like smtp://host:port or smtps://user:password@host:port"
_HOST_PATTERN = re.compile(r"[A-Za-z0-9._:-]+")


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """A mail server. With `implicit_tls` TLS starts with the connection; otherwise STARTTLS is used if offered."""

    host: str
    port: int
    implicit_tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Parse a URL. The default port is 465 for smtps, 587 with a user, otherwise 25.

        Raises:
            ValueError: the URL is not valid.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError(URL_FORMAT_MESSAGE) from None
        if parts.scheme not in ("smtp", "smtps") or not _HOST_PATTERN.fullmatch(host) or port == 0:
            raise ValueError(URL_FORMAT_MESSAGE)
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(
                f"{URL_FORMAT_MESSAGE}, without a path. In a password, write / as %2F, ? as %3F, # as %23 and @ as %40"
            )
        if bool(parts.username) != bool(parts.password):
            raise ValueError("must name a user and a password, or neither of them")
        implicit_tls, username = parts.scheme == "smtps", unquote(parts.username or "") or None
        default_port = 465 if implicit_tls else 587 if username else 25
        return cls(host, port or default_port, implicit_tls, username, unquote(parts.password or "") or None)

    @property
    def is_local(self) -> bool:
        """Whether the server runs on this machine."""
        return is_local(self.host)

    @property
    def requires_tls(self) -> bool:
        """Whether a password would otherwise cross the network unencrypted."""
        return self.username is not None and not self.is_local


def is_local(host: str) -> bool:
    """Return whether a host is this machine, so that nothing crosses the network."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_secure_url(url: str) -> bool:
    """Return whether a URL uses HTTPS, or HTTP to this machine."""
    parts = urlsplit(url)
    return bool(parts.hostname) and (
        parts.scheme == "https" or (parts.scheme == "http" and is_local(parts.hostname or ""))
    )
