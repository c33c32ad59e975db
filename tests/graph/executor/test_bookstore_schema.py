"""The shop answers the same with the engine and without it: random documents over its schema, whoever asks.

`FUZZ_DOCUMENTS` says how many for each part, `FUZZ_SEED` where chance begins; docs/fuzzing.md tells of long runs.
"""

import asyncio
import json
import os
import re
import uuid
from collections import Counter
from collections.abc import AsyncIterator, Callable, Container, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from sqlalchemy import make_url

from domain.shop import Shop
from graph.execution.execute import GraphQLResponse
from graph.schema import schema
from persistence.tables import Base
from server.app import create_app
from server.database.migrations import migrate
from server.settings import Settings
from tests.support.graphql.both_executors import (
    COMPILED,
    GRAPHQL_CORE,
    FuzzData,
    execute_document,
    is_executable,
    prepare_fuzz_data,
)
from tests.support.graphql.document_generator import generate_documents
from tests.support.graphql.fuzz_client import SERVER_ERROR_CODES
from tests.support.graphql.response_comparison import GENERATED_VALUE, TIMESTAMP, ResponseNormalizer, are_equivalent

DOCUMENTS = int(os.environ.get("FUZZ_DOCUMENTS", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CALLERS = ("visitor", "customer", "administrator")
TIMES = 3
"""The engine is careful the first time, and swift from the second on."""

GENERATED_PATTERN = re.compile(rf"{TIMESTAMP.pattern}|{GENERATED_VALUE.pattern}|\\x[0-9a-f]+|\$argon2.*")
"""In rows; digests and hashes, too."""
Record = Callable[[str, object], None]


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(60 + DOCUMENTS)
@pytest.mark.parametrize("caller", CALLERS)
async def test_random_queries_have_equal_results(
    shop: Shop, postgres: asyncpg.Connection, caller: str, record_property: Record
) -> None:
    asking = await prepare_fuzz_data(shop, postgres)
    token, kinds = asking.tokens[caller], Counter[str]()
    seed = SEED * 1000 + CALLERS.index(caller)
    for text, variables in generate_documents(
        schema._schema, seed, DOCUMENTS, asking.samples, is_accepted=is_executable, operation_types=["query"]
    ):
        expected = await _execute_without_internal_error(GRAPHQL_CORE, shop, token, text, variables)
        for _ in range(TIMES):
            answer = await _execute_without_internal_error(COMPILED, shop, token, text, variables)
            assert are_equivalent(answer, expected), text
        kinds["failing" if expected.errors else "fine"] += 1
        kinds["executed"] += expected.is_executed
    record_property("documents", dict(kinds))
    assert min(kinds["failing"], kinds["fine"], kinds["executed"]) > DOCUMENTS / 20
    assert COMPILED.executor is not None
    assert set(COMPILED.executor.fallbacks) <= {"introspection"}


async def _execute_without_internal_error(*question: Any) -> GraphQLResponse:
    """A busy machine may be too slow once, but not each time."""
    for _ in range(TIMES):
        answer = await execute_document(*question)
        if not answer.error_codes & SERVER_ERROR_CODES:
            return answer
    raise AssertionError(f"{question[-2:]}: {answer.errors}")


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ShopTwin:
    shop: Shop
    postgres: asyncpg.Connection
    fuzz_data: FuzzData

    async def restore_sessions(self) -> None:
        """Whoever asks is signed in again, and has tried nothing."""
        await self.postgres.execute(
            "UPDATE sessions SET revoked_at = NULL WHERE id = ANY ($1)", self.fuzz_data.sessions
        )
        await self.postgres.execute("UPDATE users SET is_active = true WHERE NOT is_active")
        await self.postgres.execute("TRUNCATE throttles")

    async def rows(self) -> dict[str, list[Any]]:
        """All there are, by their tables."""
        names = [table.name for table in Base.metadata.sorted_tables if table.name != "throttles"]
        query = "SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM {} AS t"
        return {name: json.loads(await self.postgres.fetchval(query.format(name))) for name in names}


@pytest.fixture
async def shop_twins(
    server_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[ShopTwin, ShopTwin]]:
    """Two shops that were one, in neither of which payments are a matter of chance."""
    monkeypatch.setattr("domain.payments._is_approved", lambda _, token: token != "mock-decline")
    name = f"bookstore_twin_{uuid.uuid4().hex[:12]}"
    ours, theirs = (
        make_url(server_url).set(database=it).render_as_string(hide_password=False) for it in (name, f"{name}_too")
    )
    server = await asyncpg.connect(server_url)
    await server.execute(f"CREATE DATABASE {name}")
    await asyncio.to_thread(migrate, ours)
    async with _running_shop(settings, ours) as (shop, postgres):
        asking = await prepare_fuzz_data(shop, postgres)
    await server.execute(f"CREATE DATABASE {name}_too TEMPLATE {name}")
    async with _running_shop(settings, ours) as one, _running_shop(settings, theirs) as another:
        yield ShopTwin(*one, asking), ShopTwin(*another, asking)
    for each in (name, f"{name}_too"):
        await server.execute(f"DROP DATABASE {each} WITH (FORCE)")
    await server.close()


@asynccontextmanager
async def _running_shop(settings: Settings, url: str) -> AsyncIterator[tuple[Shop, asyncpg.Connection]]:
    app, postgres = create_app(settings.model_copy(update={"database_url": url})), await asyncpg.connect(url)
    async with app.router.lifespan_context(app):
        yield app.state.shop, postgres
    await postgres.close()


@pytest.mark.timeout(60 + DOCUMENTS)
async def test_random_mutations_have_equal_results(
    shop_twins: tuple[ShopTwin, ShopTwin], record_property: Record
) -> None:
    """Each is done once by either, in databases that were one, and that are one afterwards, but for what shops make up."""
    ours, theirs = shop_twins
    before, translation, kinds = (
        Counter(_strings(await ours.rows())),
        ResponseNormalizer(GENERATED_VALUE),
        Counter[str](),
    )
    samples = ours.fuzz_data.samples
    written = generate_documents(
        schema._schema, SEED * 1000 + 3, DOCUMENTS, samples, is_accepted=is_executable, operation_types=["mutation"]
    )
    for number, (text, variables) in enumerate(written):
        token = ours.fuzz_data.tokens[CALLERS[min(number % 5, 2)]]
        for twin in shop_twins:
            await twin.restore_sessions()
        answer = await execute_document(COMPILED, ours.shop, token, text, variables)
        expected = await execute_document(GRAPHQL_CORE, theirs.shop, token, text, variables)
        assert not (answer.error_codes | expected.error_codes) & SERVER_ERROR_CODES, text
        assert are_equivalent(answer, expected, translation), text
        kinds.update(_results(answer.data))
    record_property("results", dict(kinds))
    assert len(kinds) > 10 or DOCUMENTS < 60
    here, there = await ours.rows(), await theirs.rows()
    del here["secret_keys"]  # noted when a shop is opened
    for name, rows in here.items():
        assert _count_rows(rows, before) == _count_rows(there[name], before), name


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _strings(inner)


def _results(data: Any) -> Iterator[str]:
    """The types of what mutations ended with, where they were asked for."""
    for result in (data or {}).values():
        yield result.get("__typename", "untold") if isinstance(result, dict) else str(result)


def _count_rows(rows: list[Any], known: Container[str]) -> Counter[str]:
    return Counter(json.dumps(_remove_generated(row, known), sort_keys=True) for row in rows)


def _remove_generated(value: Any, known: Container[str]) -> Any:
    """Without what the shop has made up meanwhile."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: _remove_generated(inner, known) for key, inner in items}
    is_made_up = isinstance(value, str) and value not in known and GENERATED_PATTERN.fullmatch(value)
    return "made up" if is_made_up else value
