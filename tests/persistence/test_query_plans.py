"""How PostgreSQL goes about what the benchmarks' workloads ask: by indexes, however many books, reviews and orders there are."""

import itertools
import json
import re
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from persistence.postgres.connection import SESSION_SETTINGS
from server.settings import Settings
from tests.support.database.explain import iterate_plan_nodes
from tests.support.http.apps import running_app
from tests.support.http.client import ApiClient
from tools.bench.database import copy_database, ensure_database
from tools.bench.fixtures import Fixtures, load_fixtures
from tools.bench.generation import Size
from tools.bench.processes import PUBLIC_URL, SECRET
from tools.bench.workloads import WORKLOADS

DATA_SIZE = Size(books=20_000, reviews=40_000, users=8_000)
MANY = 1_000
"""Rows of a table that no statement may read whole."""
EXECUTIONS = 3
"""Questions of each workload."""
WRITTEN_TABLES = {
    "W1": ["books"],
    "W1c": ["books"],
    "W2": ["books"],
    "W3": ["books", "reviews"],
    "W4": ["books", "cart_items", "sessions"],
    "W5": ["books", "cart_items", "orders", "order_items", "sessions"],
}
"""Some of the tables that a workload cannot do without."""
STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    arguments: tuple[Any, ...]


@pytest.fixture
def sent_statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """What is sent to PostgreSQL."""
    heard: list[Statement] = []

    def listening(method: str) -> None:
        real = getattr(asyncpg.Connection, method)

        async def heeding(connection: asyncpg.Connection, sql: str, *arguments: Any, **options: Any) -> Any:
            if STATEMENT.match(sql):
                heard.append(Statement(sql, tuple(next(iter(arguments[0])) if method == "executemany" else arguments)))
            return await real(connection, sql, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, method, heeding)

    for method in ("fetch", "execute", "executemany"):
        listening(method)
    return heard


@pytest.fixture(scope="module")
def benchmark_fixtures(server_url: str) -> Iterator[Fixtures]:
    url = make_url(server_url).set(database="postgres").render_as_string(hide_password=False)
    with copy_database(url, ensure_database(url, DATA_SIZE, lambda _: None)) as copy:
        fixtures = load_fixtures(copy)
        fixtures.fill_carts(DATA_SIZE.users)
        yield fixtures


@pytest.fixture
async def plans(benchmark_fixtures: Fixtures) -> AsyncIterator["Plans"]:
    connection = await asyncpg.connect(benchmark_fixtures.url, server_settings=SESSION_SETTINGS)
    large = await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > $1", MANY)
    yield Plans(connection, frozenset(row["relname"] for row in large))
    await connection.close()


@dataclass(frozen=True, slots=True)
class Plans:
    """As PostgreSQL makes them in the shop's sessions."""

    connection: asyncpg.Connection
    large: frozenset[str]

    async def explain(self, statement: Statement) -> list[Any]:
        """For these arguments, and for any."""
        await self.connection.execute("SET plan_cache_mode = force_custom_plan")
        custom = await self.connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.arguments)
        await self.connection.execute("SET plan_cache_mode = force_generic_plan")
        await self.connection.execute(f"PREPARE asked AS {statement.sql}")
        anything = ", ".join("NULL" for _ in statement.arguments)
        executed = f"EXECUTE asked({anything})" if anything else "EXECUTE asked"
        generic = await self.connection.fetchval(f"EXPLAIN (FORMAT JSON) {executed}")
        await self.connection.execute("DEALLOCATE asked")
        return [json.loads(custom), json.loads(generic)]

    def find_sequential_scans(self, plan: Any) -> list[str]:
        """The large tables that are read from beginning to end."""
        scanned = (node["Relation Name"] for node in iterate_plan_nodes(plan) if node["Node Type"] == "Seq Scan")
        return [table for table in scanned if table in self.large]


async def _run_workload(settings: Settings, fixtures: Fixtures, name: str) -> None:
    workload = WORKLOADS[name]
    changes = {"database_url": fixtures.url, "secret_key": [SECRET], "public_url": PUBLIC_URL}
    async with running_app(settings, **changes) as app:
        for request in itertools.islice(workload.requests(fixtures, "plans"), EXECUTIONS):
            response = await ApiClient(app, request.token).execute(workload.document, **request.variables)
            assert not response.errors
            assert workload.success_marker.decode() in json.dumps({"data": response.data})


async def test_no_sequential_scan_of_large_tables(
    settings: Settings, benchmark_fixtures: Fixtures, plans: Plans, sent_statements: list[Statement]
) -> None:
    """W1c counts the whole catalogue, which takes a whole index, once a second at most."""
    for name, tables in WRITTEN_TABLES.items():
        sent_statements.clear()
        await _run_workload(settings, benchmark_fixtures, name)
        statements = list({statement.sql: statement for statement in sent_statements}.values())
        found = {statement.sql: await plans.explain(statement) for statement in statements}
        assert {node.get("Relation Name") for plan in found.values() for node in iterate_plan_nodes(plan)}.issuperset(
            tables
        )
        assert {(name, sql): whole for sql, plan in found.items() if (whole := plans.find_sequential_scans(plan))} == {}
    assert WRITTEN_TABLES.keys() == WORKLOADS.keys()


async def test_sequential_scan_is_detected(plans: Plans) -> None:
    assert plans.large >= {"books", "reviews", "orders", "order_items", "cart_items"}
    statement = Statement("SELECT * FROM books WHERE description = $1", ("",))
    assert [plans.find_sequential_scans(plan) for plan in await plans.explain(statement)] == [["books"], ["books"]]
