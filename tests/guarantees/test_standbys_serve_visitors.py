"""Standbys serve visitors and nobody else: who writes sees it, and when no standby answers, or a wrong one, the primary does."""

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
from persistence import browsing, connecting
from persistence.browsing import FAILS_THERE, NONE_ANSWERS, NOT_OURS, OFTEN, NoStandby, Standbys
from persistence.catalog import is_empty
from persistence.database import Database, PoolSettings
from persistence.faults import Unavailable
from persistence.lending import LentConnection
from persistence.models import Table
from persistence.query import Query
from persistence.readiness import find_revision, write_nothing
from server.addresses import ELSEWHERE, problem_among
from server.app import create_app
from server.health import NO_WRITES
from server.migrating import STANDBY
from server.settings import Settings
from tests.client import Visitor
from tests.clusters import Node, Pair, at, pair, snapshot
from tests.commands import refused, run
from tests.customers import add_customer
from tests.exposition import asked, free_port, total, until
from tests.factories import PASSWORD, add_administrator, add_book, add_genre
from tests.faulty import shop_with
from tests.locks import until_waiting
from tests.network import between, silence
from tests.processes import serving as serving_alone
from tests.roles import address_of, guest
from tests.wire import tapped

NEW_GENRE = 'mutation { createGenre(input: {name: "Fantasy"}) { ... on GenreSaved { genre { name } } } }'
REGISTER = """mutation { register(input: {email: "ann@example.com", password: "%s", displayName: "Ann"}) {
    ... on LoggedIn { tokens { accessToken } } } }"""
LOGIN = """mutation ($email: String!, $password: String!) { login(input: {email: $email, password: $password}) {
    ... on LoggedIn { user { orders { totalCount } } } } }"""
COUNT = "{ books { totalCount } }"
ME = "{ me { email } }"


