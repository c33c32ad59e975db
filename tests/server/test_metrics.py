"""Metrics: what is told at METRICS_PORT, of one process and of several, and nothing where it is not set."""

import asyncio
import json
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import psutil
import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from persistence import letters
from persistence.letters import LetterKind
from server.app import create_app
from server.metrics import LONGEST_NAME, MOST_NAMES
from server.place import Misconfigured
from server.settings import Settings
from server.watching import watched
from tests.client import Visitor
from tests.commands import Bookstore, refused, started
from tests.exposition import Told, asked, free_port, total, until
from tests.factories import add_member
from tests.letters import until_settled
from tests.network import between
from tests.processes import serving
from tests.sessions import LOGIN
from tests.traffic import a_day


@asynccontextmanager
async def told_of(settings: Settings, **more: Any) -> AsyncIterator[tuple[Starlette, int]]:
    """A shop in this process, and where it tells its metrics."""
    port = free_port()
    app = create_app(settings.model_copy(update={"metrics_port": port, **more}))
    async with app.router.lifespan_context(app):
        yield app, port


@asynccontextmanager
async def asking(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """Each question once."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://shop.test") as http:
        yield http


async def told(app: Starlette, port: int) -> Told:
    app.state.metrics.gather()
    return await asyncio.create_task(asked(port))


async def ask(http: httpx2.AsyncClient, query: str, **more: Any) -> None:
    await http.post("/graphql", json={"query": query, **more})


# ── One process ───────────────────────────────────────────────────────────────────────────


async def test_requests_by_operation_field_and_outcome(settings: Settings, shop: Shop) -> None:
    async with told_of(settings) as (app, port), asking(app) as http:
        await ask(http, "query Browse { books { nodes { title } } }")
        await ask(http, "query Browse { books { nodes { title } } }")
        await ask(http, "{ books { totalCount } }")
        await ask(http, "{ books { totalCount } genres { name } }")
        await ask(http, "query Users { admin { users { totalCount } } }")
        await ask(http, "{ nothing }")
        await ask(http, "{")
        await http.post("/graphql", content=b"{", headers={"content-type": "application/json"})
        await http.get("/health")
        found = await told(app, port)
    requests = {
        tuple(sorted(labels)): value for (name, labels), value in found.items() if name == "bookstore_requests_total"
    }
    assert requests == {
        (("field", field), ("operation", operation), ("outcome", outcome)): count
        for operation, field, outcome, count in (
            ("Browse", "books", "OK", 2),
            ("none", "books", "OK", 1),
            ("none", "none", "OK", 1),
            ("Users", "admin", "UNAUTHENTICATED", 1),
            ("none", "none", "GRAPHQL_VALIDATION_FAILED", 1),
            ("none", "none", "GRAPHQL_PARSE_FAILED", 1),
            ("none", "none", "BAD_REQUEST", 1),
        )
    }
    assert total(found, "request_seconds_count", field="books") == 3
    assert total(found, "request_seconds_count") == 8
    assert total(found, "request_seconds_bucket", field="books", le="+Inf") == 3
    assert total(found, "request_seconds_sum", field="books") > 0


async def test_a_fault_of_ours_is_told(settings: Settings, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async with told_of(settings) as (app, port), asking(app) as http:
        monkeypatch.setattr("server.http.asked", None)
        with pytest.raises(TypeError):
            await ask(http, "{ books { totalCount } }")
        found = await told(app, port)
    assert total(found, "requests_total", outcome="INTERNAL_SERVER_ERROR") == 1


async def test_what_documents_took(settings: Settings, shop: Shop) -> None:
    async with told_of(settings) as (app, port), asking(app) as http:
        for _ in range(3):
            await ask(http, "{ books(first: 7) { nodes { title } } }")
        await ask(http, "{ __schema { queryType { name } } }")
        found = await told(app, port)
    plans = {plan: total(found, "operations_total", plan=plan) for plan in ("hit", "miss", "fallback")}
    assert plans == {"hit": 2, "miss": 1, "fallback": 1}
    assert total(found, "cost_total") >= 3 * 7


async def test_names_that_clients_choose_are_bounded(settings: Settings, shop: Shop) -> None:
    names = [f"Op{number}" for number in range(MOST_NAMES - 1)]
    async with told_of(settings) as (app, port), asking(app) as http:
        for name in (*names, "X" * (LONGEST_NAME + 1), "Last", "OneTooMany", "AndAnother"):
            await ask(http, f"query {name} {{ __typename }}")
        found = await told(app, port)
    counted = {dict(labels)["operation"] for name, labels in found if name == "bookstore_requests_total"}
    assert counted == {*names, "Last", "other"}
    assert total(found, "requests_total", operation="other") == 3


async def test_with_trusted_documents_their_names_alone_are_told(
    settings: Settings, shop: Shop, tmp_path: Path
) -> None:
    path = tmp_path / "trusted.json"
    path.write_text(json.dumps({"one": "query Titles { books { nodes { title } } }"}))
    async with told_of(settings, trusted_documents=path) as (app, port), asking(app) as http:
        await http.post("/graphql", json={"documentId": "one"})
        await ask(http, "query Mine { books { nodes { title } } }")
        found = await told(app, port)
    assert total(found, "requests_total", operation="Titles", field="books", outcome="OK") == 1
    assert total(found, "requests_total", operation="other", field="books", outcome="OK") == 1


async def test_a_day_in_the_shop(settings: Settings, shop: Shop) -> None:
    async with told_of(settings) as (app, port):
        await a_day(Visitor(app), app.state.shop)
        found = await told(app, port)
    assert total(found, "refusals_total", field="checkout", code="ORDER_INSUFFICIENT_STOCK") == 1
    assert total(found, "refusals_total", field="login", code="AUTH_INVALID_CREDENTIALS") == 2
    assert total(found, "requests_total", field="checkout", outcome="OK") == 3
    assert total(found, "orders", status="CONFIRMED") == 2
    assert total(found, "orders", status="PENDING") == total(found, "pending_orders") == 0
    assert total(found, "queued_letters") == 3
    assert total(found, "database_up") == total(found, "database_writable") == 1
    assert not [name for name, _ in found if name == "bookstore_standby_up"]
    assert total(found, "statements_total", pool="write") > total(found, "statements_total", pool="read") > 0
    assert 0 < total(found, "pool_connections", pool="write") <= total(found, "pool_connections_limit", pool="write")
    assert total(found, "pool_connections", state="in use") == total(found, "pool_waiting") == 0
    assert total(found, "cpu_seconds_total") > 0
    assert total(found, "memory_bytes") > 10_000_000
    assert total(found, "processes") == 1


async def test_letters_and_what_became_of_them(
    settings: Settings, shop: Shop, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    reader = await add_member(shop)
    async with told_of(settings, worker=True, mail_folder=tmp_path) as (_, port):
        async with shop.database.transaction() as tx:
            await letters.add_letters(tx, LetterKind.BOOK_BACK, [(reader.id, reader.id)])
        assert await until_settled(postgres) == [("BOOK_BACK", "OBSOLETE")]
        await until(port, lambda found: total(found, "letters_total", kind="BOOK_BACK", outcome="OBSOLETE") == 1)


async def test_a_database_that_is_away_is_told_and_the_rest_as_well(
    settings: Settings, shop: Shop, database_url: str
) -> None:
    async with between(database_url) as network, told_of(settings, database_url=network.url) as (app, port):
        network.breaks()
        async with asking(app) as http:
            await ask(http, "{ books { nodes { title } } }")
        found = await told(app, port)
    assert total(found, "database_up") == 0
    assert total(found, "requests_total", field="books", outcome="SERVICE_UNAVAILABLE") == 1
    assert not [name for name, _ in found if name == "bookstore_orders"]


async def test_who_waits_for_a_connection_is_told(settings: Settings, shop: Shop) -> None:
    async with told_of(settings, pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.05) as (app, port):
        async with app.state.shop.database.transaction(), asking(app) as http:
            found = await told(app, port)
            assert total(found, "pool_connections", pool="write", state="in use") == 1
            await ask(http, LOGIN, variables={"email": "a@example.com", "password": "wrong"})
        found = await told(app, port)
    assert total(found, "pool_waits_total", pool="write") == total(found, "pool_timeouts_total", pool="write") == 1
    assert total(found, "pool_waited_seconds_total", pool="write") > 0


async def test_where_nobody_watches_nothing_is_counted_traced_or_loaded(app: Starlette, repository: Path) -> None:
    assert (app.state.metrics, app.state.tracing) == (None, None)
    code = "import sys, server.app, server.cli; print({'prometheus_client', 'opentelemetry.sdk'} & sys.modules.keys())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=repository, stdout=asyncio.subprocess.PIPE
    )
    out, _ = await process.communicate()
    assert out == b"set()\n"


# ── Several ───────────────────────────────────────────────────────────────────────────────


async def test_one_scrape_tells_of_all_processes_and_of_those_that_died(
    settings: Settings, shop: Shop, tmp_path: Path
) -> None:
    port = free_port()
    async with serving(settings, tmp_path, "--workers", "2", METRICS_PORT=str(port)) as server:
        await until(port, lambda found: total(found, "processes") == 2)
        for _ in range(10):
            await server.visitor.ask("query Hello { __typename }")
        for worker in _workers(server.process.pid):
            worker.kill()
            await asyncio.to_thread(worker.wait, 30)
        await until(port, lambda found: total(found, "processes") == 2)
        assert len(_workers(server.process.pid)) == 2
        for _ in range(10):
            await server.visitor.ask("query Hello { __typename }")
        found = await asked(port)
    assert total(found, "requests_total", operation="Hello", outcome="OK") == 20
    assert total(found, "request_seconds_count") == 20
    assert total(found, "database_up") == 1


def _workers(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if any("spawn_main" in part for part in child.cmdline())]


async def test_a_worker_tells_of_letters(
    settings: Settings, shop: Shop, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    reader, port = await add_member(shop), free_port()
    given = {"DATABASE_URL": str(settings.database_url), "SECRET_KEY": settings.secret_key[0]}
    async with started("worker", folder=tmp_path, settings=given | {"METRICS_PORT": str(port)}) as worker:
        assert worker.stdout is not None
        await worker.stdout.readline()
        async with shop.database.transaction() as tx:
            await letters.add_letters(tx, LetterKind.BOOK_BACK, [(reader.id, reader.id)])
        await until(port, lambda found: total(found, "letters_total", outcome="OBSOLETE") == 1)
        worker.send_signal(signal.SIGTERM)
        await worker.communicate()
    assert worker.returncode == 0


# ── Where they cannot be told ─────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_a_port_that_is_taken_is_one_line(bookstore: Bookstore, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = await refused(bookstore(command, METRICS_PORT=str(port)))
    assert line.startswith(f"Cannot tell metrics at 127.0.0.1:{port}: ")
    assert line.endswith("Choose others with METRICS_HOST and METRICS_PORT, or none with METRICS_PORT=0.")


def test_several_processes_need_a_folder(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    several = settings.model_copy(update={"metrics_port": free_port()})
    with pytest.raises(Misconfigured, match="TMPDIR"), watched(several, several=True):
        pass


async def test_the_port_of_the_shop_is_none_for_metrics(bookstore: Bookstore) -> None:
    port = str(free_port())
    line = await refused(bookstore("serve", "--port", port, METRICS_PORT=port))
    assert line == f"METRICS_PORT is the port of the shop itself, {port}: choose another one."
