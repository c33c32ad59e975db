"""The email backends: sending, permanent and temporary failures, and encryption."""

import asyncio
import errno
import mailbox
import os
from email.message import EmailMessage
from email.policy import SMTP, SMTPUTF8
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from domain.email.delivery import PermanentFailure, TemporaryFailure
from server import urls
from server.mail import smtp
from server.mail.maildir import MaildirBackend, check_maildir
from server.mail.mailer import build_mailer
from server.mail.smtp import SmtpBackend
from server.settings import Settings
from server.urls import SmtpServer
from tests.support.email.smtp import FakeMailServer, create_self_signed_context, start_mail_server

PASSWORD = "p%40ss%2Fword"


def build_message(to: str = "reader@example.com") -> EmailMessage:
    message = EmailMessage(SMTP if to.isascii() else SMTPUTF8)
    message["From"], message["To"], message["Subject"] = "shop@example.com", to, "Grüße"
    message.set_content("Für Sie\n", cte="quoted-printable")
    return message


async def send_message(
    mailbox: FakeMailServer, credentials: str = "", to: str = "reader@example.com", *, tls: bool = False
) -> None:
    scheme = "smtps" if tls else "smtp"
    url = f"{scheme}://{credentials}127.0.0.1:{mailbox.port}"
    await SmtpBackend(SmtpServer.parse(url), "shop.example.com").send(build_message(to))


@pytest.fixture
def remote_mail_server(monkeypatch: pytest.MonkeyPatch) -> None:
    """Treat this machine as a remote one, whose connection can be intercepted."""
    monkeypatch.setattr(urls, "is_local", lambda host: False)


# ── Settings ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail", SmtpServer("mail", 25)),
        ("smtp://mail:2525/", SmtpServer("mail", 2525)),
        ("smtps://mail", SmtpServer("mail", 465, implicit_tls=True)),
        ("SMTP://Mail.Example.com", SmtpServer("mail.example.com", 25)),
        ("smtp://us%40er:p%40%2Fs@mail", SmtpServer("mail", 587, username="us@er", password="p@/s")),
        ("smtps://user:pass@mail:1", SmtpServer("mail", 1, True, "user", "pass")),
        ("smtp://[::1]:25", SmtpServer("::1", 25)),
    ],
)
def test_smtp_url(url: str, expected: SmtpServer) -> None:
    assert SmtpServer.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "mail", "mail:25", "http://mail", "smtp://", "smtp://:25", "smtp://mail:0", "smtp://mail:x", "smtp://mail:70000",
        "smtp://mail/inbox", "smtp://mail?tls", "smtp://mail#x", "smtp://user@mail", "smtp://:secret@mail",
        "smtp://user:se/cret@mail", "smtp://user:se#cret@mail", "smtp://ma il", "smtp://[::1",
    ],
)  # fmt: skip
def test_invalid_smtp_url(url: str) -> None:
    with pytest.raises(ValidationError) as error_info:
        Settings(_env_file=None, smtp_url=url)
    [error] = error_info.value.errors()
    assert error["loc"] == ("smtp_url",)
    assert "cret" not in str(error_info.value)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(SmtpServer.parse("smtp://user:secret@mail"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("mail_from", text) for text in ("shop", "@example.com", "a@b, c@d", "a@b\r\nBcc: c@d", "Shop <a@b> x", "é@b.de")),
        *(("time_zone", text) for text in ("Mars", "Europe", "../UTC", "/etc/localtime", "\0", "europe berlin")),
        ("mail_suppress_send", "perhaps"),
        ("worker", "perhaps"),
    ],
)  # fmt: skip
def test_invalid_settings(setting: str, value: str) -> None:
    values: dict[str, Any] = {setting: value}
    with pytest.raises(ValidationError) as error_info:
        Settings(_env_file=None, **values)
    [error] = error_info.value.errors()
    assert error["loc"] == (setting,)


@pytest.mark.parametrize(
    ("text", "description"),
    [
        ("shop@localhost", "Bookstore <shop@localhost>"),
        ("Emma's <emma@example.com>", "Emma's <emma@example.com>"),
        ('"Bücher, neu" <b@example.com>', '"Bücher, neu" <b@example.com>'),
    ],
)
def test_sender(text: str, description: str) -> None:
    assert str(Settings(_env_file=None, mail_from=text).sender) == description


# ── SMTP ──────────────────────────────────────────────────────────────────────────────────


async def test_email_is_delivered() -> None:
    async with start_mail_server() as mailbox:
        await send_message(mailbox)
    [received] = mailbox.messages
    assert received["Subject"] == "Grüße"
    assert received.get_content().strip() == "Für Sie"


async def test_email_to_a_non_ascii_address() -> None:
    async with start_mail_server() as mailbox:
        await send_message(mailbox, to="dörte@example.com")
    assert mailbox.submitted_recipients == ["dörte@example.com"]


async def test_rejected_recipient_is_a_permanent_failure() -> None:
    async with start_mail_server() as mailbox:
        mailbox.recipient_responses["*"] = "550 5.1.1 Nobody here by that name"
        with pytest.raises(PermanentFailure, match="Nobody here"):
            await send_message(mailbox)


async def test_rejected_message_is_a_permanent_failure() -> None:
    async with start_mail_server() as mailbox:
        mailbox.data_response = "554 5.6.0 Not this one"
        with pytest.raises(PermanentFailure, match="554"):
            await send_message(mailbox)


