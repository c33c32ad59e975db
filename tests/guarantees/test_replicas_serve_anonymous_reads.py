"""Replicas serve anonymous reads only. Without a valid replica, the primary serves them. Users read their own writes."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from sqlalchemy import literal_column, select

from domain.shop import Shop
from persistence.catalog import is_empty
from persistence.postgres import connection, replicas
from persistence.postgres.database import Database, PoolSettings
from persistence.postgres.errors import Unavailable
from persistence.postgres.pool import PoolConnection
from persistence.postgres.preflight import check_writable, find_revision
from persistence.postgres.replicas import (
    FAILURE_THRESHOLD,
    NO_REPLICA_RESPONDS,
    NOT_A_VALID_REPLICA,
    REPLICA_STATEMENTS_FAIL,
    NoReplica,
    ReplicaConnector,
)
from persistence.postgres.statements import Query
from persistence.tables import Base
from server.app import create_app
from server.database.preflight import DIFFERENT_DATABASE, IS_REPLICA, check_database_urls
from server.http.health import READ_ONLY
from server.settings import Settings
from tests.support.database.db_roles import get_role_url, temporary_role
from tests.support.database.fault_proxy import start_fault_proxy, start_silent_server
from tests.support.database.locks import wait_for_blocked
from tests.support.database.query_counter import start_counting_proxy
from tests.support.database.replication import (
    PostgresServer,
    ReplicatedPair,
    fetch_value,
    start_diverging_copy,
    start_replicated_pair,
)
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.observability.prometheus import scrape_metrics, sum_series, wait_for_metrics
from tests.support.processes.cli import get_error_line, run_command
from tests.support.processes.ports import find_free_port
from tests.support.processes.servers import start_server as start_server_process
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import PASSWORD, add_admin, add_book, add_genre

CREATE_GENRE = 'mutation { createGenre(input: {name: "Fantasy"}) { ... on GenreSaved { genre { name } } } }'
REGISTER = """mutation { register(input: {email: "ann@example.com", password: "%s", displayName: "Ann"}) {
    ... on LoggedIn { tokens { accessToken } } } }"""
LOGIN = """mutation ($email: String!, $password: String!) { login(input: {email: $email, password: $password}) {
    ... on LoggedIn { user { orders { totalCount } } } } }"""
COUNT_QUERY = "{ books { totalCount } }"
ME_QUERY = "{ me { email } }"


@pytest.fixture(scope="module")
async def replicated_pair(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ReplicatedPair]:
    async with start_replicated_pair(tmp_path_factory.mktemp("pair")) as servers:
        yield servers


@pytest.fixture
async def servers(replicated_pair: ReplicatedPair) -> ReplicatedPair:
    """Return the pair with both servers running, all tables empty and the replica up to date."""
    if not replicated_pair.replica.is_running:
        await replicated_pair.replica.start()
    tables = ", ".join(table.name for table in Base.metadata.sorted_tables)
    await fetch_value(replicated_pair.primary, f"TRUNCATE {tables}, pgqueuer, pgqueuer_log")
    await fetch_value(replicated_pair.primary, "INSERT INTO sales_window (since) VALUES (now() - interval '90 days')")
    await replicated_pair.resume_replay()
    return replicated_pair


@asynccontextmanager
async def running_app(
    settings: Settings, servers: ReplicatedPair, **overrides: Any
) -> AsyncIterator[tuple[ApiClient, Shop]]:
    urls = {"database_url": servers.primary.url, "database_read_url": servers.replica.url}
    app = create_app(settings.model_copy(update=urls | overrides))
    async with app.router.lifespan_context(app):
        yield ApiClient(app), app.state.shop


async def list_genre_names(client: ApiClient) -> list[str]:
    return [genre["name"] for genre in (await client.execute("{ genres { name } }"))["genres"]]


async def get_ready_notes(client: ApiClient) -> list[str]:
    async with client.http() as http:
        response = await http.get("/ready")
    assert response.status_code == 200
    ready_notes: list[str] = response.json().get("notes", [])
    return ready_notes


async def fetch_genres(http: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
    return await http.get("/graphql", params={"query": "{ genres { name } }"}, headers=headers)


# ── Routing of reads ──────────────────────────────────────────────────────────────────────


async def test_anonymous_reads_use_the_replica_and_signed_in_reads_the_primary(
    settings: Settings, servers: ReplicatedPair
) -> None:
    async with running_app(settings, servers) as (visitor, shop):
        admin = visitor.with_token((await add_admin(shop)).token)
        await servers.resume_replay()
        await servers.pause_replay()
        assert (await admin.execute(CREATE_GENRE))["createGenre"] == {"genre": {"name": "Fantasy"}}
        await add_book(shop)
        assert (await list_genre_names(admin), await list_genre_names(visitor)) == (["Fantasy"], [])
        assert (await admin.execute(COUNT_QUERY))["books"]["totalCount"] == 1
        assert (await visitor.execute(COUNT_QUERY))["books"]["totalCount"] == 0
        await servers.resume_replay()
        assert await list_genre_names(visitor) == ["Fantasy"]
        assert await get_ready_notes(visitor) == []


async def test_login_switches_reads_to_the_primary(settings: Settings, servers: ReplicatedPair) -> None:
    """The response to a mutation without a token comes from the primary, too."""
    async with running_app(settings, servers) as (visitor, shop):
        assert await list_genre_names(visitor) == []
        await servers.pause_replay()
        result = (await visitor.execute(REGISTER % PASSWORD))["register"]
        ann = visitor.with_token(result["tokens"]["accessToken"])
        assert (await ann.execute(ME_QUERY))["me"] == {"email": "ann@example.com"}
        customer = await add_customer(visitor, shop, (await add_book(shop), 1))
        await customer.checkout()
        login_result = (await visitor.execute(LOGIN, email=customer.user.row.email, password=PASSWORD))["login"]
        assert login_result["user"] == {"orders": {"totalCount": 1}}
        await servers.resume_replay()


async def test_replica_etag_is_not_reported_as_unchanged(settings: Settings, servers: ReplicatedPair) -> None:
    """The catalog's version at the primary does not apply to rows that the replica does not have yet."""
    async with running_app(settings, servers) as (visitor, shop), visitor.http() as http:
        await servers.pause_replay()
        await add_genre(shop, "Fantasy")
        old_response = await fetch_genres(http)
        assert old_response.json()["data"]["genres"] == []
        not_modified = await fetch_genres(http, **{"if-none-match": old_response.headers["etag"]})
        assert not_modified.status_code == 304
        await servers.resume_replay()
        new_response = await fetch_genres(http, **{"if-none-match": old_response.headers["etag"]})
        assert new_response.json()["data"]["genres"] == [{"name": "Fantasy"}]


