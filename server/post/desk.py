"""The desk that letters are made and handed in at, as the settings have it."""

from collections.abc import Callable

from domain.posting import Desk, PostOffice
from server.post.maildir import MaildirOffice
from server.post.relay import Relay
from server.post.rendering import Stationery, public_host
from server.post.smtp import SmtpOffice
from server.settings import Settings


def desk_of(settings: Settings, watched: Callable[[PostOffice], PostOffice] | None = None) -> Desk:
    """`watched` is put around the office, if anybody watches."""
    office = _office(settings)
    return Desk(Stationery(settings.sender, settings.policy).compose, watched(office) if office and watched else office)


def _office(settings: Settings) -> PostOffice | None:
    if settings.mail_suppress_send:
        return None
    if settings.smtp_url:
        return SmtpOffice(Relay.parse(settings.smtp_url), public_host(settings.issuer))
    return MaildirOffice(settings.mail_folder)
