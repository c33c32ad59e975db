"""The statements of the benchmarks' workloads use indexes for large numbers of books, reviews and orders."""

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
MAX_SCANNED_ROWS = 1_000
"""Tables with more rows than this must not be scanned sequentially."""
EXECUTIONS = 3
"""The number of requests of each workload."""
READ_TABLES = {
    "W1": ["books"],
    "W1c": ["books"],
    "W2": ["books"],
    "W3": ["books", "reviews"],
    "W4": ["books", "cart_items", "sessions"],
    "W5": ["books", "cart_items", "orders", "order_items", "sessions"],
}
"""Some of the tables that each workload must read."""
STATEMENT = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Statement:
    sql: str
    arguments: tuple[Any, ...]


@pytest.fixture
def sent_statements(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
    """Return a list that collects the statements sent to PostgreSQL."""
    statements: list[Statement] = []

    def record(method: str) -> None:
        original = getattr(asyncpg.Connection, method)

        async def record_and_call(connection: asyncpg.Connection, sql: str, *arguments: Any, **options: Any) -> Any:
            if STATEMENT.match(sql):
                statements.append(
                    Statement(sql, tuple(next(iter(arguments[0])) if method == "executemany" else arguments))
                )
            return await original(connection, sql, *arguments, **options)

        monkeypatch.setattr(asyncpg.Connection, method, record_and_call)

    for method in ("fetch", "execute", "executemany"):
        record(method)
    return statements


@pytest.fixture(scope="module")
def benchmark_fixtures(server_url: str) -> Iterator[Fixtures]:
    url = make_url(server_url).set(database="postgres").render_as_string(hide_password=False)
    with copy_database(url, ensure_database(url, DATA_SIZE, lambda _: None)) as copy_url:
        fixtures = load_fixtures(copy_url)
        fixtures.fill_carts(DATA_SIZE.users)
        yield fixtures


@pytest.fixture
async def plans(benchmark_fixtures: Fixtures) -> AsyncIterator["Plans"]:
    connection = await asyncpg.connect(benchmark_fixtures.url, server_settings=SESSION_SETTINGS)
    large_tables = await connection.fetch(
        "SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > $1", MAX_SCANNED_ROWS
    )
    yield Plans(connection, frozenset(row["relname"] for row in large_tables))
    await connection.close()


@dataclass(frozen=True, slots=True)
class Plans:
    """Explains statements with the settings of the shop's sessions."""

    connection: asyncpg.Connection
    large_tables: frozenset[str]

    async def explain(self, statement: Statement) -> list[Any]:
        """Return the custom plan for these arguments, and the generic plan."""
        await self.connection.execute("SET plan_cache_mode = force_custom_plan")
        custom_plan = await self.connection.fetchval(f"EXPLAIN (FORMAT JSON) {statement.sql}", *statement.arguments)
        await self.connection.execute("SET plan_cache_mode = force_generic_plan")
        await self.connection.execute(f"PREPARE explained AS {statement.sql}")
        arguments = ", ".join("NULL" for _ in statement.arguments)
        execution = f"EXECUTE explained({arguments})" if arguments else "EXECUTE explained"
        generic_plan = await self.connection.fetchval(f"EXPLAIN (FORMAT JSON) {execution}")
        await self.connection.execute("DEALLOCATE explained")
        return [json.loads(custom_plan), json.loads(generic_plan)]

    def find_sequential_scans(self, plan: Any) -> list[str]:
        """Return the large tables that the plan scans sequentially."""
        tables = (node["Relation Name"] for node in iterate_plan_nodes(plan) if node["Node Type"] == "Seq Scan")
        return [table for table in tables if table in self.large_tables]


async def _run_workload(settings: Settings, fixtures: Fixtures, name: str) -> None:
    workload = WORKLOADS[name]
    overrides = {"database_url": fixtures.url, "secret_key": [SECRET], "public_url": PUBLIC_URL}
    async with running_app(settings, **overrides) as app:
        for request in itertools.islice(workload.requests(fixtures, "plans"), EXECUTIONS):
            response = await ApiClient(app, request.token).execute(workload.document, **request.variables)
            assert not response.errors
            assert workload.success_marker.decode() in json.dumps({"data": response.data})


async def test_no_sequential_scan_of_large_tables(
    settings: Settings, benchmark_fixtures: Fixtures, plans: Plans, sent_statements: list[Statement]
) -> None:
    """W1c counts the whole catalog by scanning an index, at most once a second."""
    for name, expected_tables in READ_TABLES.items():
        sent_statements.clear()
        await _run_workload(settings, benchmark_fixtures, name)
        statements = list({statement.sql: statement for statement in sent_statements}.values())
        plans_by_sql = {statement.sql: await plans.explain(statement) for statement in statements}
        nodes = [node for plan in plans_by_sql.values() for node in iterate_plan_nodes(plan)]
        assert {node.get("Relation Name") for node in nodes}.issuperset(expected_tables)
        scans = {(name, sql): plans.find_sequential_scans(plan) for sql, plan in plans_by_sql.items()}
        assert {statement: scanned_tables for statement, scanned_tables in scans.items() if scanned_tables} == {}
    assert READ_TABLES.keys() == WORKLOADS.keys()


async def test_sequential_scan_is_detected(plans: Plans) -> None:
    assert plans.large_tables >= {"books", "reviews", "orders", "order_items", "cart_items"}
    statement = Statement("SELECT * FROM books WHERE description = $1", ("",))
    assert [plans.find_sequential_scans(plan) for plan in await plans.explain(statement)] == [["books"], ["books"]]
