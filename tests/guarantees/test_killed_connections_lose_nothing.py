"""A connection that PostgreSQL ends costs nobody an answer, and nothing is done twice or by half."""

import asyncio

import asyncpg
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.client import Visitor
from tests.customers import add_customer
from tests.factories import add_administrator, add_book, add_genre, book_id
from tests.faulty import ALL_GENRES, GENRES, RESTOCK, UNAVAILABLE, ask, shop_with
from tests.locks import BOOKS, holding
from tests.memory import movements_of, payments, remembered, stock_is_explained, stock_of

pytestmark = pytest.mark.usefixtures("sound")

WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock' AND pid <> ALL($1::int[])"


async def kill_the_waiting(postgres: asyncpg.Connection, times: int = 1, *, until_again: bool = True) -> None:
    """Ends a connection that waits for a lock, and the one that takes its place, so many times."""
    killed: list[int] = []
    for _ in range(times):
        pid = await _next_waiting(postgres, killed)
        await postgres.execute("SELECT pg_terminate_backend($1)", pid)
        killed.append(pid)
    if until_again:
        await _next_waiting(postgres, killed)


async def _next_waiting(postgres: asyncpg.Connection, killed: list[int]) -> int:
    async with asyncio.timeout(20):
        while (pid := await postgres.fetchval(WAITING, killed)) is None:
            await asyncio.sleep(0.01)
    return int(pid)


async def test_a_read_is_done_again(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    await add_genre(shop, "Fantasy")
    async with holding(database_url, ALL_GENRES):
        reading = asyncio.create_task(visitor.ask(GENRES))
        await kill_the_waiting(postgres)
    assert len((await reading)["genres"]) == 1


async def test_a_read_that_is_killed_again_is_refused(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with holding(database_url, ALL_GENRES):
        reading = asyncio.create_task(ask(visitor, GENRES))
        await kill_the_waiting(postgres, 2, until_again=False)
        response = await reading
    assert response.status_code == 503
    assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]


async def test_a_write_is_done_again_and_once(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book, admin = await add_book(shop, stock=1), visitor.signed_in((await add_administrator(shop)).token)
    async with holding(database_url, BOOKS, [book.id]):
        restocking = asyncio.create_task(admin.ask(RESTOCK, id=book_id(book)))
        await kill_the_waiting(postgres, 2)
    assert (await restocking)["updateStock"] == {"__typename": "StockUpdated"}
    assert await stock_of(postgres, book) == 2
    assert await stock_is_explained(postgres, shop)


async def test_a_write_that_is_killed_every_time_leaves_nothing(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book, admin = await add_book(shop, stock=1), visitor.signed_in((await add_administrator(shop)).token)
    before = await remembered(postgres)
    async with holding(database_url, BOOKS, [book.id]):
        restocking = asyncio.create_task(admin.ask(RESTOCK, id=book_id(book)))
        await kill_the_waiting(postgres, 3, until_again=False)
        assert (await restocking).codes == ["SERVICE_UNAVAILABLE"]
    assert await remembered(postgres) == before


async def test_a_checkout_is_done_again_and_once(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    async with holding(database_url, BOOKS, [book.id]):
        purchase = asyncio.create_task(customer.buys("once"))
        await kill_the_waiting(postgres, 2)
    assert (await purchase)["__typename"] == "OrderPlaced"
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]
    assert await payments(postgres) == [("APPROVED", False)]
    assert len(await customer.orders()) == 1


async def test_connections_that_died_idle_cost_no_read(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_genre(shop, "Fantasy")
    others = [record["pid"] for record in await postgres.fetch("SELECT pid FROM pg_stat_activity")]
    async with shop_with(settings) as visitor:
        await asyncio.gather(*(visitor.ask(GENRES) for _ in range(20)))
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL($1)"
        assert await postgres.fetch(cut, others)
        replies = await asyncio.gather(*(visitor.ask(GENRES) for _ in range(20)))
    assert [len(reply["genres"]) for reply in replies] == [1] * 20


async def test_connections_that_died_idle_cost_no_write(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book, token = await add_book(shop, stock=0), (await add_administrator(shop)).token
    others = [record["pid"] for record in await postgres.fetch("SELECT pid FROM pg_stat_activity")]
    async with shop_with(settings) as visitor:
        admin = visitor.signed_in(token)
        await asyncio.gather(*(admin.ask(RESTOCK, id=book_id(book)) for _ in range(10)))
        cut = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid <> ALL($1)"
        assert await postgres.fetch(cut, others)
        replies = await asyncio.gather(*(admin.ask(RESTOCK, id=book_id(book)) for _ in range(10)))
    assert [reply["updateStock"]["__typename"] for reply in replies] == ["StockUpdated"] * 10
    assert await stock_of(postgres, book) == 20
