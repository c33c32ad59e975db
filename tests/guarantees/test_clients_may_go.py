"""A client that hangs up ends what it only wanted to know, and never what it has begun to do."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.customers import CHECKOUT, add_customer
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import ALL_GENRES, GENRES, RESTOCK
from tests.locks import BOOKS, PAYMENTS, holding, until_waiting
from tests.memory import movements_of, payments, stock_of
from tests.processes import Server, serving

pytestmark = pytest.mark.usefixtures("sound")

ALL_BOOKS = "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"
BOOK = "query ($id: ID!) { book(by: {id: $id}) { title } }"
WAITING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def server(shop: Shop, settings: Settings, tmp_path: Path) -> AsyncIterator[Server]:
    async with serving(settings, tmp_path, LOG_LEVEL="info") as server:
        yield server


class Caller:
    """Asks over a bare connection, and may hang up."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    @classmethod
    async def asks(cls, server: Server, document: str, token: str | None = None, **variables: object) -> "Caller":
        place = urlsplit(server.url)
        _, writer = await asyncio.open_connection(place.hostname, place.port)
        body = json.dumps({"query": document, "variables": variables}).encode()
        lines = [
            "POST /graphql HTTP/1.1",
            "Host: shop.test",
            "Content-Type: application/json",
            f"Content-Length: {len(body)}",
            *([f"Authorization: Bearer {token}"] if token else []),
        ]
        writer.write("\r\n".join(lines).encode() + b"\r\n\r\n" + body)
        await writer.drain()
        return cls(writer)

    def hangs_up(self) -> None:
        self._writer.transport.abort()


async def until_logged(server: Server, text: str) -> str:
    async with asyncio.timeout(20):
        while text not in (told := server.log.read_text()):
            await asyncio.sleep(0.02)
    return told


@pytest.mark.parametrize("lock", [ALL_GENRES, ALL_BOOKS])
async def test_a_query_ends(
    server: Server, shop: Shop, postgres: asyncpg.Connection, database_url: str, lock: str
) -> None:
    """Whether a resolver waits for PostgreSQL itself or for a batch of its loaders."""
    book = await add_book(shop)
    async with holding(database_url, lock):
        if lock is ALL_GENRES:
            caller = await Caller.asks(server, GENRES)
        else:
            caller = await Caller.asks(server, BOOK, id=book_id(book))
        await until_waiting(postgres, 1)
        caller.hangs_up()
        told = await until_logged(server, "client gone")
        async with asyncio.timeout(1):  # lock_timeout would take three
            while await postgres.fetchval(WAITING):
                await asyncio.sleep(0.02)
    assert "unavailable" not in told
    assert "fault" not in told
    assert (await server.visitor.ask(GENRES))["genres"] == []


async def test_a_change_goes_on(server: Server, shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    async with holding(database_url, BOOKS, [book.id]):
        caller = await Caller.asks(server, RESTOCK, token, id=book_id(book))
        await until_waiting(postgres, 1)
        caller.hangs_up()
        await asyncio.sleep(1)  # longer than it takes to notice
        assert await postgres.fetchval(WAITING) == 1
    await until_logged(server, "path=/graphql")
    assert await movements_of(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]


async def test_a_purchase_goes_on(server: Server, shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    book = await add_book(shop, stock=3)
    customer = await add_customer(server.visitor, shop, (book, 1))
    purchase = {"idempotencyKey": "once", "paymentToken": "mock-approve"}
    async with holding(database_url, PAYMENTS):
        caller = await Caller.asks(server, CHECKOUT, customer.member.token, input=purchase)
        await until_waiting(postgres, 1)
        caller.hangs_up()
        await asyncio.sleep(1)
    again = await customer.buys("once")
    assert (again["__typename"], again["order"]["status"]) == ("OrderPlaced", "CONFIRMED")
    assert (await payments(postgres), await stock_of(postgres, book)) == ([("APPROVED", False)], 2)
