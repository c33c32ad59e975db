"""The server reports a database that hangs, fails, or rejects writes or connections, and recovers with it."""

import asyncio

import asyncpg
import pytest
from sqlalchemy import make_url

from domain.shop import Shop
from graph.execution import execute
from persistence.postgres import connection
from server.http.health import ANY_MISSING_PRIVILEGE, DATABASE_UNREACHABLE
from server.settings import Settings
from tests.support.database.db_roles import get_role_url, temporary_role
from tests.support.database.db_snapshots import list_stock_movements, take_snapshot
from tests.support.database.fault_proxy import start_fault_proxy
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, UNAVAILABLE, get_status, post_graphql
from tests.support.shop.factories import add_admin, add_book, add_genre, book_id

pytestmark = pytest.mark.usefixtures("check_invariants")


TERMINATE_CONNECTIONS = """SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND application_name = 'bookstore' AND backend_type = 'client backend'"""


async def assert_reported_unavailable(client: ApiClient, document: str, **variables: object) -> None:
    response = await post_graphql(client, document, **variables)
    assert response.status_code in (200, 503), response.text
    assert [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE], response.text
    assert response.status_code == 200 or response.headers["retry-after"] == "2"


def shorten_timeouts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the timeouts of PostgreSQL, and lengthen that of a request."""
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 0.5)
    monkeypatch.setattr(connection, "CONNECT_TIMEOUT", 0.5)
    monkeypatch.setattr(execute, "EXECUTION_TIMEOUT", 1000)


@pytest.mark.parametrize("failure", ["hang", "break_connections"])
async def test_unreachable_database(
    settings: Settings,
    shop: Shop,
    database_url: str,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    failure: str,
) -> None:
    shorten_timeouts(monkeypatch)
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    async with (
        start_fault_proxy(database_url) as proxy,
        running_client(settings, database_url=proxy.url) as client,
    ):
        admin = client.with_token(token)
        assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
        before = await take_snapshot(postgres)
        getattr(proxy, failure)()
        await assert_reported_unavailable(client, GENRES_QUERY)
        await assert_reported_unavailable(admin, INCREMENT_STOCK, id=book_id(book))
        assert (await get_status(client, "/health"), await get_status(client, "/ready")) == (200, 503)
        proxy.restore()
        assert await take_snapshot(postgres) == before
        assert (await client.execute(GENRES_QUERY))["genres"] == []
        assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
        assert await get_status(client, "/ready") == 200
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1), ("DELIVERY", 1)]


async def test_database_hangs_during_a_write(
    settings: Settings,
    shop: Shop,
    database_url: str,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shorten_timeouts(monkeypatch)
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    before = await take_snapshot(postgres)
    async with (
        start_fault_proxy(database_url) as proxy,
        running_client(settings, database_url=proxy.url) as client,
    ):
        admin = client.with_token(token)
        async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
            restock = asyncio.create_task(admin.execute(INCREMENT_STOCK, id=book_id(book)))
            [blocked_pid] = await wait_for_blocked(postgres, 1)
            proxy.hang()
            assert (await restock).codes == ["SERVICE_UNAVAILABLE"]
            proxy.restore()
            await wait_until_disconnected(postgres, [blocked_pid])
        assert await take_snapshot(postgres) == before
        assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}


async def test_read_only_database(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """Reads succeed. Writes succeed as soon as the database accepts them, also on older connections."""
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    name = make_url(database_url).database
    before = await take_snapshot(postgres)
    async with running_client(settings, pool_size=1, pool_max_overflow=0) as client:
        admin = client.with_token(token)
        await postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await postgres.execute(TERMINATE_CONNECTIONS)
        try:
            await assert_reported_unavailable(admin, INCREMENT_STOCK, id=book_id(book))
            assert (await client.execute(GENRES_QUERY))["genres"] == []
        finally:
            await postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        assert await take_snapshot(postgres) == before
        assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}


@pytest.mark.parametrize(
    ("statement", "undo_statement"),
    [
        (
            "ALTER ROLE {role} NOLOGIN",
            "ALTER ROLE {role} LOGIN",
        ),  # SQLSTATE class 28, as after a change of the password or of pg_hba.conf
        ("REVOKE CONNECT ON DATABASE {database} FROM PUBLIC", "GRANT CONNECT ON DATABASE {database} TO PUBLIC"),
        ("ALTER ROLE {role} CONNECTION LIMIT 0", "ALTER ROLE {role} CONNECTION LIMIT -1"),
    ],
    ids=["role", "privileges", "connection limit"],
)
async def test_database_rejects_connections(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str, statement: str, undo_statement: str
) -> None:
    await add_genre(shop, "Fantasy")
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    before = await take_snapshot(postgres)
    async with (
        temporary_role(postgres, "ALL") as role,
        running_client(settings, database_url=get_role_url(role, database_url)) as client,
    ):
        names = {"role": role, "database": make_url(database_url).database}
        admin = client.with_token(token)
        await postgres.execute(statement.format(**names))
        try:
            await assert_reported_unavailable(client, GENRES_QUERY)
            await assert_reported_unavailable(admin, INCREMENT_STOCK, id=book_id(book))
            assert await get_status(client, "/health") == 200
            assert await get_ready(client) == {"status": "not ready", "reason": DATABASE_UNREACHABLE}
            assert await take_snapshot(postgres) == before
        finally:
            await postgres.execute(undo_statement.format(**names))
        assert len((await client.execute(GENRES_QUERY))["genres"]) == 1
        assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
        assert await get_ready(client) == {"status": "ready"}


async def test_role_lacks_privileges(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """The privileges are revoked while the server runs; it would not have started without them."""
    async with (
        temporary_role(postgres, "SELECT") as role,
        running_client(settings, database_url=get_role_url(role, database_url)) as client,
    ):
        assert await get_ready(client) == {"status": "ready", "notes": [ANY_MISSING_PRIVILEGE]}
        await postgres.execute(f"REVOKE ALL ON ALL TABLES IN SCHEMA public FROM {role}")
        assert await get_ready(client) == {"status": "not ready", "reason": ANY_MISSING_PRIVILEGE}


async def test_dropped_database(settings: Settings, shop: Shop, database_url: str) -> None:
    """The server reports it as unreachable, because it may return."""
    url = make_url(database_url).set(database="renamed").render_as_string(hide_password=False)
    async with running_client(settings, database_url=url) as client:
        await assert_reported_unavailable(client, GENRES_QUERY)
        assert await get_ready(client) == {"status": "not ready", "reason": DATABASE_UNREACHABLE}


async def get_ready(client: ApiClient) -> dict[str, object]:
    async with client.http() as http:
        payload: dict[str, object] = (await http.get("/ready")).json()
    return payload
