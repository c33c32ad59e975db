"""Every request ends before its deadline, also in PostgreSQL; a mutation commits completely or not at all."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import AbstractAsyncContextManager
from typing import Any

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from graph.execution import deadline
from persistence.catalog import update_book
from persistence.postgres import connection
from persistence.postgres.errors import Unavailable
from server.settings import Settings
from tests.support.database.db_snapshots import get_stock, list_payments, list_stock_movements, take_snapshot
from tests.support.database.locks import LOCK_BOOKS, LOCK_PAYMENTS, hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient, GraphQLResponse
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, LOCK_GENRES, UNAVAILABLE, post_graphql
from tests.support.processes.clock import advance_clock
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_admin, add_book, book_id

pytestmark = pytest.mark.usefixtures("check_invariants")

LOCK_ALL_BOOKS = "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"
BOOK_QUERY = "query ($id: ID!) { book(by: {id: $id}) { title } }"
TWO_STOCK_UPDATES = """mutation ($first: ID!, $second: ID!) {
    first: updateStock(input: {bookId: $first, change: {adjustBy: 1}}) { __typename }
    second: updateStock(input: {bookId: $second, change: {adjustBy: 1}}) { __typename } }"""
COUNT_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
NO_TIMEOUTS = {"lock_timeout": "0", "statement_timeout": "0"}


@pytest.fixture
async def client(settings: Settings, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiClient]:
    """Return a client of a server whose statements have no timeouts of their own."""
    monkeypatch.setattr(connection, "SESSION_SETTINGS", connection.SESSION_SETTINGS | NO_TIMEOUTS)
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 100_000)
    async with running_client(settings) as client:
        yield client


async def assert_times_out(
    postgres: asyncpg.Connection,
    lock: AbstractAsyncContextManager[object],
    request: Coroutine[Any, Any, GraphQLResponse],
) -> GraphQLResponse:
    """Let a request that waits for the lock time out, and return its response; its statement must end, too."""
    async with lock:
        response_task = asyncio.create_task(request)
        await wait_for_blocked(postgres, 1)
        advance_clock(deadline.EXECUTION_TIMEOUT)
        async with asyncio.timeout(20):
            response = await response_task
            while await postgres.fetchval(COUNT_BLOCKED):
                await asyncio.sleep(0.02)
    return response


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("lock", [LOCK_GENRES, LOCK_ALL_BOOKS])
async def test_query_times_out(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str, lock: str
) -> None:
    """A resolver waits for PostgreSQL itself, or for a batch of its loader."""
    book = await add_book(shop)
    request = client.execute(GENRES_QUERY) if lock is LOCK_GENRES else client.execute(BOOK_QUERY, id=book_id(book))
    response = await assert_times_out(postgres, hold_lock(database_url, lock), request)
    assert (response.data, response.codes) == (None, ["TIMEOUT"])
    assert (await client.execute(GENRES_QUERY))["genres"] == []


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


async def test_blocked_mutation_times_out_without_effect(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book, admin = await add_book(shop, stock=1), client.with_token((await add_admin(shop)).token)
    before = await take_snapshot(postgres)
    response = await assert_times_out(
        postgres, hold_lock(database_url, LOCK_BOOKS, [book.id]), admin.execute(INCREMENT_STOCK, id=book_id(book))
    )
    assert (response.data, response.codes) == (None, ["TIMEOUT"])
    assert await take_snapshot(postgres) == before
    assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]


@pytest.fixture
async def slow_commits(postgres: asyncpg.Connection) -> AsyncIterator[str]:
    """Make COMMIT wait for a lock, and yield the statement that takes it."""
    await postgres.execute("""
        CREATE FUNCTION wait_for_it() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow_commits AFTER UPDATE ON books DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait_for_it()""")
    yield "SELECT pg_advisory_xact_lock(4711)"
    await postgres.execute("DROP TRIGGER slow_commits ON books; DROP FUNCTION wait_for_it")


async def test_timeout_during_commit_is_all_or_nothing(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str, slow_commits: str
) -> None:
    book, admin = await add_book(shop, stock=1), client.with_token((await add_admin(shop)).token)
    response = await assert_times_out(
        postgres, hold_lock(database_url, slow_commits), admin.execute(INCREMENT_STOCK, id=book_id(book))
    )
    assert response.codes == ["TIMEOUT"]
    assert await list_stock_movements(postgres, book) in ([("NEW_BOOK", 1)], [("NEW_BOOK", 1), ("DELIVERY", 1)])


async def test_timeout_among_several_mutations_is_all_or_nothing(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    first, second = await add_book(shop, stock=1), await add_book(shop, stock=1)
    admin = client.with_token((await add_admin(shop)).token)
    response = await assert_times_out(
        postgres,
        hold_lock(database_url, LOCK_BOOKS, [second.id]),
        admin.execute(TWO_STOCK_UPDATES, first=book_id(first), second=book_id(second)),
    )
    assert (response.data, response.codes) == (None, ["TIMEOUT"])
    assert await list_stock_movements(postgres, first) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    assert await list_stock_movements(postgres, second) == [("NEW_BOOK", 1)]


# ── Checkouts ─────────────────────────────────────────────────────────────────────────────


async def test_checkout_blocked_on_stock_times_out(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=3)
    customer = await add_customer(client, shop, (book, 2))
    before = await take_snapshot(postgres)
    response = await assert_times_out(
        postgres, hold_lock(database_url, LOCK_BOOKS, [book.id]), customer.try_checkout("once")
    )
    assert (response.data, response.codes) == (None, ["TIMEOUT"])
    assert await take_snapshot(postgres) == before
    assert (await customer.checkout("once"))["__typename"] == "OrderPlaced"
    assert await get_stock(postgres, book) == 1


@pytest.mark.parametrize(
    ("seconds", "code"),
    [(orders.PAYMENT_WAIT_TIMEOUT, "SERVICE_UNAVAILABLE"), (deadline.EXECUTION_TIMEOUT, "TIMEOUT")],
)
async def test_checkout_during_payment_completes_after_timeout(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str, seconds: float, code: str
) -> None:
    """The customer gets an error in time, and the result by a retry with the same key."""
    book = await add_book(shop, stock=3)
    customer = await add_customer(client, shop, (book, 2))
    async with hold_lock(database_url, LOCK_PAYMENTS):
        checkout = asyncio.create_task(customer.try_checkout("once"))
        await wait_for_blocked(postgres, 1)
        advance_clock(seconds)
        assert (await checkout).codes == [code]
    await assert_ordered_once(customer, postgres)
    assert await get_stock(postgres, book) == 1


async def assert_ordered_once(customer: Customer, postgres: asyncpg.Connection) -> None:
    repeated_result = await customer.checkout("once")
    assert (repeated_result["__typename"], repeated_result["order"]["status"]) == ("OrderPlaced", "CONFIRMED")
    assert await list_payments(postgres) == [("APPROVED", False)]


# ── PostgreSQL's own limits ───────────────────────────────────────────────────────────────


@pytest.mark.parametrize("limit", NO_TIMEOUTS)
async def test_statement_timeout(
    settings: Settings,
    shop: Shop,
    postgres: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
    limit: str,
) -> None:
    """Each of PostgreSQL's limits works without the others."""
    for other in NO_TIMEOUTS.keys() - {limit}:
        monkeypatch.setitem(connection.SESSION_SETTINGS, other, "0")
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 100_000)
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    before = await take_snapshot(postgres)
    async with running_client(settings) as client:
        admin = client.with_token(token)
        async with hold_lock(database_url, LOCK_GENRES), hold_lock(database_url, LOCK_BOOKS, [book.id]):
            read, write = await asyncio.gather(
                post_graphql(client, GENRES_QUERY), post_graphql(admin, INCREMENT_STOCK, id=book_id(book))
            )
        assert (read.json()["data"], write.json()["data"]) == (None, {"updateStock": None})
        for response in (read, write):
            assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
        assert await take_snapshot(postgres) == before
        assert (await client.execute(GENRES_QUERY))["genres"] == []
        assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}


async def test_idle_transaction_timeout(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(deadline, "EXECUTION_TIMEOUT", 100_000)
    book, admin = await add_book(shop, stock=1), client.with_token((await add_admin(shop)).token)

    async def leave_transaction_idle() -> None:
        async with shop.database.transaction() as tx:
            await update_book(tx, book.id, title="Forgotten")
            restock = asyncio.create_task(admin.execute(INCREMENT_STOCK, id=book_id(book)))
            await wait_for_blocked(postgres, 1)
            await wait_until_disconnected(postgres, [tx.driver_connection.get_server_pid()])
            assert (await restock)["updateStock"] == {"__typename": "StockUpdated"}

    with pytest.raises(Unavailable):
        await leave_transaction_idle()
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    assert await postgres.fetchval("SELECT title FROM books") == book.title
