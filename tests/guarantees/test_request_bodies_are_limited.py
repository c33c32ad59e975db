"""The server rejects bodies that are too large, too slow, compressed or truncated, and executes nothing."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import asyncpg
import httpx2
import pytest

from domain.shop import Shop
from persistence.catalog import BookRow
from server.http.request_parsing import BODY_TIMEOUT, MAX_BODY_SIZE
from server.settings import Settings
from tests.support.database.db_snapshots import list_stock_movements
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK
from tests.support.processes.clock import advance_clock
from tests.support.processes.servers import Server, start_server
from tests.support.shop.factories import add_admin, add_book, book_id
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("check_invariants")

AS_JSON = {"content-type": "application/json"}
BODY_CHUNK = b" " * 10_000


@dataclass(frozen=True, slots=True)
class StockRequest:
    """An administrator's request that adds a copy to the stock if the server executes it."""

    book: BookRow
    body: bytes
    client: ApiClient

    async def assert_rejected(
        self, content: bytes | AsyncIterator[bytes], status: int, **headers: str
    ) -> httpx2.Response:
        async with self.client.http() as http:
            response = await http.post("/graphql", content=content, headers=AS_JSON | headers)
        assert response.status_code == status, response.text
        assert [error["extensions"] for error in response.json()["errors"]] == [{"code": "BAD_REQUEST"}]
        assert list(response.json()) == ["errors"]
        return response

    async def assert_accepted(self, content: bytes, **headers: str) -> None:
        async with self.client.http() as http:
            response = await http.post("/graphql", content=content, headers=AS_JSON | headers)
        assert response.json() == {"data": {"updateStock": {"__typename": "StockUpdated"}}}


@pytest.fixture
async def stock_request(client: ApiClient, shop: Shop) -> StockRequest:
    book = await add_book(shop, stock=1)
    body = json.dumps({"query": INCREMENT_STOCK, "variables": {"id": book_id(book)}}).encode()
    return StockRequest(book, body, client.with_token((await add_admin(shop)).token))


@pytest.fixture
async def assert_unchanged(stock_request: StockRequest, postgres: asyncpg.Connection) -> AsyncIterator[None]:
    yield
    assert await list_stock_movements(postgres, stock_request.book) == [("NEW_BOOK", 1)]


# ── Size ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("assert_unchanged")
@pytest.mark.parametrize("length", [str(MAX_BODY_SIZE + 1), "9" * 5_000])
async def test_large_content_length_is_rejected_without_reading(stock_request: StockRequest, length: str) -> None:
    """The server rejects by the header alone."""
    sent_chunks: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        sent_chunks.append(stock_request.body)
        yield stock_request.body

    await stock_request.assert_rejected(body(), 413, **{"content-length": length})
    assert sent_chunks == []


@pytest.mark.usefixtures("assert_unchanged")
async def test_oversized_body_is_not_read_to_the_end(stock_request: StockRequest) -> None:
    sent_chunks = [stock_request.body]

    async def body() -> AsyncIterator[bytes]:
        yield stock_request.body
        while True:
            sent_chunks.append(BODY_CHUNK)
            yield BODY_CHUNK

    await stock_request.assert_rejected(body(), 413)
    assert sum(map(len, sent_chunks)) <= MAX_BODY_SIZE + len(BODY_CHUNK)


