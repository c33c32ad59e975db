"""The mail server that SMTP_URL names."""

import ipaddress
import re
from dataclasses import dataclass, field
from typing import Self
from urllib.parse import unquote, urlsplit

URL_FORMAT_MESSAGE = "must look like smtp://host:port or smtps://user:password@host:port"
_HOST_PATTERN = re.compile(r"[A-Za-z0-9._:-]+")


@dataclass(frozen=True, slots=True)
class SmtpServer:
    """`tls` is from the first byte on; otherwise STARTTLS is used wherever it is offered."""

    host: str
    port: int
    implicit_tls: bool = False
    username: str | None = None
    password: str | None = field(default=None, repr=False)

    @classmethod
    def parse(cls, url: str) -> Self:
        """Without a port: 465 for smtps, 587 for a user with a password, otherwise 25. Raises `ValueError`."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port
        except ValueError:
            raise ValueError(URL_FORMAT_MESSAGE) from None
        if parts.scheme not in ("smtp", "smtps") or not _HOST_PATTERN.fullmatch(host) or port == 0:
            raise ValueError(URL_FORMAT_MESSAGE)
        if parts.path.strip("/") or parts.query or parts.fragment:
            raise ValueError(
                f"{URL_FORMAT_MESSAGE}, and nothing behind that: a / ? # or @ in a password is written as %2F %3F %23 %40"
            )
        if bool(parts.username) != bool(parts.password):
            raise ValueError("must name a user and a password, or neither of them")
        implicit_tls, username = parts.scheme == "smtps", unquote(parts.username or "") or None
        default_port = 465 if implicit_tls else 587 if username else 25
        return cls(host, port or default_port, implicit_tls, username, unquote(parts.password or "") or None)

    @property
    def is_local(self) -> bool:
        return is_local(self.host)

    @property
    def requires_tls(self) -> bool:
        """A password never travels in the clear."""
        return self.username is not None and not self.is_local


def is_local(host: str) -> bool:
    """Whether it is this machine: nobody else can listen on the way there."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
