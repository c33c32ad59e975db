"""Letters tell the truth: what was rolled back was never told, and what was committed arrives once, whatever happens."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from domain.posting import begin_again
from domain.shop import Shop
from persistence.catalog import Book
from server.settings import Settings
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book
from tests.letters import GIVES_UP, at, fates, parts, posting, until_settled
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


# ── The mail server has moods ─────────────────────────────────────────────────────────────


async def test_a_mail_server_that_puts_off_delays_and_loses_nothing(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.on_recipient["*"] = "451 4.3.0 Not now"
        await customer.buys()
        await mailbox.until(4, mailbox.turned_away)
        assert await fates(postgres) == [(CONFIRMED, "QUEUED")]
        assert "451 4.3.0 Not now" in await postgres.fetchval("SELECT problem FROM letters")

        mailbox.on_recipient.clear()
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


async def test_a_mail_server_that_is_away_delays_and_loses_nothing(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox:
        pass
    async with posting(shop, at(mailbox, settings)):
        await customer.buys()
        async with asyncio.timeout(20):
            while await postgres.fetchval("SELECT attempts FROM letters") < 3:
                await asyncio.sleep(0.02)
        assert await fates(postgres) == [(CONFIRMED, "QUEUED")]
        async with mail_server(port=mailbox.port) as mailbox:
            assert await until_settled(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.letters) == 1


async def test_what_is_refused_for_good_is_kept_while_the_others_flow_on(
    visitor: Visitor, shop: Shop, book: Book, settings: Settings, postgres: asyncpg.Connection
) -> None:
    unknown = await add_customer(visitor, shop, (book, 1))
    known = await add_customer(visitor, shop, (book, 1))
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings)):
        mailbox.on_recipient[unknown.member.user.email] = "550 5.1.1 Nobody here by that name"
        await unknown.buys()
        await known.buys()
        assert await until_settled(postgres) == [(CONFIRMED, "FAILED"), (CONFIRMED, "SENT")]
        assert (len(mailbox.turned_away), len(mailbox.letters)) == (1, 1)

        mailbox.on_recipient.clear()
        assert await begin_again(shop) == 1
        assert await until_settled(postgres) == [(CONFIRMED, "SENT")] * 2
        assert await begin_again(shop) == 0
    assert [len(mailbox.to(who.member.user.email)) for who in (unknown, known)] == [1, 1]


async def test_what_is_put_off_for_too_long_is_kept_too(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, posting(shop, at(mailbox, settings), GIVES_UP):
        mailbox.on_recipient["*"] = "451 4.3.0 Not now"
        await customer.buys()
        assert await until_settled(postgres) == [(CONFIRMED, "FAILED")]
    assert len(mailbox.turned_away) == GIVES_UP.attempts


async def _jobs(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM pgqueuer")
    return count