@pytest.mark.usefixtures("assert_unchanged")
@pytest.mark.parametrize("length", ["-1", "many", "1e9", "²", ""])
async def test_invalid_content_length_does_not_bypass_the_limit(stock_request: StockRequest, length: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", length.encode("latin-1"))]
    async with stock_request.client.http() as http:
        response = await http.post("/graphql", content=stock_request.body.ljust(MAX_BODY_SIZE + 1), headers=headers)
    assert response.status_code == 413


async def test_body_at_the_limit_is_accepted(stock_request: StockRequest, postgres: asyncpg.Connection) -> None:
    await stock_request.assert_accepted(stock_request.body.ljust(MAX_BODY_SIZE))
    assert await list_stock_movements(postgres, stock_request.book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]


# ── Time ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("assert_unchanged")
async def test_slow_body_times_out(stock_request: StockRequest) -> None:
    """The document is complete, and the body does not end."""

    async def body() -> AsyncIterator[bytes]:
        yield stock_request.body
        while True:
            advance_clock(BODY_TIMEOUT / 4)
            await asyncio.sleep(0.02)
            yield b" "

    assert (await stock_request.assert_rejected(body(), 408)).headers["connection"] == "close"


async def test_slow_bodies_do_not_block_other_requests(
    settings: Settings, shop: Shop, stock_request: StockRequest, postgres: asyncpg.Connection
) -> None:
    """The slow bodies do not hold the only connection to the database."""
    started = asyncio.Semaphore(0)

    async def body() -> AsyncIterator[bytes]:
        yield stock_request.body
        started.release()
        await asyncio.Event().wait()

    async with running_client(settings, pool_size=1, pool_max_overflow=0) as client:
        own_request = StockRequest(
            stock_request.book, stock_request.body, client.with_token((await add_admin(shop)).token)
        )
        slow_requests = [asyncio.create_task(own_request.assert_rejected(body(), 408)) for _ in range(50)]
        for _ in slow_requests:
            await started.acquire()
        assert (await client.execute(GENRES_QUERY))["genres"] == []
        await own_request.assert_accepted(stock_request.body)
        assert not any(task.done() for task in slow_requests)
        advance_clock(BODY_TIMEOUT)
        await asyncio.gather(*slow_requests)
    assert await list_stock_movements(postgres, stock_request.book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]


# ── Form ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("assert_unchanged")
@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "nonsense"])
async def test_compressed_body_is_rejected(stock_request: StockRequest, encoding: str) -> None:
    """The server decompresses nothing, and does not read a body that only claims to be compressed."""
    for content in (stock_request.body, gzip.compress(stock_request.body)):
        await stock_request.assert_rejected(content, 415, **{"content-encoding": encoding})


# ── Over a socket ─────────────────────────────────────────────────────────────────────────


class ChunkedRequest:
    """A chunked request over a bare connection, whose last chunk is never sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.response = asyncio.create_task(reader.read())

    @classmethod
    async def start(cls, server: Server, token: str, *chunks: bytes) -> "ChunkedRequest":
        url = urlsplit(server.url)
        request = cls(*await asyncio.open_connection(url.hostname, url.port))
        head = f"POST /graphql HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Bearer {token}\r\n"
        request._writer.write(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for chunk in chunks:
            await request.send_chunk(chunk)
        return request

    async def send_chunk(self, chunk: bytes) -> None:
        self._writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        await self._writer.drain()

    async def read_response(self) -> bytes:
        response = await self.response
        self.disconnect()
        return response

    def disconnect(self) -> None:
        self._writer.close()


async def test_server_stops_reading_an_oversized_body(
    settings: Settings, shop: Shop, stock_request: StockRequest, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    token = (await add_admin(shop)).token
    async with start_server(settings, tmp_path, LOG_LEVEL="info") as server:
        slow_request = await ChunkedRequest.start(server, token, stock_request.body)
        large_request = await ChunkedRequest.start(
            server, token, stock_request.body, *[BODY_CHUNK] * (MAX_BODY_SIZE // len(BODY_CHUNK))
        )
        assert b" 413 " in await large_request.read_response()
        truncated_request = await ChunkedRequest.start(server, token, stock_request.body)
        truncated_request.disconnect()
        await wait_until(lambda: "status=400" in server.log.read_text(), 20)
        while not slow_request.response.done():
            await slow_request.send_chunk(b" ")
            await asyncio.wait({slow_request.response}, timeout=1)
        assert b" 408 " in await slow_request.read_response()
        assert await list_stock_movements(postgres, stock_request.book) == [("NEW_BOOK", 1)]
