"""Traces: spans of requests, operations, fields, statements and emails, without values."""

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import asyncpg
import httpx2
import pytest
from pydantic import ValidationError
from starlette.applications import Starlette

from domain.shop import Shop
from persistence.postgres.read_session import ReadSession
from server.settings import Settings
from tests.support.auth.sessions import REGISTER
from tests.support.email.emails import wait_until_queue_is_empty
from tests.support.email.smtp import start_mail_server
from tests.support.http.apps import running_app
from tests.support.http.client import ApiClient
from tests.support.observability.otlp_collector import OtlpCollector, run_otlp_collector
from tests.support.processes.servers import start_server
from tests.support.shop.factories import add_book

TRACE_ID, PARENT_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED_TRACEPARENT = {"traceparent": f"00-{TRACE_ID}-{PARENT_ID}-01"}
PASSWORD = "a long and winding sentence"


@pytest.fixture
def collector() -> Any:
    with run_otlp_collector() as collector:
        yield collector


@asynccontextmanager
async def running_traced_app(
    settings: Settings, collector: OtlpCollector, **overrides: Any
) -> AsyncIterator[Starlette]:
    """Run the application; its spans are exported at the end of the block."""
    async with running_app(settings, otel_exporter_otlp_endpoint=collector.url, **overrides) as app:
        yield app


async def post_request(
    app: Starlette, query: str, headers: dict[str, str] | None = None, **variables: Any
) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://shop.test") as http:
        return await http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)


async def test_request_span_has_the_callers_parent(settings: Settings, shop: Shop, collector: OtlpCollector) -> None:
    await add_book(shop, "A Title That Nobody Traces")
    async with running_traced_app(settings, collector) as app:
        query = "query Find($words: String) { books(search: $words) { nodes { title } } }"
        response = await post_request(app, query, SAMPLED_TRACEPARENT, words="title that nobody")
    assert response.json()["data"]["books"]["nodes"]
    [request] = collector.find_spans("POST")
    assert (request.trace_id, request.parent_id) == (TRACE_ID, PARENT_ID)
    assert request.attributes["http.response.status_code"] == 200
    assert request.attributes["url.path"] == "/graphql"
    [operation] = collector.find_children(request)
    assert (operation.name, operation.attributes) == ("GraphQL books", {"graphql.operation.name": "Find"})
    fields = [span for span in collector.find_children(operation) if span.name == "Query.books"]
    assert len(fields) == 1
    statements = collector.find_children(fields[0])
    assert {span.name for span in statements} == {"WITH"}
    assert all("FROM books" in span.attributes["db.query.text"] for span in statements)
    assert {span.trace_id for span in collector.spans} == {TRACE_ID}
    assert not any(span.is_error for span in collector.spans)
    assert "nobody" not in repr(collector.spans).lower()


async def test_mutation_and_transaction_spans(settings: Settings, shop: Shop, collector: OtlpCollector) -> None:
    async with running_traced_app(settings, collector) as app:
        await post_request(app, REGISTER, input={"email": "ann@example.com", "password": PASSWORD})
    [field] = collector.find_spans("Mutation.register")
    names = [span.name for span in collector.find_children(field)]
    assert {"BEGIN", "INSERT", "COMMIT"} <= set(names)
    exported = repr(collector.spans)
    assert [secret for secret in ("ann@example.com", PASSWORD) if secret in exported] == []


async def test_error_spans_contain_no_values(
    settings: Settings, shop: Shop, collector: OtlpCollector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def raise_error(*_: Any) -> Any:
        raise asyncpg.UniqueViolationError("ann@example.com is there")

    async with running_traced_app(settings, collector) as app:
        await post_request(app, "{ nothing }")
        monkeypatch.setattr(ReadSession, "fetch", raise_error)
        response = await post_request(app, "{ genres { name } }")
    assert response.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    rejected, failed = (span for span in collector.spans if span.name.startswith("GraphQL"))
    assert (rejected.is_error, rejected.attributes["graphql.codes"].values[0].string_value) == (
        False,
        "GRAPHQL_VALIDATION_FAILED",
    )
    assert failed.is_error
    assert "ann@example.com" not in repr(collector.spans)


async def test_sampling_ignores_the_callers_flag(settings: Settings, shop: Shop, collector: OtlpCollector) -> None:
    async with running_traced_app(settings, collector, otel_traces_sampler_arg=0.0) as app:
        await post_request(app, "{ genres { name } }", SAMPLED_TRACEPARENT)
        await post_request(app, "{ genres { name } }")
    assert collector.spans == []


async def test_email_span(
    settings: Settings, shop: Shop, collector: OtlpCollector, postgres: asyncpg.Connection
) -> None:
    async with (
        start_mail_server() as mailbox,
        running_traced_app(settings, collector, worker=True, smtp_url=mailbox.url) as app,
    ):
        await ApiClient(app).execute(REGISTER, input={"email": "ann@example.com", "password": PASSWORD})
        assert await wait_until_queue_is_empty(postgres) == [("VERIFY_EMAIL", "SENT")]
    [span] = collector.find_spans("send email")
    assert span.attributes["server"] == f"127.0.0.1:{mailbox.port}"
    assert span.attributes["message_id"] == mailbox.messages[0]["Message-ID"]
    assert not span.is_error


@pytest.mark.parametrize("log_format", ["json", "pretty"])
async def test_log_lines_have_trace_ids(
    settings: Settings, shop: Shop, collector: OtlpCollector, tmp_path: Path, log_format: str
) -> None:
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "LOG_FORMAT": log_format}
    async with start_server(settings, tmp_path, **environment) as server, server.client.http() as http:
        await http.post("/graphql", json={"query": "{ genres { name } }"}, headers=SAMPLED_TRACEPARENT)
        line = await find_log_line(server.log)
    assert TRACE_ID in line
    if log_format == "json":
        assert json.loads(line).keys() >= {"trace_id", "span_id", "request_id"}


async def find_log_line(log: Path) -> str:
    """Wait for the log line of the only request, which follows its response."""
    async with asyncio.timeout(20):
        while not (
            lines := [line for line in log.read_text("utf-8").splitlines() if "/graphql" in line and "status" in line]
        ):
            await asyncio.sleep(0.02)
    [line] = lines
    return line


async def test_unreachable_collector_does_not_block(settings: Settings, shop: Shop) -> None:
    with run_otlp_collector() as stopped_collector:
        pass
    async with running_traced_app(settings, stopped_collector) as app:
        assert (await post_request(app, "{ genres { name } }")).status_code == 200


@pytest.mark.parametrize(("name", "value"), [("endpoint", "localhost:4318"), ("ratio", "2")])
def test_invalid_settings(name: str, value: str) -> None:
    setting = {"endpoint": "otel_exporter_otlp_endpoint", "ratio": "otel_traces_sampler_arg"}[name]
    with pytest.raises(ValidationError, match=setting):
        Settings(_env_file=None, **{setting: value})  # type: ignore[arg-type]  # pydantic rejects it
