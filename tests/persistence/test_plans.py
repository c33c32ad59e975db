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

from benchmarks.data import copied, made
from benchmarks.generation import Size
from benchmarks.stage import PUBLIC_URL, SECRET, Stage, set_stage
from benchmarks.workloads import WORKLOADS
from persistence.connecting import SESSION_SETTINGS
from server.settings import Settings
from tests.browser import opened
from tests.client import Visitor
from tests.plans import nodes

SIZE = Size(books=20_000, reviews=40_000, users=8_000)
MANY = 1_000
"""Rows of a table that no statement may read whole."""
ASKED = 3
"""Questions of each workload."""
TOUCHED = {
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
def heard(monkeypatch: pytest.MonkeyPatch) -> list[Statement]:
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
def stage(server_url: str) -> Iterator[Stage]:
    address = make_url(server_url).set(database="postgres").render_as_string(hide_password=False)
    with copied(address, made(address, SIZE, lambda _: None)) as copy:
        stage = set_stage(copy)
        stage.fill_carts(SIZE.users)
        yield stage


@pytest.fixture
async def plans(stage: Stage) -> AsyncIterator["Plans"]:
    connection = await asyncpg.connect(stage.url, server_settings=SESSION_SETTINGS)
    large = await connection.fetch("SELECT relname FROM pg_class WHERE relkind = 'r' AND reltuples > $1", MANY)
    yield Plans(connection, frozenset(row["relname"] for row in large))
    await connection.close()


@dataclass(frozen=True, slots=True)
class Plans:
    """As PostgreSQL makes them in the shop's sessions."""

    connection: asyncpg.Connection
    large: frozenset[str]

    async def of(self, statement: Statement) -> list[Any]:
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

    def read_whole(self, plan: Any) -> list[str]:
        """The large tables that are read from beginning to end."""
        scanned = (node["Relation Name"] for node in nodes(plan) if node["Node Type"] == "Seq Scan")
        return [table for table in scanned if table in self.large]


async def _ask(settings: Settings, stage: Stage, name: str) -> None:
    workload = WORKLOADS[name]
    changes = {"database_url": stage.url, "secret_key": [SECRET], "public_url": PUBLIC_URL}
    async with opened(settings, **changes) as app:
        for question in itertools.islice(workload.questions(stage, "plans"), ASKED):
            reply = await Visitor(app, question.token).ask(workload.document, **question.variables)
            assert not reply.errors
            assert workload.success.decode() in json.dumps({"data": reply.data})


async def test_no_large_table_is_read_whole(
    settings: Settings, stage: Stage, plans: Plans, heard: list[Statement]
) -> None:
    """W1c counts the whole catalogue, which takes a whole index, once a second at most."""
    for name, tables in TOUCHED.items():
        heard.clear()
        await _ask(settings, stage, name)
        statements = list({statement.sql: statement for statement in heard}.values())
        found = {statement.sql: await plans.of(statement) for statement in statements}
        assert {node.get("Relation Name") for plan in found.values() for node in nodes(plan)}.issuperset(tables)
        assert {(name, sql): whole for sql, plan in found.items() if (whole := plans.read_whole(plan))} == {}
    assert TOUCHED.keys() == WORKLOADS.keys()


async def test_it_would_be_seen(plans: Plans) -> None:
    assert plans.large >= {"books", "reviews", "orders", "order_items", "cart_items"}
    statement = Statement("SELECT * FROM books WHERE description = $1", ("",))
    assert [plans.read_whole(plan) for plan in await plans.of(statement)] == [["books"], ["books"]]
