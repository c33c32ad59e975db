"""Letters on the command line: what was given up is listed and requeued, and a poster works alone until it is told to stop."""

import asyncio
import mailbox
import signal
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from persistence import letters
from persistence.letters import LetterKind, LetterStatus
from server.commands.letters import whereabouts
from server.settings import Settings
from tests.commands import PATIENCE, Bookstore, Ended, refused, started
from tests.factories import add_member
from tests.letters import fates, until_settled
from tests.shops import opened

REFUSED = "550 5.1.1 [bold]Nobody[/] here by that name"


async def give_up(shop: Shop, postgres: asyncpg.Connection) -> tuple[uuid.UUID, str]:
    """A letter that nobody takes, and whom it is for."""
    reader = await add_member(shop)
    async with shop.database.transaction() as tx:
        await letters.add_letters(tx, LetterKind.ORDER_CONFIRMED, [(uuid.uuid4(), reader.id)])
    letter_id = uuid.UUID(str(await postgres.fetchval("SELECT id FROM letters WHERE user_id = $1", reader.id)))
    async with shop.database.transaction() as tx:
        await letters.settle_letter(tx, letter_id, LetterStatus.FAILED, REFUSED)
    return letter_id, reader.user.email


async def test_nothing_was_given_up(bookstore: Bookstore) -> None:
    assert await bookstore("letters") == Ended(0, "No letter was given up.\n", "")
    assert await bookstore("letters", "--requeue") == Ended(0, "0 requeued.\n", "")


async def test_what_was_given_up_is_listed(bookstore: Bookstore, shop: Shop, postgres: asyncpg.Connection) -> None:
    letter_id, email = await give_up(shop, postgres)
    ended = await bookstore("letters")
    assert ended.code == 0
    [line] = [line for line in ended.out.splitlines() if str(letter_id) in line]
    for told in ("ORDER_CONFIRMED", email, " 1 ", REFUSED):
        assert told in line


async def test_all_is_requeued(bookstore: Bookstore, shop: Shop, postgres: asyncpg.Connection) -> None:
    for _ in range(2):
        await give_up(shop, postgres)
    await postgres.execute("TRUNCATE pgqueuer")
    assert await bookstore("letters", "--requeue") == Ended(0, "2 requeued.\n", "")
    assert await fates(postgres) == [("ORDER_CONFIRMED", "QUEUED")] * 2
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 2


async def test_only_what_was_named_is_requeued(bookstore: Bookstore, shop: Shop, postgres: asyncpg.Connection) -> None:
    await give_up(shop, postgres)
    second, _ = await give_up(shop, postgres)
    assert await bookstore("letters", str(second), "--requeue") == Ended(0, "1 requeued.\n", "")
    assert await fates(postgres) == [("ORDER_CONFIRMED", "FAILED"), ("ORDER_CONFIRMED", "QUEUED")]
    assert await refused(bookstore("letters", "--requeue", str(second))) == (
        "0 of 1 requeued: the others are not among those that were given up."
    )


@pytest.mark.parametrize("arguments", [("not-an-id", "--requeue"), (str(uuid.uuid4()),)])
async def test_letters_that_are_named_in_vain(bookstore: Bookstore, arguments: tuple[str, ...]) -> None:
    ended = await bookstore("letters", *arguments)
    assert (ended.code, ended.out) == (2, "")
    assert "Traceback" not in ended.err


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_worker_posts_until_it_is_told_to_stop(
    shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection, number: int
) -> None:
    reader = await add_member(shop)
    given = {"DATABASE_URL": str(settings.database_url), "SECRET_KEY": settings.secret_key[0], "LOG_LEVEL": "warning"}
    async with started("worker", folder=tmp_path, settings=given) as worker, asyncio.timeout(PATIENCE):
        assert worker.stdout is not None
        told = (await worker.stdout.readline()).decode()
        assert told == f"Posting letters: in {tmp_path / '.bookstore' / 'mail'}. Stop with Ctrl+C.\n"
        async with shop.database.transaction() as tx:
            await letters.add_letters(tx, LetterKind.BOOK_BACK, [(uuid.uuid4(), reader.id)])
        assert await until_settled(postgres) == [("BOOK_BACK", "OBSOLETE")]
        worker.send_signal(number)
        out, err = await worker.communicate()
    assert (worker.returncode, out, err) == (0, b"", b"")


async def test_a_shop_of_ones_own_shows_its_letters(tmp_path: Path) -> None:
    async with opened("--data", str(tmp_path / "data"), "--no-demo", folder=tmp_path) as shop:
        assert f"Letters       in {tmp_path / 'data' / 'mail'}" in shop.welcome
        await shop.visitor.ask(REGISTER)
        found = mailbox.Maildir(tmp_path / "data" / "mail")
        async with asyncio.timeout(PATIENCE):
            while not len(found):
                await asyncio.sleep(0.05)
        [letter] = found.values()
        assert letter["To"] == "ann@example.com"
        assert (await shop.closes(signal.SIGTERM)).code in (0, 128 + signal.SIGTERM, -signal.SIGTERM)


REGISTER = """mutation { register(input: {email: "ann@example.com", password: "a long and winding sentence"})
    { __typename } }"""


@pytest.mark.parametrize(
    ("settings", "told"),
    [
        ({"worker": False}, "left to [cyan]bookstore worker[/]"),
        ({"smtp_url": "smtp://user:secret@mail.example.com"}, "through mail.example.com:587"),
        ({"mail_suppress_send": True}, "none are sent: MAIL_SUPPRESS_SEND"),
        ({"mail_folder": Path("/var/mail")}, "in /var/mail"),
    ],
)
def test_a_shop_says_where_its_letters_go(settings: dict[str, Any], told: str) -> None:
    assert whereabouts(Settings(_env_file=None, **settings)) == told


async def test_a_server_that_leaves_letters_to_others(
    shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    given = {"DATABASE_URL": str(settings.database_url), "SECRET_KEY": settings.secret_key[0]}
    async with opened("--no-worker", folder=tmp_path, **given) as server:
        assert "Letters       left to bookstore worker\n" in server.welcome
        await server.visitor.ask(REGISTER)
        assert (await server.closes(signal.SIGTERM)).err == ""
    assert await fates(postgres) == [("VERIFY_EMAIL", "QUEUED")]
    assert not (tmp_path / ".bookstore" / "mail").exists()


@pytest.mark.parametrize(
    ("setting", "value", "complaint"),
    [
        ("SMTP_URL", "mail:25", "SMTP_URL: must look like smtp://host:port or smtps://user:password@host:port"),
        (
            "MAIL_FROM",
            "shop",
            "MAIL_FROM: must be one address, such as shop@example.com or Bookstore <shop@example.com>",
        ),
        ("TIME_ZONE", "Mars/Base", "TIME_ZONE: is not a time zone such as Europe/Berlin"),
    ],
)
async def test_settings_that_are_wrong_are_one_line(
    bookstore: Bookstore, setting: str, value: str, complaint: str
) -> None:
    assert await refused(bookstore("worker", **{setting: value})) == complaint
