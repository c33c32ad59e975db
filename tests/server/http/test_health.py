"""The probes /health and /ready."""

import asyncio
import signal
import time
from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest
from sqlalchemy import make_url

from domain.shop import Shop
from server.http import health
from server.http.health import DATABASE_UNREACHABLE, STOPPING, Readiness
from server.messages import SCHEMA_OUTDATED
from server.settings import Settings
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.database.query_counter import start_counting_proxy
from tests.support.http.apps import running_app, running_client, running_http_client
from tests.support.http.client import ApiClient
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, LOCK_GENRES
from tests.support.shop.factories import add_admin, add_book, book_id


async def get_readiness(http: httpx2.AsyncClient) -> tuple[int, str]:
    response = await http.get("/ready")
    assert response.headers["cache-control"] == "no-store"
    assert (await http.head("/ready")).status_code == response.status_code
    assert (await http.get("/health")).status_code == 200
    return response.status_code, response.json().get("reason", "")


@pytest.fixture
async def http(client: ApiClient) -> AsyncIterator[httpx2.AsyncClient]:
    async with client.http() as http:
        yield http


async def test_ready_with_database(http: httpx2.AsyncClient) -> None:
    assert await get_readiness(http) == (200, "")


async def test_not_ready_before_migration(http: httpx2.AsyncClient, postgres: asyncpg.Connection) -> None:
    revision = await postgres.fetchval("SELECT version_num FROM alembic_version")
    older_revision = min(name for name in Readiness(None)._older_revisions if name)  # type: ignore[arg-type]  # needs no shop
    try:
        await postgres.execute("UPDATE alembic_version SET version_num = $1", older_revision)
        assert await get_readiness(http) == (503, SCHEMA_OUTDATED)
        await postgres.execute("UPDATE alembic_version SET version_num = 'of a later release'")
        assert await get_readiness(http) == (200, "")
    finally:
        await postgres.execute("UPDATE alembic_version SET version_num = $1", revision)


async def test_not_ready_with_a_foreign_database(settings: Settings, server_url: str) -> None:
    other_url = make_url(server_url).set(database="template1").render_as_string(hide_password=False)
    async with running_http_client(settings, database_url=other_url) as http:
        assert await get_readiness(http) == (503, SCHEMA_OUTDATED)


async def _never_respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()  # until the client disconnects
    writer.close()


async def test_not_ready_without_database_and_hides_its_address(settings: Settings) -> None:
    async with await asyncio.start_server(_never_respond, "127.0.0.1", 0) as silent_server:
        for port in (
            1,
            silent_server.sockets[0].getsockname()[1],
        ):  # the first port refuses connections, the second never responds
            async with running_http_client(settings, database_url=f"postgresql://a:b@127.0.0.1:{port}/shop") as http:
                assert await get_readiness(http) == (503, DATABASE_UNREACHABLE)


async def wait_until_queried(client: ApiClient, postgres: asyncpg.Connection) -> None:
    """Wait until a statement is blocked, and assert that /ready reports readiness."""
    await wait_for_blocked(postgres, 1)
    async with client.http() as http:
        assert (await http.get("/ready")).json() == {"status": "ready"}


async def test_full_pool_is_not_reported_as_unreachable_database(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book, token = await add_book(shop), (await add_admin(shop)).token
    async with running_client(settings, pool_size=1, pool_max_overflow=0) as visitor:
        admin = visitor.with_token(token)
        async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
            write = asyncio.create_task(admin.execute(INCREMENT_STOCK, id=book_id(book)))
            await wait_until_queried(visitor, postgres)
        assert (await write).errors == []
        async with hold_lock(database_url, LOCK_GENRES):
            read = asyncio.create_task(visitor.execute(GENRES_QUERY))
            await wait_until_queried(visitor, postgres)
        assert (await read).errors == []


async def test_readiness_is_cached(
    settings: Settings, shop: Shop, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(health, "CACHE_TTL", 1000)
    async with start_counting_proxy(database_url) as proxy, running_client(settings, database_url=proxy.url) as visitor:
        async with visitor.http() as http:
            responses = [await http.get("/ready"), *await asyncio.gather(*(http.get("/ready") for _ in range(50)))]
        assert {response.status_code for response in responses} == {200}
        assert proxy.statements < 20  # a probe takes four, and the start takes some


def test_not_ready_after_sigterm_while_requests_complete(monkeypatch: pytest.MonkeyPatch) -> None:
    received: list[int] = []
    previous_handler = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        readiness = Readiness(None)  # type: ignore[arg-type]  # needs no shop
        with readiness.handle_signals():
            signal.raise_signal(signal.SIGTERM)
        assert (readiness.stopping_since is not None, received) == (True, [signal.SIGTERM])
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


async def test_drain_delays_shutdown_until_timeout_or_second_signal() -> None:
    received: list[int] = []
    previous_handler = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        readiness = Readiness(None, drain_seconds=0.01)  # type: ignore[arg-type]  # needs no shop
        with readiness.handle_signals():
            signal.raise_signal(signal.SIGTERM)
            assert (readiness.stopping_since is not None, received) == (True, [])
            signal.raise_signal(signal.SIGTERM)
            assert received == [signal.SIGTERM]
            async with asyncio.timeout(10):
                while len(received) < 2:
                    await asyncio.sleep(0.01)
    finally:
        signal.signal(signal.SIGTERM, previous_handler)


async def test_health_reports_shutdown(settings: Settings, shop: Shop) -> None:
    async with running_app(settings) as app, ApiClient(app).http() as http:
        app.state.readiness.stopping_since = time.monotonic()
        assert await get_readiness(http) == (503, STOPPING)
