"""Bodies are bounded: too large, too slow, compressed or cut short they are refused as soon as that shows, and do nothing."""

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
from persistence.catalog import Book
from server.questions import BODY_TIMEOUT, LARGEST_BODY
from server.settings import Settings
from tests.client import Visitor
from tests.clock import let_pass
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import GENRES, RESTOCK, shop_with
from tests.memory import movements_of
from tests.processes import Server, serving

pytestmark = pytest.mark.usefixtures("sound")

AS_JSON = {"content-type": "application/json"}
BLOCK = b" " * 10_000


@dataclass(frozen=True, slots=True)
class Delivery:
    """A copy for the shelf, as an administrator would note it: a request that changes something if it is heard."""

    book: Book
    body: bytes
    visitor: Visitor

    async def is_refused(self, content: bytes | AsyncIterator[bytes], status: int, **headers: str) -> httpx2.Response:
        async with self.visitor.http() as http:
            response = await http.post("/graphql", content=content, headers=AS_JSON | headers)
        assert response.status_code == status, response.text
        assert [error["extensions"] for error in response.json()["errors"]] == [{"code": "BAD_REQUEST"}]
        assert list(response.json()) == ["errors"]
        return response

    async def is_noted(self, content: bytes, **headers: str) -> None:
        async with self.visitor.http() as http:
            response = await http.post("/graphql", content=content, headers=AS_JSON | headers)
        assert response.json() == {"data": {"updateStock": {"__typename": "StockUpdated"}}}


@pytest.fixture
async def delivery(visitor: Visitor, shop: Shop) -> Delivery:
    book = await add_book(shop, stock=1)
    body = json.dumps({"query": RESTOCK, "variables": {"id": book_id(book)}}).encode()
    return Delivery(book, body, visitor.signed_in((await add_administrator(shop)).token))


@pytest.fixture
async def nothing_happens(delivery: Delivery, postgres: asyncpg.Connection) -> AsyncIterator[None]:
    yield
    assert await movements_of(postgres, delivery.book) == [("NEW_BOOK", 1)]


# ── Size ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("length", [str(LARGEST_BODY + 1), "9" * 5_000])
async def test_a_length_that_is_too_large_is_believed(delivery: Delivery, length: str) -> None:
    """Nothing of the body is read."""
    heard: list[bytes] = []

    async def body() -> AsyncIterator[bytes]:
        heard.append(delivery.body)
        yield delivery.body

    await delivery.is_refused(body(), 413, **{"content-length": length})
    assert heard == []


@pytest.mark.usefixtures("nothing_happens")
async def test_a_body_that_turns_out_to_be_too_large_is_not_read_to_its_end(delivery: Delivery) -> None:
    heard = [delivery.body]

    async def body() -> AsyncIterator[bytes]:
        yield delivery.body
        while True:
            heard.append(BLOCK)
            yield BLOCK

    await delivery.is_refused(body(), 413)
    assert sum(map(len, heard)) <= LARGEST_BODY + len(BLOCK)


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("length", ["-1", "many", "1e9", "²", ""])
async def test_a_length_that_is_none_spares_no_counting(delivery: Delivery, length: str) -> None:
    headers = [(b"content-type", b"application/json"), (b"content-length", length.encode("latin-1"))]
    async with delivery.visitor.http() as http:
        response = await http.post("/graphql", content=delivery.body.ljust(LARGEST_BODY + 1), headers=headers)
    assert response.status_code == 413


async def test_a_body_as_large_as_may_be(delivery: Delivery, postgres: asyncpg.Connection) -> None:
    await delivery.is_noted(delivery.body.ljust(LARGEST_BODY))
    assert await movements_of(postgres, delivery.book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]


# ── Time ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("nothing_happens")
async def test_a_body_that_drips(delivery: Delivery) -> None:
    """All of it is there but for its end."""

    async def body() -> AsyncIterator[bytes]:
        yield delivery.body
        while True:
            let_pass(BODY_TIMEOUT / 4)
            await asyncio.sleep(0.02)
            yield b" "

    assert (await delivery.is_refused(body(), 408)).headers["connection"] == "close"


async def test_bodies_that_drip_keep_nobody_waiting(
    settings: Settings, shop: Shop, delivery: Delivery, postgres: asyncpg.Connection
) -> None:
    """Nor do they hold the only connection to the database."""
    begun = asyncio.Semaphore(0)

    async def body() -> AsyncIterator[bytes]:
        yield delivery.body
        begun.release()
        await asyncio.Event().wait()

    async with shop_with(settings, pool_size=1, pool_max_overflow=0) as visitor:
        there = Delivery(delivery.book, delivery.body, visitor.signed_in((await add_administrator(shop)).token))
        slow = [asyncio.create_task(there.is_refused(body(), 408)) for _ in range(50)]
        for _ in slow:
            await begun.acquire()
        assert (await visitor.ask(GENRES))["genres"] == []
        await there.is_noted(delivery.body)
        assert not any(task.done() for task in slow)
        let_pass(BODY_TIMEOUT)
        await asyncio.gather(*slow)
    assert await movements_of(postgres, delivery.book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]


# ── Form ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.usefixtures("nothing_happens")
@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip", "nonsense"])
async def test_a_body_that_is_compressed(delivery: Delivery, encoding: str) -> None:
    """Nothing is unpacked, so nothing can swell; and what says that it is packed is not taken as it is."""
    for content in (delivery.body, gzip.compress(delivery.body)):
        await delivery.is_refused(content, 415, **{"content-encoding": encoding})


# ── Over the wire ─────────────────────────────────────────────────────────────────────────


class Post:
    """A request over a bare connection, chunk by chunk, whose end is never sent."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.answer = asyncio.create_task(reader.read())

    @classmethod
    async def begins(cls, server: Server, token: str, *chunks: bytes) -> "Post":
        place = urlsplit(server.url)
        post = cls(*await asyncio.open_connection(place.hostname, place.port))
        head = f"POST /graphql HTTP/1.1\r\nHost: shop.test\r\nAuthorization: Bearer {token}\r\n"
        post._writer.write(f"{head}Content-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        for chunk in chunks:
            await post.goes_on(chunk)
        return post

    async def goes_on(self, chunk: bytes) -> None:
        self._writer.write(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        await self._writer.drain()

    async def answered(self) -> bytes:
        answer = await self.answer
        self.hangs_up()
        return answer

    def hangs_up(self) -> None:
        self._writer.close()


async def test_a_server_hears_no_more_of_a_body_than_it_must(
    settings: Settings, shop: Shop, delivery: Delivery, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    token = (await add_administrator(shop)).token
    async with serving(settings, tmp_path, LOG_LEVEL="info") as server:
        slow = await Post.begins(server, token, delivery.body)
        large = await Post.begins(server, token, delivery.body, *[BLOCK] * (LARGEST_BODY // len(BLOCK)))
        assert b" 413 " in await large.answered()
        short = await Post.begins(server, token, delivery.body)
        short.hangs_up()
        async with asyncio.timeout(20):
            while "status=400" not in server.log.read_text():
                await asyncio.sleep(0.02)
        while not slow.answer.done():
            await slow.goes_on(b" ")
            await asyncio.wait({slow.answer}, timeout=1)
        assert b" 408 " in await slow.answered()
        assert await movements_of(postgres, delivery.book) == [("NEW_BOOK", 1)]