@pytest.fixture(scope="module")
async def both(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    async with pair(tmp_path_factory.mktemp("pair")) as both:
        yield both


@pytest.fixture
async def servers(both: Pair) -> Pair:
    """Running, empty, and the one as far as the other."""
    if not both.standby.is_running:
        await both.standby.starts()
    tables = ", ".join(table.name for table in Table.metadata.sorted_tables)
    await at(both.primary, f"TRUNCATE {tables}, pgqueuer, pgqueuer_log")
    await at(both.primary, "INSERT INTO sales_window (since) VALUES (now() - interval '90 days')")
    await both.catches_up()
    return both


@asynccontextmanager
async def serving(settings: Settings, servers: Pair, **changes: Any) -> AsyncIterator[tuple[Visitor, Shop]]:
    told = {"database_url": servers.primary.url, "database_read_url": servers.standby.url} | changes
    app = create_app(settings.model_copy(update=told))
    async with app.router.lifespan_context(app):
        yield Visitor(app), app.state.shop


async def names(visitor: Visitor) -> list[str]:
    return [genre["name"] for genre in (await visitor.ask("{ genres { name } }"))["genres"]]


async def notes(visitor: Visitor) -> list[str]:
    async with visitor.http() as http:
        response = await http.get("/ready")
    assert response.status_code == 200
    told: list[str] = response.json().get("notes", [])
    return told


async def get(http: httpx2.AsyncClient, **headers: str) -> httpx2.Response:
    return await http.get("/graphql", params={"query": "{ genres { name } }"}, headers=headers)


# ── Who reads where ───────────────────────────────────────────────────────────────────────


async def test_visitors_read_what_a_standby_has_and_whoever_is_signed_in_what_there_is(
    settings: Settings, servers: Pair
) -> None:
    async with serving(settings, servers) as (visitor, shop):
        admin = visitor.signed_in((await add_administrator(shop)).token)
        await servers.catches_up()
        await servers.falls_behind()
        assert (await admin.ask(NEW_GENRE))["createGenre"] == {"genre": {"name": "Fantasy"}}
        await add_book(shop)
        assert (await names(admin), await names(visitor)) == (["Fantasy"], [])
        assert (await admin.ask(COUNT))["books"]["totalCount"] == 1
        assert (await visitor.ask(COUNT))["books"]["totalCount"] == 0
        await servers.catches_up()
        assert await names(visitor) == ["Fantasy"]
        assert await notes(visitor) == []


async def test_a_visitor_who_becomes_somebody_sees_it(settings: Settings, servers: Pair) -> None:
    """The answer to a mutation without a token comes from the primary, too."""
    async with serving(settings, servers) as (visitor, shop):
        assert await names(visitor) == []
        await servers.falls_behind()
        registered = (await visitor.ask(REGISTER % PASSWORD))["register"]
        ann = visitor.signed_in(registered["tokens"]["accessToken"])
        assert (await ann.ask(ME))["me"] == {"email": "ann@example.com"}
        customer = await add_customer(visitor, shop, (await add_book(shop), 1))
        await customer.buys()
        signed_in = (await visitor.ask(LOGIN, email=customer.member.user.email, password=PASSWORD))["login"]
        assert signed_in["user"] == {"orders": {"totalCount": 1}}
        await servers.catches_up()


async def test_what_a_standby_had_is_not_called_unchanged(settings: Settings, servers: Pair) -> None:
    """The primary's version of the catalogue is not that of rows which a standby has not got yet."""
    async with serving(settings, servers) as (visitor, shop), visitor.http() as http:
        await servers.falls_behind()
        await add_genre(shop, "Fantasy")
        old = await get(http)
        assert old.json()["data"]["genres"] == []
        same = await get(http, **{"if-none-match": old.headers["etag"]})
        assert same.status_code == 304
        await servers.catches_up()
        new = await get(http, **{"if-none-match": old.headers["etag"]})
        assert new.json()["data"]["genres"] == [{"name": "Fantasy"}]


# ── When none answers ─────────────────────────────────────────────────────────────────────


async def test_without_a_standby_the_primary_answers_until_there_is_one_again(
    settings: Settings, servers: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "LOOK_AGAIN", 0.05)
    async with (
        tapped(servers.standby.url) as wire,
        serving(settings, servers, database_read_url=wire.url) as (visitor, shop),
    ):
        await add_genre(shop, "Fantasy")
        await servers.catches_up()
        assert await names(visitor) == ["Fantasy"]
        assert wire.statements > 0
        await servers.standby.dies()
        assert [await names(visitor) for _ in range(3)] == [["Fantasy"]] * 3
        assert await notes(visitor) == [f"{NONE_ANSWERS}: the primary serves visitors, too"]
        await servers.standby.starts()
        async with asyncio.timeout(30):
            while await notes(visitor):
                await names(visitor)
        before = wire.statements
        assert await names(visitor) == ["Fantasy"]
        assert wire.statements > before


async def test_a_standby_that_hangs_is_passed_over(
    settings: Settings, servers: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connecting, "COMMAND_TIMEOUT", 0.5)
    async with (
        between(servers.standby.url) as network,
        serving(settings, servers, database_read_url=network.url) as (visitor, shop),
    ):
        await add_genre(shop, "Fantasy")
        await servers.catches_up()
        assert await names(visitor) == ["Fantasy"]
        network.hangs()
        assert [await names(visitor) for _ in range(3)] == [["Fantasy"]] * 3
        assert await notes(visitor) == [f"{NONE_ANSWERS}: the primary serves visitors, too"]


async def test_without_a_primary_a_standby_serves_whoever_comes_first(
    settings: Settings, servers: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At a server that nobody has read from yet, and at one that was started meanwhile."""
    monkeypatch.setattr(browsing, "UNSURE", 0)
    await at(servers.primary, "INSERT INTO genres (id, name, slug) VALUES (gen_random_uuid(), 'Fantasy', 'fantasy')")
    await servers.catches_up()
    async with serving(settings, servers) as (visitor, _):
        await servers.primary.dies()
        try:
            assert await names(visitor) == ["Fantasy"]
            async with serving(settings, servers) as (another, _):
                assert await names(another) == ["Fantasy"]
                await servers.primary.starts()
                assert await names(another) == ["Fantasy"]
                assert await notes(another) == []
        finally:
            if not servers.primary.is_running:
                await servers.primary.starts()


async def test_a_connection_that_is_cut_costs_nobody_an_answer(settings: Settings, servers: Pair) -> None:
    async with serving(settings, servers) as (visitor, shop):
        await add_genre(shop, "Fantasy")
        await servers.catches_up()
        for _ in range(3):
            assert await names(visitor) == ["Fantasy"]
            await at(
                servers.standby,
                "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'bookstore'",
            )
        assert await notes(visitor) == []


async def test_a_migration_that_has_not_arrived_costs_nobody_an_answer(settings: Settings, servers: Pair) -> None:
    """The standby has no such column yet."""
    await at(servers.primary, "ALTER TABLE genres RENAME COLUMN name TO title")
    await servers.catches_up()
    await servers.falls_behind()
    await at(servers.primary, "ALTER TABLE genres RENAME COLUMN title TO name")
    async with serving(settings, servers) as (visitor, shop):
        await add_genre(shop, "Fantasy")
        assert await names(visitor) == ["Fantasy"]
        await servers.catches_up()


SMALL = PoolSettings(size=2, max_overflow=0, timeout_seconds=0.5)
WAITING: Query[str | None] = Query(select(literal_column("pg_advisory_xact_lock_shared(7)::text")), str)


@asynccontextmanager
async def both_wait(database: Database, standby: Node) -> AsyncIterator[list[asyncio.Task[str | None]]]:
    """Two statements at the standby, which has no answer until the end of the block."""
    there = await asyncpg.connect(standby.url)
    try:
        await there.execute("SELECT pg_advisory_lock(7)")
        waiting = [asyncio.create_task(database.browsing.first(WAITING)) for _ in range(SMALL.most)]
        await until_waiting(there, SMALL.most)
        yield waiting
    finally:
        await there.close()


async def test_one_that_is_only_slow_is_not_relieved_at_the_cost_of_the_primary(servers: Pair) -> None:
    async with Database(servers.primary.url, SMALL, read_url=servers.standby.url) as database:
        async with both_wait(database, servers.standby) as waiting:
            with pytest.raises(Unavailable):
                await find_revision(database.browsing)
            assert database.standby_trouble is None
        assert await asyncio.gather(*waiting) == ["", ""]
        assert await find_revision(database.browsing)
        assert database.lenders["read"].statements == 0


async def test_one_that_hangs_keeps_nobody_waiting_who_finds_no_connection_free(servers: Pair) -> None:
    async with (
        between(servers.standby.url) as network,
        Database(servers.primary.url, SMALL, read_url=network.url) as database,
        both_wait(database, servers.standby) as waiting,
    ):
        network.hangs()
        assert await find_revision(database.browsing)
        assert database.standby_trouble == NONE_ANSWERS
        for one in waiting:
            one.cancel()


async def test_one_where_everything_fails_is_told(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """As where its role may not read."""
    await add_genre(shop, "Fantasy")
    async with (
        guest(postgres) as role,
        shop_with(settings, database_read_url=address_of(role, database_url)) as visitor,
    ):
        assert [await names(visitor) for _ in range(OFTEN)] == [["Fantasy"]] * OFTEN
        assert await notes(visitor) == [f"{FAILS_THERE}: the primary serves visitors, too"]


# ── Which one it is ───────────────────────────────────────────────────────────────────────


async def test_another_database_is_refused_at_the_start_and_never_read(
    settings: Settings, servers: Pair, database_url: str, shop: Shop
) -> None:
    await add_genre(shop, "Of another shop")
    theirs = {"database_url": servers.primary.url, "database_read_url": database_url}
    problem = await problem_among(settings.model_copy(update=theirs))
    assert problem == ELSEWHERE.format(name="DATABASE_READ_URL")
    async with serving(settings, servers, **theirs) as (visitor, _):
        assert await names(visitor) == []
        assert await notes(visitor) == [f"{NOT_OURS}: the primary serves visitors, too"]


async def test_another_database_of_the_same_server_is_another_one(settings: Settings, servers: Pair) -> None:
    other = servers.primary.url.replace("/bookstore", "/postgres")
    theirs = {"database_url": servers.primary.url, "database_read_url": other}
    problem = await problem_among(settings.model_copy(update=theirs))
    assert problem == ELSEWHERE.format(name="DATABASE_READ_URL")


async def test_a_snapshot_that_goes_its_own_way_is_refused_at_the_start_and_never_read(
    settings: Settings, servers: Pair, tmp_path: Path
) -> None:
    async with snapshot(servers.primary, tmp_path / "snapshot") as copy:
        theirs = {"database_url": servers.primary.url, "database_read_url": copy.url}
        problem = await problem_among(settings.model_copy(update=theirs))
        assert problem == ELSEWHERE.format(name="DATABASE_READ_URL")
        async with serving(settings, servers, **theirs) as (visitor, shop):
            await add_genre(shop, "Fantasy")
            assert await names(visitor) == ["Fantasy"]
            assert await notes(visitor) == [f"{NOT_OURS}: the primary serves visitors, too"]


async def test_one_that_was_promoted_is_read_until_the_primary_is_back(
    settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It may have succeeded; the addresses tell when there is somebody at the other one."""
    monkeypatch.setattr(browsing, "UNSURE", 0)
    async with pair(tmp_path) as servers, serving(settings, servers) as (visitor, shop):
        await add_genre(shop, "Fantasy")
        await servers.catches_up()
        assert await names(visitor) == ["Fantasy"]
        await servers.primary.dies()
        await servers.standby.is_promoted()
        assert [await names(visitor) for _ in range(3)] == [["Fantasy"]] * 3
        await servers.primary.starts()
        await add_genre(shop, "Horror")
        assert await names(visitor) == ["Fantasy", "Horror"]
        assert await notes(visitor) == [f"{NOT_OURS}: the primary serves visitors, too"]
        addresses = {"database_url": servers.primary.url, "database_read_url": servers.standby.url}
        problem = await problem_among(settings.model_copy(update=addresses))
        assert problem == ELSEWHERE.format(name="DATABASE_READ_URL")
        turned = {"database_url": servers.standby.url, "database_read_url": servers.standby.url}
        assert await problem_among(settings.model_copy(update=turned)) is None
        await is_left_behind(servers)


async def is_left_behind(servers: Pair) -> None:
    """A former primary that lives on is not read when the other address has come to its successor."""
    successor: list[str] = []

    async def primary() -> LentConnection:
        return await connecting.connect(*successor or [servers.primary.url])

    standbys = Standbys(servers.primary.url, primary, prepared=True, within=2)
    (await standbys.connect()).terminate()
    successor.append(servers.standby.url)
    with pytest.raises(NoStandby, match=NOT_OURS):
        await standbys.connect()


async def test_the_right_addresses_are_no_problem(settings: Settings, servers: Pair) -> None:
    ours = {
        "database_url": servers.address("read-write"),
        "database_read_url": servers.address("prefer-standby"),
        "database_direct_url": servers.primary.url,
    }
    assert await problem_among(settings.model_copy(update=ours), posts=True) is None
    ours["database_read_url"] = "postgresql://127.0.0.1:1/bookstore"  # nobody there, and the primary takes its place
    assert await problem_among(settings.model_copy(update=ours), posts=True) is None


async def test_a_standby_takes_no_writes_and_says_so(settings: Settings, servers: Pair) -> None:
    there = {"database_url": servers.standby.url}
    assert await problem_among(settings.model_copy(update=there)) == STANDBY.format(name="DATABASE_URL")
    alone = {"database_read_url": None, "rate_limit_storage": "postgresql"}  # whose table a standby has not got
    async with serving(settings, servers, **there, **alone) as (visitor, _):
        assert await names(visitor) == []
        assert (await visitor.ask(REGISTER % PASSWORD)).codes == ["SERVICE_UNAVAILABLE"]
        assert await notes(visitor) == [NO_WRITES]


async def test_a_standby_past_a_pooler_is_told_by_the_name_of_its_setting(
    settings: Settings, servers: Pair, tmp_path: Path
) -> None:
    given = {"database_url": servers.primary.url, "database_direct_url": servers.standby.url}
    told = STANDBY.format(name="DATABASE_DIRECT_URL")
    for posts in (False, True):
        assert await problem_among(settings.model_copy(update=given), posts=posts) == told
    named = {name.upper(): value for name, value in given.items()}
    assert await refused(run("migrate", folder=tmp_path, **named)) == told


# ── Several hosts in one address ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("wanted", ["read-write", "primary"])
async def test_of_several_hosts_the_primary_is_found(settings: Settings, servers: Pair, wanted: str) -> None:
    """By reads of whoever is signed in, too."""
    async with Database(servers.address(wanted)) as database:
        await servers.falls_behind()
        async with database.transaction() as tx:
            await tx.driver.execute("INSERT INTO genres (id, name, slug) VALUES (gen_random_uuid(), 'New', 'new')")
            assert not await tx.driver.fetchval("SELECT pg_is_in_recovery()")
        connection = await database.reading._lender.borrow()
        assert not await connection.fetchval("SELECT pg_is_in_recovery()")
        database.reading._lender.give_back(connection)
        await servers.catches_up()


@pytest.mark.parametrize("wanted", ["prefer-standby", "read-only", "standby"])
async def test_of_several_hosts_a_standby_is_found(servers: Pair, wanted: str) -> None:
    async with Database(servers.primary.url, read_url=servers.address(wanted)) as database:
        assert await is_empty(database.browsing)
        connection = await database.browsing._lender.borrow()
        assert await connection.fetchval("SELECT pg_is_in_recovery()")
        database.browsing._lender.give_back(connection)
        await servers.standby.dies()
        assert await is_empty(database.browsing)  # from the other host, or from the other address
        await servers.standby.starts()


@pytest.mark.parametrize("wanted", ["read-write", "prefer-standby", "any"])
async def test_a_host_that_says_nothing_keeps_nobody_from_the_others(servers: Pair, wanted: str) -> None:
    """It is asked once: the one that answered is asked first from then on."""
    async with silence() as silent:
        url = f"{servers.primary.url.replace('@', f'@127.0.0.1:{silent.port},')}?target_session_attrs={wanted}"
        async with Database(url) as database:
            assert await find_revision(database.reading)
            async with database.transaction() as tx:
                await write_nothing(tx)
        if wanted == "any":
            async with Database(url) as database:
                assert await find_revision(database.reading)
            assert silent.calls == 1


async def test_a_host_that_says_nothing_is_told(settings: Settings) -> None:
    async with silence() as silent:
        url = f"postgresql://postgres@127.0.0.1:1,127.0.0.1:{silent.port}/bookstore"
        problem = await problem_among(settings.model_copy(update={"database_url": url}))
    assert problem == "The database cannot be reached: TimeoutError. Check DATABASE_URL."


async def test_a_lane_that_has_come_to_the_primary_goes_back(servers: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a failover: PostgreSQL keeps connections to a standby that is promoted."""
    monkeypatch.setattr(browsing, "AT_THE_PRIMARY", 0)
    await servers.standby.dies()
    async with Database(servers.primary.url, read_url=servers.address("prefer-standby")) as database:
        assert await is_empty(database.browsing)
        await servers.standby.starts()
        assert await is_empty(database.browsing)
        connection = await database.browsing._lender.borrow()
        assert await connection.fetchval("SELECT pg_is_in_recovery()")
        database.browsing._lender.give_back(connection)


# ── In the middle of work ─────────────────────────────────────────────────────────────────


async def test_a_primary_that_takes_no_writes_any_more_is_told(settings: Settings, servers: Pair) -> None:
    async with serving(settings, servers) as (visitor, shop):
        admin = visitor.signed_in((await add_administrator(shop)).token)
        assert await notes(visitor) == []
        await at(servers.primary, "ALTER DATABASE bookstore SET default_transaction_read_only = on")
        await at(
            servers.primary,
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'bookstore'",
        )
        try:
            assert (await admin.ask(NEW_GENRE)).codes == ["SERVICE_UNAVAILABLE"]
            assert (await names(visitor), await names(admin)) == ([], [])
            assert await notes(visitor) == [NO_WRITES]
        finally:
            postgres = await asyncpg.connect(servers.primary.url)
            await postgres.execute("SET default_transaction_read_only = off")
            await postgres.execute("ALTER DATABASE bookstore RESET default_transaction_read_only")
            await postgres.close()
        assert (await admin.ask(NEW_GENRE))["createGenre"] == {"genre": {"name": "Fantasy"}}
        assert await notes(visitor) == []


# ── Told to whoever watches ───────────────────────────────────────────────────────────────


async def test_whoever_watches_is_told_where_visitors_read(
    settings: Settings, servers: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(browsing, "LOOK_AGAIN", 0)
    port = free_port()
    async with serving(settings, servers, metrics_port=port) as (visitor, _):
        assert await names(visitor) == []
        found = await until(port, lambda found: total(found, "statements_total", pool="standby read") > 0)
        assert total(found, "standby_up") == 1
        await servers.standby.dies()
        assert await names(visitor) == []
        await until(port, lambda found: total(found, "standby_up") == 0)
        await servers.standby.starts()
        while await notes(visitor):
            await names(visitor)
        await until(port, lambda found: total(found, "standby_up") == 1)


async def test_one_process_without_standbys_is_enough_to_be_told(
    settings: Settings, servers: Pair, tmp_path: Path
) -> None:
    port, there = free_port(), settings.model_copy(update={"database_url": servers.primary.url})
    given = {"METRICS_PORT": str(port), "DATABASE_READ_URL": servers.standby.url}
    async with serving_alone(there, tmp_path, "--workers", "2", **given) as server:
        await until(port, lambda found: total(found, "processes") == 2)
        assert total(await asked(port), "standby_up") == 1
        await servers.standby.dies()
        assert await names(server.visitor) == []
        await until(port, lambda found: total(found, "standby_up") == 0)
    await servers.standby.starts()


async def test_whoever_watches_is_told_that_nothing_can_be_written(settings: Settings, servers: Pair) -> None:
    there = {"database_url": servers.standby.url, "database_read_url": None, "rate_limit_storage": "postgresql"}
    port = free_port()
    async with serving(settings, servers, metrics_port=port, **there):
        found = await asked(port)
    assert (total(found, "database_up"), total(found, "database_writable")) == (1, 0)
    assert total(found, "queued_letters") == 0
