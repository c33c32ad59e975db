"""A killed database connection costs no client a response, and nothing runs twice."""

import asyncio

import asyncpg
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.support.database.db_snapshots import (
    get_stock,
    is_stock_consistent,
    list_payments,
    list_stock_movements,
    take_snapshot,
)
from tests.support.database.locks import LOCK_BOOKS, hold_lock
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, LOCK_GENRES, UNAVAILABLE, post_graphql
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_admin, add_book, add_genre, book_id
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("check_invariants")

SELECT_BLOCKED_PID = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> ALL($1::int[])"


async def kill_blocked(postgres: asyncpg.Connection, times: int = 1, *, wait_for_replacement: bool = True) -> None:
    """Kill a connection that waits for a lock, then its replacement, this many times.

    With `wait_for_replacement`, return only when the last connection is replaced, too.
    """
    killed_pids: list[int] = []
    for _ in range(times):
        pid = await _wait_for_next_blocked(postgres, killed_pids)
        await postgres.execute("SELECT pg_terminate_backend($1)", pid)
        killed_pids.append(pid)
    if wait_for_replacement:
        await _wait_for_next_blocked(postgres, killed_pids)


async def _wait_for_next_blocked(postgres: asyncpg.Connection, killed_pids: list[int]) -> int:
    pid: int = await wait_until(lambda: postgres.fetchval(SELECT_BLOCKED_PID, killed_pids), 20)
    return pid


async def test_read_is_retried(client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    await add_genre(shop, "Fantasy")
    async with hold_lock(database_url, LOCK_GENRES):
        read = asyncio.create_task(client.execute(GENRES_QUERY))
        await kill_blocked(postgres)
    assert len((await read)["genres"]) == 1


async def test_read_killed_twice_fails(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, LOCK_GENRES):
        read = asyncio.create_task(post_graphql(client, GENRES_QUERY))
        await kill_blocked(postgres, 2, wait_for_replacement=False)
        response = await read
    assert response.status_code == 503
    assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]


async def test_write_is_retried_once(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book, admin = await add_book(shop, stock=1), client.with_token((await add_admin(shop)).token)
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        restock = asyncio.create_task(admin.execute(INCREMENT_STOCK, id=book_id(book)))
        await kill_blocked(postgres, 2)
    assert (await restock)["updateStock"] == {"__typename": "StockUpdated"}
    assert await get_stock(postgres, book) == 2
    assert await is_stock_consistent(postgres)


async def test_write_killed_every_time_changes_nothing(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book, admin = await add_book(shop, stock=1), client.with_token((await add_admin(shop)).token)
    before = await take_snapshot(postgres)
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        restock = asyncio.create_task(admin.execute(INCREMENT_STOCK, id=book_id(book)))
        await kill_blocked(postgres, 3, wait_for_replacement=False)
        assert (await restock).codes == ["SERVICE_UNAVAILABLE"]
    assert await take_snapshot(postgres) == before


async def test_checkout_is_retried_once(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(client, shop, (book, 2))
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        checkout = asyncio.create_task(customer.checkout("once"))
        await kill_blocked(postgres, 2)
    assert (await checkout)["__typename"] == "OrderPlaced"
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]
    assert await list_payments(postgres) == [("APPROVED", False)]
    assert len(await customer.list_orders()) == 1


async def test_dead_idle_connections_fail_no_read(settings: Settings, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_genre(shop, "Fantasy")
    other_pids = [record["pid"] for record in await postgres.fetch("SELECT pid FROM pg_stat_activity")]
    async with running_client(settings) as client:
        await asyncio.gather(*(client.execute(GENRES_QUERY) for _ in range(20)))
        terminate_connections = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL($1)"
        assert await postgres.fetch(terminate_connections, other_pids)
        responses = await asyncio.gather(*(client.execute(GENRES_QUERY) for _ in range(20)))
    assert [len(response["genres"]) for response in responses] == [1] * 20


async def test_dead_idle_connections_fail_no_write(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book, token = await add_book(shop, stock=0), (await add_admin(shop)).token
    other_pids = [record["pid"] for record in await postgres.fetch("SELECT pid FROM pg_stat_activity")]
    async with running_client(settings) as client:
        admin = client.with_token(token)
        await asyncio.gather(*(admin.execute(INCREMENT_STOCK, id=book_id(book)) for _ in range(10)))
        terminate_connections = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL($1)"
        assert await postgres.fetch(terminate_connections, other_pids)
        responses = await asyncio.gather(*(admin.execute(INCREMENT_STOCK, id=book_id(book)) for _ in range(10)))
    assert [response["updateStock"]["__typename"] for response in responses] == ["StockUpdated"] * 10
    assert await get_stock(postgres, book) == 20
