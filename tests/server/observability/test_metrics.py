"""The metrics at METRICS_PORT, of one process and of several."""

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
from persistence import emails
from persistence.emails import EmailKind
from server.observability.metrics import MAX_NAME_LENGTH, MAX_OPERATION_NAMES
from server.observability.setup import collect_process_metrics
from server.runtime import ConfigurationError
from server.settings import Settings
from tests.support.auth.sessions import LOGIN
from tests.support.database.fault_proxy import start_fault_proxy
from tests.support.email.emails import wait_until_queue_is_empty
from tests.support.http.apps import running_app
from tests.support.http.client import ApiClient
from tests.support.observability.prometheus import MetricValues, scrape_metrics, sum_series, wait_for_metrics
from tests.support.processes.cli import RunCommand, get_error_line, start_command
from tests.support.processes.ports import find_free_port
from tests.support.processes.servers import start_server
from tests.support.shop.factories import add_user
from tests.support.shop.traffic import run_sample_traffic


@asynccontextmanager
async def running_app_with_metrics(settings: Settings, **overrides: Any) -> AsyncIterator[tuple[Starlette, int]]:
    """Run the application in this process, and yield it with the port of its metrics."""
    port = find_free_port()
    async with running_app(settings, metrics_port=port, **overrides) as app:
        yield app, port


@asynccontextmanager
async def open_http_client(app: Starlette) -> AsyncIterator[httpx2.AsyncClient]:
    """Yield an HTTP client that sends each request only once."""
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://shop.test") as http:
        yield http


async def get_metrics(app: Starlette, port: int) -> MetricValues:
    app.state.metrics.gather()
    return await asyncio.create_task(scrape_metrics(port))


async def post_request(http: httpx2.AsyncClient, query: str, **overrides: Any) -> None:
    await http.post("/graphql", json={"query": query, **overrides})


# ── One process ───────────────────────────────────────────────────────────────────────────


