"""The settings of emails."""

import re
from email.headerregistry import Address
from pathlib import Path

from pydantic import BaseModel, Field, field_validator

from server.urls import SmtpServer

_EMAIL_PATTERN = r"[\w.!#$%&'*+/=?^`{|}~-]+@[A-Za-z0-9.-]+"
_MAILBOX_PATTERN = re.compile(rf"([^<>@]*)<({_EMAIL_PATTERN})>|({_EMAIL_PATTERN})", re.ASCII)


class EmailSettings(BaseModel):
    """Email."""

    smtp_url: str | None = Field(
        None,
        repr=False,
        description=(
            "Mail server. smtp:// uses STARTTLS if offered, and requires it to send a password; smtps:// uses TLS from"
            " the start. In a password, write / as %2F, ? as %3F, # as %23 and @ as %40."
            " Unset: emails are stored in MAIL_FOLDER."
        ),
        examples=["smtp://user:password@mail.example.com:587"],
    )
    mail_from: str = Field("shop@localhost", description="Sender of emails.", examples=["Bookstore <shop@example.com>"])
    mail_folder: Path = Field(Path(".bookstore/mail"), description="Maildir for emails without SMTP_URL.")
    mail_suppress_send: bool = Field(False, description="Send no emails, and store none.")
    worker: bool = Field(True, description="Send emails from this server. `false` leaves them to `bookstore worker`.")

    @field_validator("smtp_url")
    @classmethod
    def _validate_smtp_url(cls, value: str | None) -> str | None:
        if value is not None:
            SmtpServer.parse(value)
        return value

    @field_validator("mail_from")
    @classmethod
    def _validate_mail_from(cls, value: str) -> str:
        _parse_mailbox(value)
        return value

    @property
    def sender(self) -> Address:
        """The name and the address in the From header."""
        return _parse_mailbox(self.mail_from)


def _parse_mailbox(text: str) -> Address:
    """Parse exactly one mailbox, written as in a header.

    Raises:
        ValueError: the text is anything else.
    """
    match = _MAILBOX_PATTERN.fullmatch(text.strip())
    if match is None or not text.isprintable():
        raise ValueError("must be one address, such as shop@example.com or Bookstore <shop@example.com>")
    name, bracketed, bare = match.groups()
    username, _, domain = (bracketed or bare).partition("@")
    return Address((name or "").strip(' "') or "Bookstore", username, domain)
