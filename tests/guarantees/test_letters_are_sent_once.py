"""Letters on their way are sent once, though the database dies, comes back or cuts connections meanwhile."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from domain.shop import Shop
from server.settings import Settings
from tests.client import Visitor
from tests.clusters import pair
from tests.customers import Customer, add_customer
from tests.factories import add_book
from tests.faulty import shop_of, shop_with
from tests.letters import QUICK, at, let_leases_run_out, posting, until_settled
from tests.locks import until_gone
from tests.network import between
from tests.smtp import Mailbox, mail_server

CONFIRMED = "ORDER_CONFIRMED"
LETTERS = 6
NOTING = "stamina.retry_scheduled"
OURS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'bookstore%'"
NERVOUS = replace(QUICK, heartbeat=1)
"""Takes others for dead as soon as it can."""


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop, (await add_book(shop, "Emma"), 2))


async def until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.02)


async def until_another_wanted_it(postgres: asyncpg.Connection, mailbox: Mailbox) -> None:
    """Comes back when the job of the one letter was given back, or the letter handed in again."""
    async with asyncio.timeout(60):
        while not await postgres.fetchval("SELECT sum(attempts) FROM pgqueuer") and len(mailbox.on_their_way) < 2:
            await asyncio.sleep(0.02)


async def test_the_primary_dies_with_letters_at_the_mail_server(settings: Settings, tmp_path: Path) -> None:
    """It stays away until each has been noted in vain so often that another poster is quicker when it is back."""
    async with pair(tmp_path) as servers, mail_server() as mailbox:
        ours = at(mailbox, settings).model_copy(update={"database_url": servers.primary.url})
        async with shop_with(ours) as visitor, shop_with(ours) as other:
            shop, another = shop_of(visitor), shop_of(other)
            async with posting(shop, ours, pace=NERVOUS), posting(another, ours, pace=NERVOUS):
                mailbox.gate = asyncio.Event()
                book = await add_book(shop, stock=LETTERS)
                for _ in range(LETTERS):
                    await (await add_customer(visitor, shop, (book, 1))).buys()
                await mailbox.until(LETTERS, mailbox.on_their_way)
                await servers.primary.dies()
                with capture_logs() as log:
                    mailbox.gate.set()
                    await until(lambda: sum(line["event"] == NOTING for line in log) >= 6 * LETTERS)
                    await servers.primary.starts()
                    postgres = await asyncpg.connect(servers.primary.url)
                    assert await until_settled(postgres) == [(CONFIRMED, "SENT")] * LETTERS
                    await postgres.close()
        assert len(mailbox.letters) == LETTERS
        assert sum(it.tally.letters[CONFIRMED, "SENT"] for it in (shop, another)) == LETTERS
        assert sum(line["event"] == "letter_settled" for line in log) == LETTERS


async def test_connections_are_cut_with_a_letter_at_the_mail_server(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox:
        mailbox.gate = asyncio.Event()
        ours = at(mailbox, settings)
        async with posting(shop, ours, pace=NERVOUS), posting(shop, ours, pace=NERVOUS):
            await customer.buys()
            await mailbox.until(1, mailbox.on_their_way)
            cut = [row["pid"] for row in await postgres.fetch(OURS)]
            await postgres.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", cut)
            await until_gone(postgres, cut)
            await until_another_wanted_it(postgres, mailbox)
            mailbox.gate.set()
            assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert (len(mailbox.on_their_way), len(mailbox.letters)) == (1, 1)


async def test_the_database_is_away_for_longer_than_letters_are_taken(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection, database_url: str
) -> None:
    """Another poster, which has just found it again, leaves those who have sent something the time to note that."""
    async with mail_server() as mailbox, between(database_url) as network:
        mailbox.gate = asyncio.Event()
        ours = at(mailbox, settings)
        far = ours.model_copy(update={"database_url": network.url})
        async with shop_with(far) as visitor, posting(shop_of(visitor), far, pace=NERVOUS):
            await customer.buys()
            await mailbox.until(1, mailbox.on_their_way)
            network.breaks()
            mailbox.gate.set()
            await mailbox.until(1)
            await let_leases_run_out(postgres)
            async with posting(shop, ours, pace=replace(NERVOUS, grace=3600)):
                await until_another_wanted_it(postgres, mailbox)
                network.is_mended()
                assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.on_their_way) == 1


async def test_a_poster_alone_waits_for_the_database_as_long_as_it_takes(
    customer: Customer, settings: Settings, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with mail_server() as mailbox, between(database_url) as network:
        ours = at(mailbox, settings).model_copy(update={"database_url": network.url})
        mailbox.gate = asyncio.Event()
        async with shop_with(ours) as visitor, posting(shop_of(visitor), ours, pace=NERVOUS):
            await customer.buys()
            await mailbox.until(1, mailbox.on_their_way)
            network.breaks()
            with capture_logs() as log:
                mailbox.gate.set()
                await until(lambda: any(line["event"] == NOTING for line in log))
            await let_leases_run_out(postgres)
            network.is_mended()
            assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.on_their_way) == 1


async def test_a_letter_whose_poster_listens_no_more_is_taken_over(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    """It was taken, and that is all that is known of its poster."""
    await customer.buys()
    await postgres.execute("UPDATE letters SET taken_until = clock_timestamp() + interval '1 hour'")
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        await until_another_wanted_it(postgres, mailbox)
        assert mailbox.on_their_way == []
        await let_leases_run_out(postgres)
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1
