"""Answers come in time: what waits for longer is ended in PostgreSQL, too, and a change is made wholly or not at all."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from graph import patience
from persistence import connecting
from persistence.catalog import set_book
from persistence.faults import Unavailable
from server.settings import Settings
from tests.client import Reply, Visitor
from tests.clock import let_pass
from tests.customers import Customer, add_customer
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import ALL_GENRES, GENRES, RESTOCK, UNAVAILABLE, ask, shop_with
from tests.locks import BOOKS, PAYMENTS, holding, until_gone, until_waiting
from tests.memory import movements_of, payments, remembered, stock_of

pytestmark = pytest.mark.usefixtures("sound")

ALL_BOOKS = "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"
BOOK = "query ($id: ID!) { book(by: {id: $id}) { title } }"
BOTH = """mutation ($first: ID!, $second: ID!) {
    first: updateStock(input: {bookId: $first, change: {adjustBy: 1}}) { __typename }
    second: updateStock(input: {bookId: $second, change: {adjustBy: 1}}) { __typename } }"""
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
OFF = {"lock_timeout": "0", "statement_timeout": "0"}


@pytest.fixture
async def visitor(settings: Settings, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Visitor]:
    """Of a shop whose statements would wait for ever."""
    monkeypatch.setattr(connecting, "SESSION_SETTINGS", connecting.SESSION_SETTINGS | OFF)
    monkeypatch.setattr(connecting, "COMMAND_TIMEOUT", 100_000)
    async with shop_with(settings) as visitor:
        yield visitor


async def runs_late(
    postgres: asyncpg.Connection,
    lock: AbstractAsyncContextManager[object],
    asking: Coroutine[Any, Any, Reply],
) -> Reply:
    """The answer to what waits for the lock when its time is over; nobody waits for the lock any more then."""
    async with lock:
        asked = asyncio.create_task(asking)
        await until_waiting(postgres, 1)
        let_pass(patience.TIMEOUT)
        async with asyncio.timeout(20):
            reply = await asked
            while await postgres.fetchval(WAITING):
                await asyncio.sleep(0.02)
    return reply


# ── A question ────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lock", [ALL_GENRES, ALL_BOOKS])
async def test_a_query_ends(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str, lock: str
) -> None:
    """Whether a resolver waits for PostgreSQL itself or for a batch of its loaders."""
    book = await add_book(shop)
    question = visitor.ask(GENRES) if lock is ALL_GENRES else visitor.ask(BOOK, id=book_id(book))
    reply = await runs_late(postgres, holding(database_url, lock), question)
    assert (reply.data, reply.codes) == (None, ["TIMEOUT"])
    assert (await visitor.ask(GENRES))["genres"] == []


# ── A change ──────────────────────────────────────────────────────────────────────────────


async def test_a_change_that_waits_is_not_made(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book, admin = await add_book(shop, stock=1), visitor.signed_in((await add_administrator(shop)).token)
    before = await remembered(postgres)
    reply = await runs_late(postgres, holding(database_url, BOOKS, [book.id]), admin.ask(RESTOCK, id=book_id(book)))
    assert (reply.data, reply.codes) == (None, ["TIMEOUT"])
    assert await remembered(postgres) == before
    assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
    assert await movements_of(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]


@pytest.fixture
async def slow_commits(postgres: asyncpg.Connection) -> AsyncIterator[str]:
    """COMMIT waits for what this statement locks."""
    await postgres.execute("""
        CREATE FUNCTION wait_for_it() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow_commits AFTER UPDATE ON books DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait_for_it()""")
    yield "SELECT pg_advisory_xact_lock(4711)"
    await postgres.execute("DROP TRIGGER slow_commits ON books; DROP FUNCTION wait_for_it")


async def test_a_change_that_is_being_committed_is_made_wholly_or_not_at_all(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str, slow_commits: str
) -> None:
    book, admin = await add_book(shop, stock=1), visitor.signed_in((await add_administrator(shop)).token)
    reply = await runs_late(postgres, holding(database_url, slow_commits), admin.ask(RESTOCK, id=book_id(book)))
    assert reply.codes == ["TIMEOUT"]
    assert await movements_of(postgres, book) in ([("NEW_BOOK", 1)], [("NEW_BOOK", 1), ("DELIVERY", 1)])


async def test_of_several_changes_each_is_made_wholly_or_not_at_all(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    first, second = await add_book(shop, stock=1), await add_book(shop, stock=1)
    admin = visitor.signed_in((await add_administrator(shop)).token)
    reply = await runs_late(
        postgres,
        holding(database_url, BOOKS, [second.id]),
        admin.ask(BOTH, first=book_id(first), second=book_id(second)),
    )
    assert (reply.data, reply.codes) == (None, ["TIMEOUT"])
    assert await movements_of(postgres, first) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    assert await movements_of(postgres, second) == [("NEW_BOOK", 1)]


# ── A purchase ────────────────────────────────────────────────────────────────────────────


async def test_a_purchase_that_waits_for_its_books_is_none(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=3)
    customer = await add_customer(visitor, shop, (book, 2))
    before = await remembered(postgres)
    reply = await runs_late(postgres, holding(database_url, BOOKS, [book.id]), customer.tries_to_buy("once"))
    assert (reply.data, reply.codes) == (None, ["TIMEOUT"])
    assert await remembered(postgres) == before
    assert (await customer.buys("once"))["__typename"] == "OrderPlaced"
    assert await stock_of(postgres, book) == 1


@pytest.mark.parametrize(
    ("seconds", "code"), [(orders.ANSWER_WAIT, "SERVICE_UNAVAILABLE"), (patience.TIMEOUT, "TIMEOUT")]
)
async def test_a_purchase_that_is_being_paid_is_made(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str, seconds: float, code: str
) -> None:
    """Whoever buys hears in time that it takes longer, and finds out with the same key."""
    book = await add_book(shop, stock=3)
    customer = await add_customer(visitor, shop, (book, 2))
    async with holding(database_url, PAYMENTS):
        buying = asyncio.create_task(customer.tries_to_buy("once"))
        await until_waiting(postgres, 1)
        let_pass(seconds)
        assert (await buying).codes == [code]
    await is_bought_once(customer, postgres)
    assert await stock_of(postgres, book) == 1


async def is_bought_once(customer: Customer, postgres: asyncpg.Connection) -> None:
    again = await customer.buys("once")
    assert (again["__typename"], again["order"]["status"]) == ("OrderPlaced", "CONFIRMED")
    assert await payments(postgres) == [("APPROVED", False)]


# ── PostgreSQL's own limits ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", OFF)
async def test_a_statement_waits_for_so_long_and_no_longer(
    settings: Settings,
    shop: Shop,
    postgres: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    """Whichever of the limits comes first; here there is no other."""
    for other in OFF.keys() - {limit}:
        monkeypatch.setitem(connecting.SESSION_SETTINGS, other, "0")
    monkeypatch.setattr(connecting, "COMMAND_TIMEOUT", 100_000)
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    before = await remembered(postgres)
    async with shop_with(settings) as visitor:
        admin = visitor.signed_in(token)
        async with holding(database_url, ALL_GENRES), holding(database_url, BOOKS, [book.id]):
            read, write = await asyncio.gather(ask(visitor, GENRES), ask(admin, RESTOCK, id=book_id(book)))
        assert (read.json()["data"], write.json()["data"]) == (None, {"updateStock": None})
        for response in (read, write):
            assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
        assert await remembered(postgres) == before
        assert (await visitor.ask(GENRES))["genres"] == []
        assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}


async def test_a_transaction_that_has_been_forgotten_lets_go(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(patience, "TIMEOUT", 100_000)
    book, admin = await add_book(shop, stock=1), visitor.signed_in((await add_administrator(shop)).token)

    async def forgets() -> None:
        async with shop.database.transaction() as tx:
            await set_book(tx, book.id, {"title": "Forgotten"})
            restocking = asyncio.create_task(admin.ask(RESTOCK, id=book_id(book)))
            await until_waiting(postgres, 1)
            await until_gone(postgres, [tx.driver.get_server_pid()])
            assert (await restocking)["updateStock"] == {"__typename": "StockUpdated"}

    with pytest.raises(Unavailable):
        await forgets()
    assert await movements_of(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    assert await postgres.fetchval("SELECT title FROM books") == book.title