async def test_requests_by_operation_field_and_outcome(settings: Settings, shop: Shop) -> None:
    async with running_app_with_metrics(settings) as (app, port), open_http_client(app) as http:
        await post_request(http, "query Browse { books { nodes { title } } }")
        await post_request(http, "query Browse { books { nodes { title } } }")
        await post_request(http, "{ books { totalCount } }")
        await post_request(http, "{ books { totalCount } genres { name } }")
        await post_request(http, "query Users { admin { users { totalCount } } }")
        await post_request(http, "{ nothing }")
        await post_request(http, "{")
        await http.post("/graphql", content=b"{", headers={"content-type": "application/json"})
        await http.get("/health")
        series = await get_metrics(app, port)
    requests = {
        tuple(sorted(labels)): value for (name, labels), value in series.items() if name == "bookstore_requests_total"
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
    assert sum_series(series, "request_seconds_count", field="books") == 3
    assert sum_series(series, "request_seconds_count") == 8
    assert sum_series(series, "request_seconds_bucket", field="books", le="+Inf") == 3
    assert sum_series(series, "request_seconds_sum", field="books") > 0


async def test_internal_errors_are_counted(settings: Settings, shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    async with running_app_with_metrics(settings) as (app, port), open_http_client(app) as http:
        monkeypatch.setattr("server.http.endpoint.parse_request", None)
        with pytest.raises(TypeError):
            await post_request(http, "{ books { totalCount } }")
        series = await get_metrics(app, port)
    assert sum_series(series, "requests_total", outcome="INTERNAL_SERVER_ERROR") == 1


async def test_document_durations(settings: Settings, shop: Shop) -> None:
    async with running_app_with_metrics(settings) as (app, port), open_http_client(app) as http:
        for _ in range(3):
            await post_request(http, "{ books(first: 7) { nodes { title } } }")
        await post_request(http, "{ __schema { queryType { name } } }")
        series = await get_metrics(app, port)
    plans = {plan: sum_series(series, "operations_total", plan=plan) for plan in ("hit", "miss", "fallback")}
    assert plans == {"hit": 2, "miss": 1, "fallback": 1}
    assert sum_series(series, "cost_total") >= 3 * 7


async def test_client_chosen_names_are_bounded(settings: Settings, shop: Shop) -> None:
    names = [f"Op{number}" for number in range(MAX_OPERATION_NAMES - 1)]
    async with running_app_with_metrics(settings) as (app, port), open_http_client(app) as http:
        for name in (*names, "X" * (MAX_NAME_LENGTH + 1), "Last", "OneTooMany", "AndAnother"):
            await post_request(http, f"query {name} {{ __typename }}")
        series = await get_metrics(app, port)
    operations = {dict(labels)["operation"] for name, labels in series if name == "bookstore_requests_total"}
    assert operations == {*names, "Last", "other"}
    assert sum_series(series, "requests_total", operation="other") == 3


async def test_only_trusted_operation_names_are_labels(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    path = tmp_path / "trusted.json"
    path.write_text(json.dumps({"one": "query Titles { books { nodes { title } } }"}))
    async with running_app_with_metrics(settings, trusted_documents=path) as (app, port), open_http_client(app) as http:
        await http.post("/graphql", json={"documentId": "one"})
        await post_request(http, "query Mine { books { nodes { title } } }")
        series = await get_metrics(app, port)
    assert sum_series(series, "requests_total", operation="Titles", field="books", outcome="OK") == 1
    assert sum_series(series, "requests_total", operation="other", field="books", outcome="OK") == 1


async def test_metrics_after_sample_traffic(settings: Settings, shop: Shop) -> None:
    async with running_app_with_metrics(settings) as (app, port):
        await run_sample_traffic(ApiClient(app), app.state.shop)
        series = await get_metrics(app, port)
    assert sum_series(series, "refusals_total", field="checkout", code="ORDER_INSUFFICIENT_STOCK") == 1
    assert sum_series(series, "refusals_total", field="login", code="AUTH_INVALID_CREDENTIALS") == 2
    assert sum_series(series, "requests_total", field="checkout", outcome="OK") == 3
    assert sum_series(series, "orders", status="CONFIRMED") == 2
    assert sum_series(series, "orders", status="PENDING") == sum_series(series, "pending_orders") == 0
    assert sum_series(series, "queued_letters") == 3
    assert sum_series(series, "database_up") == sum_series(series, "database_writable") == 1
    assert not [name for name, _ in series if name == "bookstore_standby_up"]
    assert (
        sum_series(series, "statements_total", pool="write") > sum_series(series, "statements_total", pool="read") > 0
    )
    assert (
        0
        < sum_series(series, "pool_connections", pool="write")
        <= sum_series(series, "pool_connections_limit", pool="write")
    )
    assert sum_series(series, "pool_connections", state="in use") == sum_series(series, "pool_waiting") == 0
    assert sum_series(series, "cpu_seconds_total") > 0
    assert sum_series(series, "memory_bytes") > 10_000_000
    assert sum_series(series, "processes") == 1


async def test_email_metrics(settings: Settings, shop: Shop, tmp_path: Path, postgres: asyncpg.Connection) -> None:
    user = await add_user(shop)
    async with running_app_with_metrics(settings, worker=True, mail_folder=tmp_path) as (_, port):
        async with shop.database.transaction() as tx:
            await emails.enqueue_emails(tx, EmailKind.BOOK_BACK, [(user.id, user.id)])
        assert await wait_until_queue_is_empty(postgres) == [("BOOK_BACK", "OBSOLETE")]
        await wait_for_metrics(
            port, lambda series: sum_series(series, "letters_total", kind="BOOK_BACK", outcome="OBSOLETE") == 1
        )


async def test_unreachable_database_keeps_other_metrics(settings: Settings, shop: Shop, database_url: str) -> None:
    async with (
        start_fault_proxy(database_url) as proxy,
        running_app_with_metrics(settings, database_url=proxy.url) as (app, port),
    ):
        proxy.break_connections()
        async with open_http_client(app) as http:
            await post_request(http, "{ books { nodes { title } } }")
        series = await get_metrics(app, port)
    assert sum_series(series, "database_up") == 0
    assert sum_series(series, "requests_total", field="books", outcome="SERVICE_UNAVAILABLE") == 1
    assert not [name for name, _ in series if name == "bookstore_orders"]


async def test_pool_waiters_are_reported(settings: Settings, shop: Shop) -> None:
    async with running_app_with_metrics(settings, pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.05) as (
        app,
        port,
    ):
        async with app.state.shop.database.transaction(), open_http_client(app) as http:
            series = await get_metrics(app, port)
            assert sum_series(series, "pool_connections", pool="write", state="in use") == 1
            await post_request(http, LOGIN, variables={"email": "a@example.com", "password": "wrong"})
        series = await get_metrics(app, port)
    assert (
        sum_series(series, "pool_waits_total", pool="write")
        == sum_series(series, "pool_timeouts_total", pool="write")
        == 1
    )
    assert sum_series(series, "pool_waited_seconds_total", pool="write") > 0


async def test_disabled_observability_loads_nothing(app: Starlette, repository: Path) -> None:
    assert (app.state.metrics, app.state.tracing) == (None, None)
    code = "import sys, server.app, server.cli.main; print({'prometheus_client', 'opentelemetry.sdk'} & sys.modules.keys())"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=repository, stdout=asyncio.subprocess.PIPE
    )
    stdout, _ = await process.communicate()
    assert stdout == b"set()\n"


# ── Several processes ─────────────────────────────────────────────────────────────────────


async def test_scrape_includes_all_processes_and_dead_ones(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    port = find_free_port()
    async with start_server(settings, tmp_path, "--workers", "2", METRICS_PORT=str(port)) as server:
        await wait_for_metrics(port, lambda series: sum_series(series, "processes") == 2)
        for _ in range(10):
            await server.client.execute("query Hello { __typename }")
        for worker in _list_workers(server.process.pid):
            worker.kill()
            await asyncio.to_thread(worker.wait, 30)
        await wait_for_metrics(port, lambda series: sum_series(series, "processes") == 2)
        assert len(_list_workers(server.process.pid)) == 2
        for _ in range(10):
            await server.client.execute("query Hello { __typename }")
        series = await scrape_metrics(port)
    assert sum_series(series, "requests_total", operation="Hello", outcome="OK") == 20
    assert sum_series(series, "request_seconds_count") == 20
    assert sum_series(series, "database_up") == 1


def _list_workers(pid: int) -> list[psutil.Process]:
    return [child for child in psutil.Process(pid).children() if any("spawn_main" in part for part in child.cmdline())]


async def test_worker_metrics(settings: Settings, shop: Shop, tmp_path: Path, postgres: asyncpg.Connection) -> None:
    user, port = await add_user(shop), find_free_port()
    environment = {"DATABASE_URL": str(settings.database_url), "SECRET_KEY": settings.secret_key[0]}
    async with start_command(
        "worker", directory=tmp_path, settings=environment | {"METRICS_PORT": str(port)}
    ) as worker:
        assert worker.stdout is not None
        await worker.stdout.readline()
        async with shop.database.transaction() as tx:
            await emails.enqueue_emails(tx, EmailKind.BOOK_BACK, [(user.id, user.id)])
        await wait_for_metrics(port, lambda series: sum_series(series, "letters_total", outcome="OBSOLETE") == 1)
        worker.send_signal(signal.SIGTERM)
        await worker.communicate()
    assert worker.returncode == 0


# ── Invalid addresses ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("command", ["serve", "worker"])
async def test_port_in_use_is_one_line(bookstore: RunCommand, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        line = await get_error_line(bookstore(command, METRICS_PORT=str(port)))
    assert line.startswith(f"Cannot serve metrics at 127.0.0.1:{port}: ")
    assert line.endswith("Choose others with METRICS_HOST and METRICS_PORT, or disable metrics with METRICS_PORT=0.")


def test_several_processes_need_a_metrics_directory(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")
    metrics_settings = settings.model_copy(update={"metrics_port": find_free_port()})
    with (
        pytest.raises(ConfigurationError, match="TMPDIR"),
        collect_process_metrics(metrics_settings, is_multiprocess=True),
    ):
        pass


async def test_metrics_port_must_differ_from_server_port(bookstore: RunCommand) -> None:
    port = str(find_free_port())
    line = await get_error_line(bookstore("serve", "--port", port, METRICS_PORT=port))
    assert line == f"METRICS_PORT is the server's own PORT, {port}: choose another one."