# ── Unavailable replicas ──────────────────────────────────────────────────────────────────


async def test_primary_serves_reads_while_no_replica_is_available(
    settings: Settings, servers: ReplicatedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "PROBE_INTERVAL", 0.05)
    async with (
        start_counting_proxy(servers.replica.url) as proxy,
        running_app(settings, servers, database_read_url=proxy.url) as (visitor, shop),
    ):
        await add_genre(shop, "Fantasy")
        await servers.resume_replay()
        assert await list_genre_names(visitor) == ["Fantasy"]
        assert proxy.statements > 0
        await servers.replica.crash()
        assert [await list_genre_names(visitor) for _ in range(3)] == [["Fantasy"]] * 3
        assert await get_ready_notes(visitor) == [f"{NO_REPLICA_RESPONDS}: the primary serves anonymous reads, too"]
        await servers.replica.start()
        async with asyncio.timeout(30):
            while await get_ready_notes(visitor):
                await list_genre_names(visitor)
        before = proxy.statements
        assert await list_genre_names(visitor) == ["Fantasy"]
        assert proxy.statements > before


async def test_hanging_replica_is_skipped(
    settings: Settings, servers: ReplicatedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 0.5)
    async with (
        start_fault_proxy(servers.replica.url) as proxy,
        running_app(settings, servers, database_read_url=proxy.url) as (visitor, shop),
    ):
        await add_genre(shop, "Fantasy")
        await servers.resume_replay()
        assert await list_genre_names(visitor) == ["Fantasy"]
        proxy.hang()
        assert [await list_genre_names(visitor) for _ in range(3)] == [["Fantasy"]] * 3
        assert await get_ready_notes(visitor) == [f"{NO_REPLICA_RESPONDS}: the primary serves anonymous reads, too"]


