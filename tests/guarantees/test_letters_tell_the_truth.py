"""Letters tell the truth: what was rolled back was never told, and what was committed arrives once, whoever dies."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog import Book
from server.settings import Settings
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book
from tests.letters import at, fates, let_leases_run_out, parts, posting, until_settled
from tests.locks import BOOKS, holding, until_gone, until_waiting
from tests.processes import serving
from tests.smtp import mail_server

CONFIRMED = "ORDER_CONFIRMED"


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", price="12.50", stock=1000)


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop, book: Book) -> Customer:
    return await add_customer(visitor, shop, (book, 2))


# ── What never happened ───────────────────────────────────────────────────────────────────


async def test_a_declined_payment_is_not_confirmed(customer: Customer, postgres: asyncpg.Connection) -> None:
    assert (await customer.buys(token="mock-decline"))["__typename"] == "PaymentFailed"
    assert await fates(postgres) == []
    assert await _jobs(postgres) == 0


async def test_a_refused_purchase_is_not_confirmed(
    customer: Customer, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    reply = await customer.buys(expectedTotal="1.00")
    assert reply["__typename"] == "PriceChanged"
    assert (await fates(postgres), await _jobs(postgres)) == ([], 0)


async def test_killed_before_the_commit_nothing_is_told(
    customer: Customer,
    shop: Shop,
    book: Book,
    settings: Settings,
    tmp_path: Path,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    placed = await customer.buys()
    async with serving(settings, tmp_path) as server, holding(database_url, BOOKS, [book.id]):
        # The letter is written, and the books cannot be put back.
        cancelling = asyncio.create_task(customer.at(server.visitor).cancels(placed["order"]["id"]))
        waiting = await until_waiting(postgres, 1)
        await server.dies()
        await asyncio.wait({cancelling})
        assert cancelling.exception() is not None
    await until_gone(postgres, waiting)

    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


# ── What happened arrives, once ───────────────────────────────────────────────────────────


async def test_a_purchase_is_confirmed_by_a_letter_that_reads_well(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        placed = await customer.buys()
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    [letter] = mailbox.to(customer.member.user.email)
    for part in parts(letter):
        assert placed["order"]["number"] in part
        assert "Emma" in part
        assert "€25.00" in part


async def test_a_purchase_that_is_tried_again_is_confirmed_once(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        await asyncio.gather(*(customer.buys("same key") for _ in range(4)))
        await until_settled(postgres)
        await customer.buys("same key")
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


async def test_killed_after_the_commit_the_letter_arrives_when_somebody_posts_again(
    customer: Customer, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    async with serving(settings, tmp_path) as server:
        await customer.at(server.visitor).buys()
        await server.dies()
    assert await fates(postgres) == [(CONFIRMED, "QUEUED")]

    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


async def test_killed_with_the_letter_in_hand_another_poster_takes_it_up(
    customer: Customer, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox:
        mailbox.gate = asyncio.Event()
        async with serving(settings, tmp_path, WORKER="true", SMTP_URL=mailbox.url) as server:
            await customer.at(server.visitor).buys()
            await mailbox.until(1, mailbox.on_their_way)
            await server.dies()
        mailbox.gate = None
        assert await fates(postgres) == [(CONFIRMED, "QUEUED")]

        await let_leases_run_out(postgres)
        async with posting(shop, at(mailbox, settings)):
            assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


async def test_a_letter_whose_job_is_gone_is_found(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    await customer.buys()
    await postgres.execute("TRUNCATE pgqueuer")
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


async def _jobs(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM pgqueuer")
    return count
