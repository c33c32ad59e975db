"""/health tells that the process lives, /ready that it may be sent requests."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest
from sqlalchemy import make_url

from domain.shop import Shop
from server import health
from server.app import create_app
from server.health import BEHIND, NO_DATABASE, STOPPING, Readiness
from server.settings import Settings
from tests.client import Visitor
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import ALL_GENRES, GENRES, RESTOCK, shop_with
from tests.locks import BOOKS, holding, until_waiting
from tests.wire import tapped


async def asked(http: httpx2.AsyncClient) -> tuple[int, str]:
    response = await http.get("/ready")
    assert response.headers["cache-control"] == "no-store"
    assert (await http.head("/ready")).status_code == response.status_code
    assert (await http.get("/health")).status_code == 200
    return response.status_code, response.json().get("reason", "")


@pytest.fixture
async def http(visitor: Visitor) -> AsyncIterator[httpx2.AsyncClient]:
    async with visitor.http() as http:
        yield http


async def test_with_its_database_it_is_ready(http: httpx2.AsyncClient) -> None:
    assert await asked(http) == (200, "")


async def test_before_the_migration_it_is_not(http: httpx2.AsyncClient, postgres: asyncpg.Connection) -> None:
    revision = await postgres.fetchval("SELECT version_num FROM alembic_version")
    earlier = min(name for name in Readiness(None)._older if name)  # type: ignore[arg-type]  # asks no shop
    try:
        await postgres.execute("UPDATE alembic_version SET version_num = $1", earlier)
        assert await asked(http) == (503, BEHIND)
        await postgres.execute("UPDATE alembic_version SET version_num = 'of a later release'")
        assert await asked(http) == (200, "")
    finally:
        await postgres.execute("UPDATE alembic_version SET version_num = $1", revision)


async def test_in_a_database_that_is_not_the_shops_it_is_not(settings: Settings, server_url: str) -> None:
    elsewhere = make_url(server_url).set(database="template1").render_as_string(hide_password=False)
    app = create_app(settings.model_copy(update={"database_url": elsewhere}))
    async with app.router.lifespan_context(app), Visitor(app).http() as http:
        assert await asked(http) == (503, BEHIND)


async def _say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the other side has had enough
    writer.close()


async def test_without_its_database_it_is_not_and_says_no_address(settings: Settings) -> None:
    async with await asyncio.start_server(_say_nothing, "127.0.0.1", 0) as silent:
        for port in (1, silent.sockets[0].getsockname()[1]):  # nobody listens, and nobody answers
            app = create_app(settings.model_copy(update={"database_url": f"postgresql://a:b@127.0.0.1:{port}/shop"}))
            async with app.router.lifespan_context(app), Visitor(app).http() as http:
                assert await asked(http) == (503, NO_DATABASE)


async def until_asked_of(visitor: Visitor, postgres: asyncpg.Connection) -> None:
    """/ready says that all is well while one connection waits for a lock."""
    await until_waiting(postgres, 1)
    async with visitor.http() as http:
        assert (await http.get("/ready")).json() == {"status": "ready"}


async def test_a_pool_that_is_full_is_no_database_that_is_gone(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book, token = await add_book(shop), (await add_administrator(shop)).token
    async with shop_with(settings, pool_size=1, pool_max_overflow=0) as visitor:
        admin = visitor.signed_in(token)
        async with holding(database_url, BOOKS, [book.id]):
            writing = asyncio.create_task(admin.ask(RESTOCK, id=book_id(book)))
            await until_asked_of(visitor, postgres)
        assert (await writing).errors == []
        async with holding(database_url, ALL_GENRES):
            reading = asyncio.create_task(visitor.ask(GENRES))
            await until_asked_of(visitor, postgres)
        assert (await reading).errors == []


async def test_however_often_it_is_asked_the_database_is_asked_once(
    settings: Settings, shop: Shop, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "KEPT", 1000)
    async with tapped(database_url) as wire, shop_with(settings, database_url=wire.url) as visitor:
        async with visitor.http() as http:
            answers = [await http.get("/ready"), *await asyncio.gather(*(http.get("/ready") for _ in range(50)))]
        assert {answer.status_code for answer in answers} == {200}
        assert wire.statements < 20  # one look takes four, and the shop looks for other things when it is opened


def test_told_to_stop_it_is_not_and_whoever_was_told_before_still_is(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        readiness = Readiness(None)  # type: ignore[arg-type]  # asks no shop
        with readiness.watching_signals():
            signal.raise_signal(signal.SIGTERM)
        assert (readiness.stopping_since is not None, told) == (True, [signal.SIGTERM])
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_with_a_notice_whoever_was_told_before_is_told_later_or_the_second_time() -> None:
    told: list[int] = []
    before = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        readiness = Readiness(None, notice=0.01)  # type: ignore[arg-type]  # asks no shop
        with readiness.watching_signals():
            signal.raise_signal(signal.SIGTERM)
            assert (readiness.stopping_since is not None, told) == (True, [])
            signal.raise_signal(signal.SIGTERM)
            assert told == [signal.SIGTERM]
            async with asyncio.timeout(10):
                while len(told) < 2:
                    await asyncio.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, before)


async def test_while_it_stops_it_says_so(settings: Settings, shop: Shop) -> None:
    app = create_app(settings)
    async with app.router.lifespan_context(app), Visitor(app).http() as http:
        app.state.readiness.stopping_since = time.monotonic()
        assert await asked(http) == (503, STOPPING)