@pytest.mark.parametrize(
    "smtp_response", ["421 4.3.2 Closing", "450 4.2.1 Busy", "451 4.3.0 Not now", "452 4.2.2 Full"]
)
async def test_temporary_failures(smtp_response: str) -> None:
    async with start_mail_server() as mailbox:
        mailbox.recipient_responses["*"] = smtp_response
        with pytest.raises(TemporaryFailure):
            await send_message(mailbox)
        mailbox.recipient_responses.clear()
        mailbox.data_response = smtp_response
        with pytest.raises(TemporaryFailure):
            await send_message(mailbox)


async def test_rejected_sender_is_a_temporary_failure() -> None:
    async with start_mail_server() as mailbox:
        mailbox.sender_response = "550 5.7.1 Not you"
        with pytest.raises(TemporaryFailure, match="Not you"):
            await send_message(mailbox)


async def test_unreachable_mail_server() -> None:
    async with start_mail_server() as mailbox:
        pass
    with pytest.raises((TemporaryFailure, OSError)):
        await send_message(mailbox)


@pytest.mark.parametrize("timeout_name", ["STEP_TIMEOUT", "SEND_TIMEOUT"])
async def test_timeouts(monkeypatch: pytest.MonkeyPatch, timeout_name: str) -> None:
    monkeypatch.setattr(smtp, timeout_name, 0.2)
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        with pytest.raises(TemporaryFailure):
            await send_message(mailbox)


# ── Encryption ────────────────────────────────────────────────────────────────────────────


async def test_starttls_is_used_where_it_is_offered(tmp_path: Path) -> None:
    async with start_mail_server(tls=create_self_signed_context(tmp_path)) as mailbox:
        await send_message(mailbox)
    assert mailbox.used_tls == [True]


async def test_implicit_tls(tmp_path: Path) -> None:
    async with start_mail_server(tls=create_self_signed_context(tmp_path), implicit_tls=True) as mailbox:
        await send_message(mailbox, tls=True)
    assert mailbox.used_tls == [True]


async def test_authentication(tmp_path: Path) -> None:
    async with start_mail_server(tls=create_self_signed_context(tmp_path), password="p@ss/word") as mailbox:
        await send_message(mailbox, f"clerk:{PASSWORD}@")
    assert (mailbox.usernames, len(mailbox.messages)) == (["clerk"], 1)


async def test_wrong_password_is_a_temporary_failure(tmp_path: Path) -> None:
    async with start_mail_server(tls=create_self_signed_context(tmp_path), password="another") as mailbox:
        with pytest.raises(TemporaryFailure, match="535") as error_info:
            await send_message(mailbox, f"clerk:{PASSWORD}@")
    assert "word" not in str(error_info.value)


async def test_password_is_never_sent_unencrypted(remote_mail_server: None) -> None:
    async with start_mail_server(password="p@ss/word") as mailbox:
        with pytest.raises(TemporaryFailure, match="STARTTLS"):
            await send_message(mailbox, f"clerk:{PASSWORD}@")
    assert (mailbox.usernames, mailbox.messages) == ([], [])


@pytest.mark.parametrize("implicit_tls", [True, False])
async def test_password_is_not_sent_to_an_unverified_server(
    remote_mail_server: None, tmp_path: Path, implicit_tls: bool
) -> None:
    tls = create_self_signed_context(tmp_path)
    async with start_mail_server(tls=tls, implicit_tls=implicit_tls, password="p@ss/word") as mailbox:
        with pytest.raises((TemporaryFailure, OSError), match=r"(?i)certificate"):
            await send_message(mailbox, f"clerk:{PASSWORD}@", tls=implicit_tls)
    assert (mailbox.usernames, mailbox.messages) == ([], [])


# ── Maildir ───────────────────────────────────────────────────────────────────────────────


async def test_maildir_without_a_mail_server(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "mail"
    await asyncio.gather(
        *(MaildirBackend(folder).send(build_message(f"reader-{number}@example.com")) for number in range(5))
    )
    messages = mailbox.Maildir(folder).values()
    assert sorted(str(message["To"]) for message in messages) == [f"reader-{number}@example.com" for number in range(5)]
    assert all(b"\r" not in file.read_bytes() for file in (folder / "new").iterdir())


async def test_unwritable_maildir_is_a_temporary_failure(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("not a folder")
    with pytest.raises(OSError):
        await MaildirBackend(tmp_path / "mail").send(build_message())


async def test_full_disk_leaves_no_partial_email(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def raise_disk_full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", raise_disk_full)
    with pytest.raises(OSError, match="No space left"):
        await MaildirBackend(tmp_path / "mail").send(build_message())
    assert [file for file in (tmp_path / "mail").rglob("*") if file.is_file()] == []
    assert check_maildir(Settings(_env_file=None, mail_folder=tmp_path / "mail")) == (
        f"{tmp_path}/mail is not writable: No space left on device."
        " Name another folder with MAIL_FOLDER, or a mail server with SMTP_URL."
    )


@pytest.mark.parametrize("other_settings", [{"smtp_url": "smtp://mail"}, {"mail_suppress_send": True}])
def test_unused_maildir_is_not_checked(tmp_path: Path, other_settings: dict[str, Any]) -> None:
    assert check_maildir(Settings(_env_file=None, mail_folder=tmp_path / "mail", **other_settings)) is None
    assert list(tmp_path.iterdir()) == []


def test_settings_select_the_backend(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    backend = build_mailer(Settings(_env_file=None, mail_folder=folder)).backend
    assert (type(backend), str(backend)) == (MaildirBackend, str(folder))
    backend = build_mailer(Settings(_env_file=None, smtp_url="smtp://user:secret@mail")).backend
    assert (type(backend), str(backend)) == (SmtpBackend, "mail:587")
    assert build_mailer(Settings(_env_file=None, smtp_url="smtp://mail", mail_suppress_send=True)).backend is None
