"""Posters share the work: however many there are, each letter is sent by one of them, and none is left lying."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from domain.shop import Shop
from server.post.poster import NAME
from server.settings import Settings
from tests.client import Visitor
from tests.commands import started
from tests.customers import Customer, add_customer
from tests.factories import add_administrator, add_book, add_member, book_id
from tests.letters import QUICK, at, fates, posting, until_settled
from tests.locks import until_gone
from tests.smtp import mail_server
from tests.stockroom import STOCK

CONFIRMED = "ORDER_CONFIRMED"
PREBOOK = "mutation ($id: ID!) { prebook(input: {bookId: $id}) { __typename } }"


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop, (await add_book(shop, "Emma"), 2))


async def test_each_letter_is_sent_by_one_of_them(
    visitor: Visitor, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    sold_out = await add_book(shop, "Persuasion", stock=0)
    waiting = [await add_member(shop) for _ in range(40)]
    for member in waiting:
        await visitor.signed_in(member.token).ask(PREBOOK, id=book_id(sold_out))
    administrator = visitor.signed_in((await add_administrator(shop)).token)
    async with mail_server() as mailbox:
        ours = at(mailbox, settings)
        async with worker(ours, tmp_path), posting(shop, ours), posting(shop, ours):
            await administrator.ask(STOCK, id=book_id(sold_out))
            assert await until_settled(postgres) == [("BOOK_BACK", "SENT")] * 40
    assert sorted(str(letter["To"]) for letter in mailbox.letters) == sorted(member.user.email for member in waiting)


async def test_a_poster_that_is_only_slow_keeps_its_letter(
    customer: Customer, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    """It was taken for dead, and another one has taken up its job."""
    async with mail_server() as mailbox:
        mailbox.gate = asyncio.Event()
        ours = at(mailbox, settings)
        async with worker(ours, tmp_path) as slow:
            await customer.buys()
            await mailbox.until(1, mailbox.on_their_way)
            slow.send_signal(signal.SIGSTOP)
            async with posting(shop, ours):
                await _until_given_back(postgres, 1)
                assert len(mailbox.on_their_way) == 1
                slow.send_signal(signal.SIGCONT)
                mailbox.gate.set()
                assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert (len(mailbox.on_their_way), len(mailbox.letters)) == (1, 1)


async def test_a_letter_in_several_jobs_is_sent_once(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    await customer.buys()
    await postgres.execute(f"INSERT INTO pgqueuer ({JOB}) SELECT {JOB} FROM pgqueuer, generate_series(1, 3)")
    async with mail_server() as mailbox:
        mailbox.gate = asyncio.Event()
        async with posting(shop, at(mailbox, settings)):
            await mailbox.until(1, mailbox.on_their_way)
            await _until_given_back(postgres, 3)
            mailbox.gate.set()
            assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.on_their_way) == 1


async def test_a_poster_that_is_told_to_stop_gives_its_letter_back(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox:
        mailbox.gate = asyncio.Event()
        ours = at(mailbox, settings)
        async with posting(shop, ours, pace=replace(QUICK, farewell=0)):
            await customer.buys()
            await mailbox.until(1, mailbox.on_their_way)
        assert await fates(postgres) == [(CONFIRMED, "QUEUED")]
        assert await postgres.fetchval("SELECT array_agg(status::text) FROM pgqueuer") == ["queued"]

        mailbox.gate = None
        async with posting(shop, ours):
            assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


async def test_a_poster_that_is_told_to_stop_finishes_what_it_can(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox:
        mailbox.gate = asyncio.Event()
        async with posting(shop, at(mailbox, settings), pace=replace(QUICK, farewell=30)) as poster:
            await customer.buys()
            await mailbox.until(1, mailbox.on_their_way)
            poster.stop()
            mailbox.gate.set()
    assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


async def test_a_poster_whose_connection_is_cut_goes_on(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        listening = await _listener(postgres)
        await postgres.execute("SELECT pg_terminate_backend($1)", listening)
        await until_gone(postgres, [listening])
        await customer.buys()
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


JOB = "priority, status, entrypoint, payload"


@asynccontextmanager
async def worker(settings: Settings, folder: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """`bookstore worker`, at work."""
    given = {
        "DATABASE_URL": settings.database_url or "",
        "SECRET_KEY": settings.secret_key[0],
        "SMTP_URL": settings.smtp_url or "",
    }
    async with started("worker", folder=folder, settings=given) as process:
        assert process.stdout is not None
        assert b"Posting letters" in await process.stdout.readline()
        yield process


async def _until_given_back(postgres: asyncpg.Connection, times: int) -> None:
    """Comes back when jobs were given back this often, because somebody else has the letter in hand."""
    async with asyncio.timeout(30):
        while await postgres.fetchval("SELECT sum(attempts) FROM pgqueuer") < times:
            await asyncio.sleep(0.02)


async def _listener(postgres: asyncpg.Connection) -> int:
    """The connection of a poster that waits for work."""
    async with asyncio.timeout(20):
        while (found := await postgres.fetchval(_LISTENING, NAME)) is None:
            await asyncio.sleep(0.02)
    listener: int = found
    return listener


_LISTENING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
