"""A disconnect cancels the client's query, but never a mutation in progress."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.support.database.db_snapshots import get_stock, list_payments, list_stock_movements
from tests.support.database.locks import LOCK_BOOKS, LOCK_PAYMENTS, hold_lock, wait_for_blocked
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, LOCK_GENRES
from tests.support.processes.servers import Server, start_server
from tests.support.shop.customers import CHECKOUT_MUTATION, add_customer
from tests.support.shop.factories import add_admin, add_book, book_id
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("check_invariants")

LOCK_ALL_BOOKS = "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"
BOOK_QUERY = "query ($id: ID!) { book(by: {id: $id}) { title } }"
COUNT_BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"


@pytest.fixture
async def server(shop: Shop, settings: Settings, tmp_path: Path) -> AsyncIterator[Server]:
    async with start_server(settings, tmp_path, LOG_LEVEL="info") as server:
        yield server


class RawConnection:
    """Sends one request over a bare connection, and can disconnect before the response."""

    def __init__(self, writer: asyncio.StreamWriter) -> None:
        self._writer = writer

    @classmethod
    async def send_request(
        cls, server: Server, document: str, token: str | None = None, **variables: object
    ) -> "RawConnection":
        url = urlsplit(server.url)
        _, writer = await asyncio.open_connection(url.hostname, url.port)
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

    def disconnect(self) -> None:
        self._writer.transport.abort()


async def wait_for_log_line(server: Server, text: str) -> str:
    """Wait until the server's log contains the text, and return the log."""
    await wait_until(lambda: text in server.log.read_text(), 20)
    return server.log.read_text()


@pytest.mark.parametrize("lock", [LOCK_GENRES, LOCK_ALL_BOOKS])
async def test_query_is_cancelled(
    server: Server, shop: Shop, postgres: asyncpg.Connection, database_url: str, lock: str
) -> None:
    """A resolver waits for PostgreSQL itself, or for a batch of its loader."""
    book = await add_book(shop)
    async with hold_lock(database_url, lock):
        if lock is LOCK_GENRES:
            connection = await RawConnection.send_request(server, GENRES_QUERY)
        else:
            connection = await RawConnection.send_request(server, BOOK_QUERY, id=book_id(book))
        await wait_for_blocked(postgres, 1)
        connection.disconnect()
        log = await wait_for_log_line(server, "client_disconnected")
        async with asyncio.timeout(1):  # less than the three seconds of lock_timeout
            while await postgres.fetchval(COUNT_BLOCKED):
                await asyncio.sleep(0.02)
    assert "unavailable" not in log
    assert "internal_error" not in log
    assert (await server.client.execute(GENRES_QUERY))["genres"] == []


async def test_mutation_continues(server: Server, shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        connection = await RawConnection.send_request(server, INCREMENT_STOCK, token, id=book_id(book))
        await wait_for_blocked(postgres, 1)
        connection.disconnect()
        await asyncio.sleep(1)  # longer than the server takes to detect the disconnect
        assert await postgres.fetchval(COUNT_BLOCKED) == 1
    await wait_for_log_line(server, "path=/graphql")
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]


async def test_checkout_continues(server: Server, shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    book = await add_book(shop, stock=3)
    customer = await add_customer(server.client, shop, (book, 1))
    checkout_input = {"idempotencyKey": "once", "paymentToken": "mock-approve"}
    async with hold_lock(database_url, LOCK_PAYMENTS):
        connection = await RawConnection.send_request(
            server, CHECKOUT_MUTATION, customer.user.token, input=checkout_input
        )
        await wait_for_blocked(postgres, 1)
        connection.disconnect()
        await asyncio.sleep(1)
    retried = await customer.checkout("once")
    assert (retried["__typename"], retried["order"]["status"]) == ("OrderPlaced", "CONFIRMED")
    assert (await list_payments(postgres), await get_stock(postgres, book)) == ([("APPROVED", False)], 2)
