"""Traces: a request with its operation, fields, statements and letters, below whoever asked; and never a value."""

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
from persistence.database import Reading
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor
from tests.collector import Collector, collecting
from tests.factories import add_book
from tests.letters import until_settled
from tests.processes import serving
from tests.sessions import REGISTER
from tests.smtp import mail_server

TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SAMPLED = {"traceparent": f"00-{TRACE}-{PARENT}-01"}
PASSWORD = "a long and winding sentence"


@pytest.fixture
def collector() -> Any:
    with collecting() as collector:
        yield collector


@asynccontextmanager
async def traced(settings: Settings, collector: Collector, **more: Any) -> AsyncIterator[Starlette]:
    """What is traced has been sent when the block is left."""
    app = create_app(settings.model_copy(update={"otel_exporter_otlp_endpoint": collector.url, **more}))
    async with app.router.lifespan_context(app):
        yield app


async def ask(app: Starlette, query: str, headers: dict[str, str] | None = None, **variables: Any) -> httpx2.Response:
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://shop.test") as http:
        return await http.post("/graphql", json={"query": query, "variables": variables}, headers=headers)


async def test_a_request_below_whoever_asked(settings: Settings, shop: Shop, collector: Collector) -> None:
    await add_book(shop, "A Title That Nobody Traces")
    async with traced(settings, collector) as app:
        query = "query Find($words: String) { books(search: $words) { nodes { title } } }"
        found = await ask(app, query, SAMPLED, words="title that nobody")
    assert found.json()["data"]["books"]["nodes"]
    [request] = collector.named("POST")
    assert (request.trace, request.parent) == (TRACE, PARENT)
    assert request.told["http.response.status_code"] == 200
    assert request.told["url.path"] == "/graphql"
    [operation] = collector.below(request)
    assert (operation.name, operation.told) == ("GraphQL books", {"graphql.operation.name": "Find"})
    fields = [span for span in collector.below(operation) if span.name == "Query.books"]
    assert len(fields) == 1
    statements = collector.below(fields[0])
    assert {span.name for span in statements} == {"WITH"}
    assert all("FROM books" in span.told["db.query.text"] for span in statements)
    assert {span.trace for span in collector.spans} == {TRACE}
    assert not any(span.is_error for span in collector.spans)
    assert "nobody" not in repr(collector.spans).lower()


async def test_a_mutation_and_its_transaction(settings: Settings, shop: Shop, collector: Collector) -> None:
    async with traced(settings, collector) as app:
        await ask(app, REGISTER, input={"email": "ann@example.com", "password": PASSWORD})
    [field] = collector.named("Mutation.register")
    names = [span.name for span in collector.below(field)]
    assert {"BEGIN", "INSERT", "COMMIT"} <= set(names)
    told = repr(collector.spans)
    assert [secret for secret in ("ann@example.com", PASSWORD) if secret in told] == []


async def test_what_fails_is_an_error_that_tells_no_values(
    settings: Settings, shop: Shop, collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fails(*_: Any) -> Any:
        raise asyncpg.UniqueViolationError("ann@example.com is there")

    async with traced(settings, collector) as app:
        await ask(app, "{ nothing }")
        monkeypatch.setattr(Reading, "fetch", fails)
        answer = await ask(app, "{ genres { name } }")
    assert answer.json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    refused, failed = (span for span in collector.spans if span.name.startswith("GraphQL"))
    assert (refused.is_error, refused.told["graphql.codes"].values[0].string_value) == (
        False,
        "GRAPHQL_VALIDATION_FAILED",
    )
    assert failed.is_error
    assert "ann@example.com" not in repr(collector.spans)


async def test_a_part_is_traced_whatever_callers_wish(settings: Settings, shop: Shop, collector: Collector) -> None:
    async with traced(settings, collector, otel_traces_sampler_arg=0.0) as app:
        await ask(app, "{ genres { name } }", SAMPLED)
        await ask(app, "{ genres { name } }")
    assert collector.spans == []


async def test_a_letter_that_is_sent(
    settings: Settings, shop: Shop, collector: Collector, postgres: asyncpg.Connection
) -> None:
    async with mail_server() as mailbox, traced(settings, collector, worker=True, smtp_url=mailbox.url) as app:
        await Visitor(app).ask(REGISTER, input={"email": "ann@example.com", "password": PASSWORD})
        assert await until_settled(postgres) == [("VERIFY_EMAIL", "SENT")]
    [sent] = collector.named("send letter")
    assert sent.told["server"] == f"127.0.0.1:{mailbox.port}"
    assert sent.told["letter"] == mailbox.letters[0]["Message-ID"]
    assert not sent.is_error


@pytest.mark.parametrize("log_format", ["json", "pretty"])
async def test_lines_of_the_log_tell_their_trace(
    settings: Settings, shop: Shop, collector: Collector, tmp_path: Path, log_format: str
) -> None:
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url, "LOG_FORMAT": log_format}
    async with serving(settings, tmp_path, **given) as server, server.visitor.http() as http:
        await http.post("/graphql", json={"query": "{ genres { name } }"}, headers=SAMPLED)
        line = await line_of(server.log)
    assert TRACE in line
    if log_format == "json":
        assert json.loads(line).keys() >= {"trace_id", "span_id", "request_id"}


async def line_of(log: Path) -> str:
    """Of the one request; it is written when the client has its answer already."""
    async with asyncio.timeout(20):
        while not (lines := [it for it in log.read_text("utf-8").splitlines() if "/graphql" in it and "status" in it]):
            await asyncio.sleep(0.02)
    [line] = lines
    return line


async def test_a_collector_that_is_away_keeps_nobody_waiting(settings: Settings, shop: Shop) -> None:
    with collecting() as gone:
        pass
    async with traced(settings, gone) as app:
        assert (await ask(app, "{ genres { name } }")).status_code == 200


@pytest.mark.parametrize(("name", "value"), [("endpoint", "localhost:4318"), ("ratio", "2")])
def test_settings_that_make_no_sense(name: str, value: str) -> None:
    setting = {"endpoint": "otel_exporter_otlp_endpoint", "ratio": "otel_traces_sampler_arg"}[name]
    with pytest.raises(ValidationError, match=setting):
        Settings(_env_file=None, **{setting: value})  # type: ignore[arg-type]  # pydantic refuses it
