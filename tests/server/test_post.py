"""The post offices: what they take, what they refuse for good, what they put off; and how far they trust the wire."""

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

from domain.posting import PostDelayed, PostRefused
from server.post import relay as relays
from server.post import smtp
from server.post.desk import desk_of
from server.post.maildir import MaildirOffice, problem_with_maildir
from server.post.relay import Relay
from server.post.smtp import SmtpOffice
from server.settings import Settings
from tests.smtp import Mailbox, mail_server, self_signed

PASSWORD = "p%40ss%2Fword"


def letter(to: str = "reader@example.com") -> EmailMessage:
    message = EmailMessage(SMTP if to.isascii() else SMTPUTF8)
    message["From"], message["To"], message["Subject"] = "shop@example.com", to, "Grüße"
    message.set_content("Für Sie\n", cte="quoted-printable")
    return message


async def send(mailbox: Mailbox, credentials: str = "", to: str = "reader@example.com", *, tls: bool = False) -> None:
    scheme = "smtps" if tls else "smtp"
    url = f"{scheme}://{credentials}127.0.0.1:{mailbox.port}"
    await SmtpOffice(Relay.parse(url), "shop.example.com").send(letter(to))


@pytest.fixture
def far_away(monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine counts as another one, with somebody listening in between."""
    monkeypatch.setattr(relays, "is_local", lambda host: False)


# ── Addresses of mail servers ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("smtp://mail", Relay("mail", 25)),
        ("smtp://mail:2525/", Relay("mail", 2525)),
        ("smtps://mail", Relay("mail", 465, tls=True)),
        ("SMTP://Mail.Example.com", Relay("mail.example.com", 25)),
        ("smtp://us%40er:p%40%2Fs@mail", Relay("mail", 587, username="us@er", password="p@/s")),
        ("smtps://user:pass@mail:1", Relay("mail", 1, True, "user", "pass")),
        ("smtp://[::1]:25", Relay("::1", 25)),
    ],
)
def test_an_address(url: str, expected: Relay) -> None:
    assert Relay.parse(url) == expected


@pytest.mark.parametrize(
    "url",
    [
        "mail", "mail:25", "http://mail", "smtp://", "smtp://:25", "smtp://mail:0", "smtp://mail:x", "smtp://mail:70000",
        "smtp://mail/inbox", "smtp://mail?tls", "smtp://mail#x", "smtp://user@mail", "smtp://:secret@mail",
        "smtp://user:se/cret@mail", "smtp://user:se#cret@mail", "smtp://ma il", "smtp://[::1",
    ],
)  # fmt: skip
def test_an_address_that_is_none(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        Settings(_env_file=None, smtp_url=url)
    [problem] = caught.value.errors()
    assert problem["loc"] == ("smtp_url",)
    assert "cret" not in str(caught.value)


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(Relay.parse("smtp://user:secret@mail"))


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        *(("mail_from", text) for text in ("shop", "@example.com", "a@b, c@d", "a@b\r\nBcc: c@d", "Shop <a@b> x", "é@b.de")),
        *(("time_zone", text) for text in ("Mars", "Europe", "../UTC", "/etc/localtime", "\0", "europe berlin")),
        ("mail_suppress_send", "perhaps"),
        ("worker", "perhaps"),
    ],
)  # fmt: skip
def test_settings_that_are_refused(setting: str, value: str) -> None:
    given: dict[str, Any] = {setting: value}
    with pytest.raises(ValidationError) as caught:
        Settings(_env_file=None, **given)
    [problem] = caught.value.errors()
    assert problem["loc"] == (setting,)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("shop@localhost", "Bookstore <shop@localhost>"),
        ("Emma's <emma@example.com>", "Emma's <emma@example.com>"),
        ('"Bücher, neu" <b@example.com>', '"Bücher, neu" <b@example.com>'),
    ],
)
def test_a_sender(text: str, shown: str) -> None:
    assert str(Settings(_env_file=None, mail_from=text).sender) == shown


# ── SMTP ──────────────────────────────────────────────────────────────────────────────────


async def test_a_letter_arrives() -> None:
    async with mail_server() as mailbox:
        await send(mailbox)
    [received] = mailbox.letters
    assert received["Subject"] == "Grüße"
    assert received.get_content().strip() == "Für Sie"


async def test_a_letter_to_an_address_beyond_ascii() -> None:
    async with mail_server() as mailbox:
        await send(mailbox, to="dörte@example.com")
    assert mailbox.on_their_way == ["dörte@example.com"]


async def test_a_recipient_is_refused_for_good() -> None:
    async with mail_server() as mailbox:
        mailbox.on_recipient["*"] = "550 5.1.1 Nobody here by that name"
        with pytest.raises(PostRefused, match="Nobody here"):
            await send(mailbox)


async def test_a_letter_is_refused_for_good() -> None:
    async with mail_server() as mailbox:
        mailbox.on_data = "554 5.6.0 Not this one"
        with pytest.raises(PostRefused, match="554"):
            await send(mailbox)


@pytest.mark.parametrize("answer", ["421 4.3.2 Closing", "450 4.2.1 Busy", "451 4.3.0 Not now", "452 4.2.2 Full"])
async def test_what_is_put_off(answer: str) -> None:
    async with mail_server() as mailbox:
        mailbox.on_recipient["*"] = answer
        with pytest.raises(PostDelayed):
            await send(mailbox)
        mailbox.on_recipient.clear()
        mailbox.on_data = answer
        with pytest.raises(PostDelayed):
            await send(mailbox)


async def test_a_sender_that_is_refused_is_for_the_operator_to_put_right() -> None:
    async with mail_server() as mailbox:
        mailbox.on_sender = "550 5.7.1 Not you"
        with pytest.raises(PostDelayed, match="Not you"):
            await send(mailbox)


async def test_a_mail_server_that_is_away() -> None:
    async with mail_server() as mailbox:
        pass
    with pytest.raises((PostDelayed, OSError)):
        await send(mailbox)


@pytest.mark.parametrize("limit", ["STEP_TIMEOUT", "WHOLE_TIMEOUT"])
async def test_nobody_waits_for_ever(monkeypatch: pytest.MonkeyPatch, limit: str) -> None:
    monkeypatch.setattr(smtp, limit, 0.2)
    async with mail_server() as mailbox:
        mailbox.gate = asyncio.Event()
        with pytest.raises(PostDelayed):
            await send(mailbox)


# ── Encryption ────────────────────────────────────────────────────────────────────────────


async def test_starttls_is_used_where_it_is_offered(tmp_path: Path) -> None:
    async with mail_server(tls=self_signed(tmp_path)) as mailbox:
        await send(mailbox)
    assert mailbox.encrypted == [True]


async def test_tls_from_the_start(tmp_path: Path) -> None:
    async with mail_server(tls=self_signed(tmp_path), from_the_start=True) as mailbox:
        await send(mailbox, tls=True)
    assert mailbox.encrypted == [True]


async def test_a_password_is_given(tmp_path: Path) -> None:
    async with mail_server(tls=self_signed(tmp_path), password="p@ss/word") as mailbox:
        await send(mailbox, f"clerk:{PASSWORD}@")
    assert (mailbox.users, len(mailbox.letters)) == (["clerk"], 1)


async def test_a_wrong_password_is_for_the_operator_to_put_right(tmp_path: Path) -> None:
    async with mail_server(tls=self_signed(tmp_path), password="another") as mailbox:
        with pytest.raises(PostDelayed, match="535") as caught:
            await send(mailbox, f"clerk:{PASSWORD}@")
    assert "word" not in str(caught.value)


async def test_a_password_never_travels_in_the_clear(far_away: None) -> None:
    async with mail_server(password="p@ss/word") as mailbox:
        with pytest.raises(PostDelayed, match="STARTTLS"):
            await send(mailbox, f"clerk:{PASSWORD}@")
    assert (mailbox.users, mailbox.letters) == ([], [])


@pytest.mark.parametrize("from_the_start", [True, False])
async def test_a_password_is_not_told_to_whoever_claims_to_be_the_server(
    far_away: None, tmp_path: Path, from_the_start: bool
) -> None:
    tls = self_signed(tmp_path)
    async with mail_server(tls=tls, from_the_start=from_the_start, password="p@ss/word") as mailbox:
        with pytest.raises((PostDelayed, OSError), match=r"(?i)certificate"):
            await send(mailbox, f"clerk:{PASSWORD}@", tls=from_the_start)
    assert (mailbox.users, mailbox.letters) == ([], [])


# ── A folder instead ──────────────────────────────────────────────────────────────────────


async def test_without_a_mail_server_letters_lie_in_a_maildir(tmp_path: Path) -> None:
    folder = tmp_path / "not" / "there" / "mail"
    await asyncio.gather(*(MaildirOffice(folder).send(letter(f"reader-{number}@example.com")) for number in range(5)))
    found = mailbox.Maildir(folder).values()
    assert sorted(str(message["To"]) for message in found) == [f"reader-{number}@example.com" for number in range(5)]
    assert all(b"\r" not in file.read_bytes() for file in (folder / "new").iterdir())


async def test_a_folder_that_cannot_be_written_puts_off(tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    with pytest.raises(OSError):
        await MaildirOffice(tmp_path / "mail").send(letter())


async def test_of_a_letter_that_has_no_room_nothing_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def is_full(_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", is_full)
    with pytest.raises(OSError, match="No space left"):
        await MaildirOffice(tmp_path / "mail").send(letter())
    assert [file for file in (tmp_path / "mail").rglob("*") if file.is_file()] == []
    assert problem_with_maildir(Settings(_env_file=None, mail_folder=tmp_path / "mail")) == (
        f"{tmp_path}/mail takes no letters: No space left on device."
        " Name another folder with MAIL_FOLDER, or a mail server with SMTP_URL."
    )


@pytest.mark.parametrize("elsewhere", [{"smtp_url": "smtp://mail"}, {"mail_suppress_send": True}])
def test_a_folder_that_no_letter_goes_to_is_not_looked_at(tmp_path: Path, elsewhere: dict[str, Any]) -> None:
    assert problem_with_maildir(Settings(_env_file=None, mail_folder=tmp_path / "mail", **elsewhere)) is None
    assert list(tmp_path.iterdir()) == []


def test_the_settings_choose(tmp_path: Path) -> None:
    folder = tmp_path / "mail"
    chosen = desk_of(Settings(_env_file=None, mail_folder=folder)).office
    assert (type(chosen), str(chosen)) == (MaildirOffice, str(folder))
    chosen = desk_of(Settings(_env_file=None, smtp_url="smtp://user:secret@mail")).office
    assert (type(chosen), str(chosen)) == (SmtpOffice, "mail:587")
    assert desk_of(Settings(_env_file=None, smtp_url="smtp://mail", mail_suppress_send=True)).office is None