async def test_replica_serves_anonymous_reads_without_a_primary(
    settings: Settings, servers: ReplicatedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """This holds for a server that has not read anything yet, and for a server that starts during the outage."""
    monkeypatch.setattr(replicas, "UNVERIFIED_TTL", 0)
    await fetch_value(
        servers.primary, "INSERT INTO genres (id, name, slug) VALUES (gen_random_uuid(), 'Fantasy', 'fantasy')"
    )
    await servers.resume_replay()
    async with running_app(settings, servers) as (visitor, _):
        await servers.primary.crash()
        try:
            assert await list_genre_names(visitor) == ["Fantasy"]
            async with running_app(settings, servers) as (other_client, _):
                assert await list_genre_names(other_client) == ["Fantasy"]
                await servers.primary.start()
                assert await list_genre_names(other_client) == ["Fantasy"]
                assert await get_ready_notes(other_client) == []
        finally:
            if not servers.primary.is_running:
                await servers.primary.start()


async def test_cut_replica_connection_fails_no_request(settings: Settings, servers: ReplicatedPair) -> None:
    async with running_app(settings, servers) as (visitor, shop):
        await add_genre(shop, "Fantasy")
        await servers.resume_replay()
        for _ in range(3):
            assert await list_genre_names(visitor) == ["Fantasy"]
            await fetch_value(
                servers.replica,
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'bookstore'",
            )
        assert await get_ready_notes(visitor) == []


async def test_replica_behind_a_migration_fails_no_request(settings: Settings, servers: ReplicatedPair) -> None:
    """The replica does not have the column yet."""
    await fetch_value(servers.primary, "ALTER TABLE genres RENAME COLUMN name TO title")
    await servers.resume_replay()
    await servers.pause_replay()
    await fetch_value(servers.primary, "ALTER TABLE genres RENAME COLUMN title TO name")
    async with running_app(settings, servers) as (visitor, shop):
        await add_genre(shop, "Fantasy")
        assert await list_genre_names(visitor) == ["Fantasy"]
        await servers.resume_replay()


SMALL_POOL = PoolSettings(size=2, max_overflow=0, timeout_seconds=0.5)
BLOCKED_QUERY: Query[str | None] = Query(select(literal_column("pg_advisory_xact_lock_shared(7)::text")), str)


@asynccontextmanager
async def two_blocked_statements(
    database: Database, replica: PostgresServer
) -> AsyncIterator[list[asyncio.Task[str | None]]]:
    """Run two statements at the replica that are blocked until the end of the block."""
    locker = await asyncpg.connect(replica.url)
    try:
        await locker.execute("SELECT pg_advisory_lock(7)")
        statements = [
            asyncio.create_task(database.replica_session.first(BLOCKED_QUERY)) for _ in range(SMALL_POOL.max_size)
        ]
        await wait_for_blocked(locker, SMALL_POOL.max_size)
        yield statements
    finally:
        await locker.close()


async def test_slow_replica_does_not_overload_the_primary(servers: ReplicatedPair) -> None:
    async with Database(servers.primary.url, SMALL_POOL, read_url=servers.replica.url) as database:
        async with two_blocked_statements(database, servers.replica) as statements:
            with pytest.raises(Unavailable):
                await find_revision(database.replica_session)
            assert database.replica_failure is None
        assert await asyncio.gather(*statements) == ["", ""]
        assert await find_revision(database.replica_session)
        assert database.pools["read"].statement_count == 0


async def test_hanging_replica_with_a_full_pool_does_not_block(servers: ReplicatedPair) -> None:
    async with (
        start_fault_proxy(servers.replica.url) as proxy,
        Database(servers.primary.url, SMALL_POOL, read_url=proxy.url) as database,
        two_blocked_statements(database, servers.replica) as statements,
    ):
        proxy.hang()
        assert await find_revision(database.replica_session)
        assert database.replica_failure == NO_REPLICA_RESPONDS
        for statement in statements:
            statement.cancel()


async def test_failing_replica_is_reported(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """Statements fail, for example, when the role lacks privileges."""
    await add_genre(shop, "Fantasy")
    async with (
        temporary_role(postgres) as role,
        running_client(settings, database_read_url=get_role_url(role, database_url)) as visitor,
    ):
        assert [await list_genre_names(visitor) for _ in range(FAILURE_THRESHOLD)] == [["Fantasy"]] * FAILURE_THRESHOLD
        assert await get_ready_notes(visitor) == [f"{REPLICA_STATEMENTS_FAIL}: the primary serves anonymous reads, too"]


# ── Validity of a replica ─────────────────────────────────────────────────────────────────


async def test_unrelated_database_is_rejected_as_replica(
    settings: Settings, servers: ReplicatedPair, database_url: str, shop: Shop
) -> None:
    await add_genre(shop, "Of another shop")
    urls = {"database_url": servers.primary.url, "database_read_url": database_url}
    error_message = await check_database_urls(settings.model_copy(update=urls))
    assert error_message == DIFFERENT_DATABASE.format(setting="DATABASE_READ_URL")
    async with running_app(settings, servers, **urls) as (visitor, _):
        assert await list_genre_names(visitor) == []
        assert await get_ready_notes(visitor) == [f"{NOT_A_VALID_REPLICA}: the primary serves anonymous reads, too"]


async def test_other_database_on_the_same_server_is_rejected(settings: Settings, servers: ReplicatedPair) -> None:
    other_url = servers.primary.url.replace("/bookstore", "/postgres")
    urls = {"database_url": servers.primary.url, "database_read_url": other_url}
    error_message = await check_database_urls(settings.model_copy(update=urls))
    assert error_message == DIFFERENT_DATABASE.format(setting="DATABASE_READ_URL")


async def test_diverged_copy_is_rejected_as_replica(
    settings: Settings, servers: ReplicatedPair, tmp_path: Path
) -> None:
    async with start_diverging_copy(servers.primary, tmp_path / "snapshot") as diverging_copy:
        urls = {"database_url": servers.primary.url, "database_read_url": diverging_copy.url}
        error_message = await check_database_urls(settings.model_copy(update=urls))
        assert error_message == DIFFERENT_DATABASE.format(setting="DATABASE_READ_URL")
        async with running_app(settings, servers, **urls) as (visitor, shop):
            await add_genre(shop, "Fantasy")
            assert await list_genre_names(visitor) == ["Fantasy"]
            assert await get_ready_notes(visitor) == [f"{NOT_A_VALID_REPLICA}: the primary serves anonymous reads, too"]


async def test_promoted_replica_is_read_until_the_primary_returns(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """While the primary is down, the replica may be its successor. Once the primary is back, it is a diverged copy."""
    monkeypatch.setattr(replicas, "UNVERIFIED_TTL", 0)
    async with start_replicated_pair(tmp_path) as servers, running_app(settings, servers) as (visitor, shop):
        await add_genre(shop, "Fantasy")
        await servers.resume_replay()
        assert await list_genre_names(visitor) == ["Fantasy"]
        await servers.primary.crash()
        await servers.replica.promote()
        assert [await list_genre_names(visitor) for _ in range(3)] == [["Fantasy"]] * 3
        await servers.primary.start()
        await add_genre(shop, "Horror")
        assert await list_genre_names(visitor) == ["Fantasy", "Horror"]
        assert await get_ready_notes(visitor) == [f"{NOT_A_VALID_REPLICA}: the primary serves anonymous reads, too"]
        urls = {"database_url": servers.primary.url, "database_read_url": servers.replica.url}
        error_message = await check_database_urls(settings.model_copy(update=urls))
        assert error_message == DIFFERENT_DATABASE.format(setting="DATABASE_READ_URL")
        promoted_urls = {"database_url": servers.replica.url, "database_read_url": servers.replica.url}
        assert await check_database_urls(settings.model_copy(update=promoted_urls)) is None
        await assert_former_primary_is_not_read(servers)


async def assert_former_primary_is_not_read(servers: ReplicatedPair) -> None:
    """Assert that a former primary is not read once `DATABASE_URL` leads to its successor."""
    successor: list[str] = []

    async def connect_to_primary() -> PoolConnection:
        return await connection.connect(*successor or [servers.primary.url])

    connector = ReplicaConnector(servers.primary.url, connect_to_primary, use_prepared_statements=True, timeout=2)
    (await connector.connect()).terminate()
    successor.append(servers.replica.url)
    with pytest.raises(NoReplica, match=NOT_A_VALID_REPLICA):
        await connector.connect()


async def test_correct_urls_pass_preflight(settings: Settings, servers: ReplicatedPair) -> None:
    urls = {
        "database_url": servers.multi_host_url("read-write"),
        "database_read_url": servers.multi_host_url("prefer-standby"),
        "database_direct_url": servers.primary.url,
    }
    assert await check_database_urls(settings.model_copy(update=urls), sends_email=True) is None
    urls["database_read_url"] = "postgresql://127.0.0.1:1/bookstore"  # unreachable: the primary serves all reads
    assert await check_database_urls(settings.model_copy(update=urls), sends_email=True) is None


async def test_replica_as_primary_is_reported(settings: Settings, servers: ReplicatedPair) -> None:
    urls = {"database_url": servers.replica.url}
    assert await check_database_urls(settings.model_copy(update=urls)) == IS_REPLICA.format(setting="DATABASE_URL")
    overrides = {
        "database_read_url": None,
        "rate_limit_storage": "postgresql",
    }  # this table cannot be written at a replica
    async with running_app(settings, servers, **urls, **overrides) as (visitor, _):
        assert await list_genre_names(visitor) == []
        assert (await visitor.execute(REGISTER % PASSWORD)).codes == ["SERVICE_UNAVAILABLE"]
        assert await get_ready_notes(visitor) == [READ_ONLY]


async def test_replica_as_direct_url_is_reported_by_its_setting(
    settings: Settings, servers: ReplicatedPair, tmp_path: Path
) -> None:
    urls = {"database_url": servers.primary.url, "database_direct_url": servers.replica.url}
    expected = IS_REPLICA.format(setting="DATABASE_DIRECT_URL")
    for sends_email in (False, True):
        assert await check_database_urls(settings.model_copy(update=urls), sends_email=sends_email) == expected
    environment = {name.upper(): value for name, value in urls.items()}
    assert await get_error_line(run_command("migrate", directory=tmp_path, **environment)) == expected


# ── Several hosts in one URL ──────────────────────────────────────────────────────────────


@pytest.mark.parametrize("target_session_attrs", ["read-write", "primary"])
async def test_primary_is_found_among_several_hosts(
    settings: Settings, servers: ReplicatedPair, target_session_attrs: str
) -> None:
    """Reads of signed-in users find the primary, too."""
    async with Database(servers.multi_host_url(target_session_attrs)) as database:
        await servers.pause_replay()
        async with database.transaction() as tx:
            await tx.driver_connection.execute(
                "INSERT INTO genres (id, name, slug) VALUES (gen_random_uuid(), 'New', 'new')"
            )
            assert not await tx.driver_connection.fetchval("SELECT pg_is_in_recovery()")
        connection = await database.read_session._pool.acquire()
        assert not await connection.fetchval("SELECT pg_is_in_recovery()")
        database.read_session._pool.release(connection)
        await servers.resume_replay()


@pytest.mark.parametrize("target_session_attrs", ["prefer-standby", "read-only", "standby"])
async def test_replica_is_found_among_several_hosts(servers: ReplicatedPair, target_session_attrs: str) -> None:
    async with Database(servers.primary.url, read_url=servers.multi_host_url(target_session_attrs)) as database:
        assert await is_empty(database.replica_session)
        connection = await database.replica_session._pool.acquire()
        assert await connection.fetchval("SELECT pg_is_in_recovery()")
        database.replica_session._pool.release(connection)
        await servers.replica.crash()
        assert await is_empty(database.replica_session)  # from the other host, or from DATABASE_URL
        await servers.replica.start()


@pytest.mark.parametrize("target_session_attrs", ["read-write", "prefer-standby", "any"])
async def test_silent_host_does_not_block_the_others(servers: ReplicatedPair, target_session_attrs: str) -> None:
    """The silent host is tried once. From then on, the host that responded is tried first."""
    async with start_silent_server() as silent_server:
        url = f"{servers.primary.url.replace('@', f'@127.0.0.1:{silent_server.port},')}?target_session_attrs={target_session_attrs}"
        async with Database(url) as database:
            assert await find_revision(database.read_session)
            async with database.transaction() as tx:
                await check_writable(tx)
        if target_session_attrs == "any":
            async with Database(url) as database:
                assert await find_revision(database.read_session)
            assert silent_server.connections == 1


async def test_silent_host_is_reported(settings: Settings) -> None:
    async with start_silent_server() as silent_server:
        url = f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{silent_server.port}/bookstore"
        error_message = await check_database_urls(settings.model_copy(update={"database_url": url}))
    assert error_message == "The database cannot be reached: TimeoutError. Check DATABASE_URL."


async def test_pool_returns_from_the_primary_to_the_replica(
    servers: ReplicatedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a failover, PostgreSQL keeps the connections to a replica that was promoted."""
    monkeypatch.setattr(replicas, "PRIMARY_CONNECTION_TTL", 0)
    await servers.replica.crash()
    async with Database(servers.primary.url, read_url=servers.multi_host_url("prefer-standby")) as database:
        assert await is_empty(database.replica_session)
        await servers.replica.start()
        assert await is_empty(database.replica_session)
        connection = await database.replica_session._pool.acquire()
        assert await connection.fetchval("SELECT pg_is_in_recovery()")
        database.replica_session._pool.release(connection)


# ── Demotion ──────────────────────────────────────────────────────────────────────────────


async def test_demoted_primary_is_reported(settings: Settings, servers: ReplicatedPair) -> None:
    async with running_app(settings, servers) as (visitor, shop):
        admin = visitor.with_token((await add_admin(shop)).token)
        assert await get_ready_notes(visitor) == []
        await fetch_value(servers.primary, "ALTER DATABASE bookstore SET default_transaction_read_only = on")
        await fetch_value(
            servers.primary,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'bookstore'",
        )
        try:
            assert (await admin.execute(CREATE_GENRE)).codes == ["SERVICE_UNAVAILABLE"]
            assert (await list_genre_names(visitor), await list_genre_names(admin)) == ([], [])
            assert await get_ready_notes(visitor) == [READ_ONLY]
        finally:
            postgres = await asyncpg.connect(servers.primary.url)
            await postgres.execute("SET default_transaction_read_only = off")
            await postgres.execute("ALTER DATABASE bookstore RESET default_transaction_read_only")
            await postgres.close()
        assert (await admin.execute(CREATE_GENRE))["createGenre"] == {"genre": {"name": "Fantasy"}}
        assert await get_ready_notes(visitor) == []


# ── Metrics ───────────────────────────────────────────────────────────────────────────────


async def test_metrics_report_read_targets(
    settings: Settings, servers: ReplicatedPair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(replicas, "PROBE_INTERVAL", 0)
    port = find_free_port()
    async with running_app(settings, servers, metrics_port=port) as (visitor, _):
        assert await list_genre_names(visitor) == []
        metrics = await wait_for_metrics(
            port, lambda metrics: sum_series(metrics, "statements_total", pool="standby read") > 0
        )
        assert sum_series(metrics, "standby_up") == 1
        await servers.replica.crash()
        assert await list_genre_names(visitor) == []
        await wait_for_metrics(port, lambda metrics: sum_series(metrics, "standby_up") == 0)
        await servers.replica.start()
        while await get_ready_notes(visitor):
            await list_genre_names(visitor)
        await wait_for_metrics(port, lambda metrics: sum_series(metrics, "standby_up") == 1)


async def test_metrics_report_a_single_process_without_replica(
    settings: Settings, servers: ReplicatedPair, tmp_path: Path
) -> None:
    port, primary_settings = find_free_port(), settings.model_copy(update={"database_url": servers.primary.url})
    environment = {"METRICS_PORT": str(port), "DATABASE_READ_URL": servers.replica.url}
    async with start_server_process(primary_settings, tmp_path, "--workers", "2", **environment) as server:
        await wait_for_metrics(
            port, lambda metrics: (sum_series(metrics, "processes"), sum_series(metrics, "standby_up")) == (2, 1)
        )
        await servers.replica.crash()
        assert await list_genre_names(server.client) == []
        await wait_for_metrics(port, lambda metrics: sum_series(metrics, "standby_up") == 0)
    await servers.replica.start()


async def test_metrics_report_a_read_only_primary(settings: Settings, servers: ReplicatedPair) -> None:
    overrides = {"database_url": servers.replica.url, "database_read_url": None, "rate_limit_storage": "postgresql"}
    port = find_free_port()
    async with running_app(settings, servers, metrics_port=port, **overrides):
        metrics = await scrape_metrics(port)
    assert (sum_series(metrics, "database_up"), sum_series(metrics, "database_writable")) == (1, 0)
    assert sum_series(metrics, "queued_letters") == 0
