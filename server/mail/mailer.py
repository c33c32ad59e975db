"""Build the mailer from the settings: the renderer and the backend of emails."""

from collections.abc import Callable

from domain.email.delivery import EmailBackend, Mailer
from server.mail.maildir import MaildirBackend
from server.mail.rendering import EmailRenderer, extract_host
from server.mail.smtp import SmtpBackend
from server.settings import Settings
from server.urls import SmtpServer


def build_mailer(settings: Settings, wrap_backend: Callable[[EmailBackend], EmailBackend] | None = None) -> Mailer:
    """Return the mailer; `wrap_backend` wraps its backend for tracing."""
    backend = _build_backend(settings)
    return Mailer(
        EmailRenderer(settings.sender, settings.policy).render,
        wrap_backend(backend) if backend and wrap_backend else backend,
    )


def _build_backend(settings: Settings) -> EmailBackend | None:
    if settings.mail_suppress_send:
        return None
    if settings.smtp_url:
        return SmtpBackend(SmtpServer.parse(settings.smtp_url), extract_host(settings.issuer))
    return MaildirBackend(settings.mail_folder)
