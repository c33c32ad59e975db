"""Random documents over the bookstore's schema have equal responses with both executors, for callers of each role.

`FUZZ_DOCUMENTS` sets the number of documents per test, `FUZZ_SEED` the seed; CONTRIBUTING.md describes long runs.
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
from tests.support.graphql.comparison import TIMES
from tests.support.graphql.document_generator import generate_documents
from tests.support.graphql.fuzz_client import SERVER_ERROR_CODES
from tests.support.graphql.response_comparison import GENERATED_VALUE, TIMESTAMP, ResponseNormalizer, are_equivalent
from tests.support.http.apps import running_app

DOCUMENTS = int(os.environ.get("FUZZ_DOCUMENTS", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CALLERS = ("anonymous", "customer", "administrator")
MAX_ATTEMPTS = 3
GENERATED_PATTERN = re.compile(rf"{TIMESTAMP.pattern}|{GENERATED_VALUE.pattern}|\\x[0-9a-f]+|\$argon2.*")
"""Values in rows that the server generates, including digests and hashes."""
Record = Callable[[str, object], None]


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(60 + DOCUMENTS)
@pytest.mark.parametrize("caller", CALLERS)
async def test_random_queries_have_equal_results(
    shop: Shop, postgres: asyncpg.Connection, caller: str, record_property: Record
) -> None:
    fuzz_data = await prepare_fuzz_data(shop, postgres)
    token, result_counts = fuzz_data.tokens[caller], Counter[str]()
    seed = SEED * 1000 + CALLERS.index(caller)
    for text, variables in generate_documents(
        schema._schema, seed, DOCUMENTS, fuzz_data.samples, is_accepted=is_executable, operation_types=["query"]
    ):
        expected = await _execute_without_internal_error(GRAPHQL_CORE, shop, token, text, variables)
        for _ in range(TIMES):
            response = await _execute_without_internal_error(COMPILED, shop, token, text, variables)
            assert are_equivalent(response, expected), text
        result_counts["failed" if expected.errors else "succeeded"] += 1
        result_counts["executed"] += expected.is_executed
    record_property("documents", dict(result_counts))
    assert min(result_counts["failed"], result_counts["succeeded"], result_counts["executed"]) > DOCUMENTS / 20
    assert COMPILED.executor is not None
    assert set(COMPILED.executor.fallbacks) <= {"introspection"}


async def _execute_without_internal_error(*arguments: Any) -> GraphQLResponse:
    """Execute a document, and repeat it after a timeout, which can occur on a busy machine."""
    for _ in range(MAX_ATTEMPTS):
        response = await execute_document(*arguments)
        if not response.error_codes & SERVER_ERROR_CODES:
            return response
    raise AssertionError(f"{arguments[-2:]}: {response.errors}")


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class ShopTwin:
    """One of two shops whose databases have equal contents."""

    shop: Shop
    postgres: asyncpg.Connection
    fuzz_data: FuzzData

    async def restore_sessions(self) -> None:
        """Restore the sessions of all callers, and delete their failed attempts."""
        await self.postgres.execute(
            "UPDATE sessions SET revoked_at = NULL WHERE id = ANY ($1)", self.fuzz_data.sessions
        )
        await self.postgres.execute("UPDATE users SET is_active = true WHERE NOT is_active")
        await self.postgres.execute("TRUNCATE throttles")

    async def fetch_rows(self) -> dict[str, list[Any]]:
        """Return all rows by table."""
        names = [table.name for table in Base.metadata.sorted_tables if table.name != "throttles"]
        query = "SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM {} AS t"
        return {name: json.loads(await self.postgres.fetchval(query.format(name))) for name in names}


@pytest.fixture
async def shop_twins(
    server_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[ShopTwin, ShopTwin]]:
    """Start two shops with equal databases, in which payments have deterministic results."""
    monkeypatch.setattr("domain.payments._is_approved", lambda _, token: token != "mock-decline")
    name = f"bookstore_twin_{uuid.uuid4().hex[:12]}"
    compiled_url, core_url = (
        make_url(server_url).set(database=database).render_as_string(hide_password=False)
        for database in (name, f"{name}_copy")
    )
    server = await asyncpg.connect(server_url)
    await server.execute(f"CREATE DATABASE {name}")
    await asyncio.to_thread(migrate, compiled_url)
    async with _running_shop(settings, compiled_url) as (shop, postgres):
        fuzz_data = await prepare_fuzz_data(shop, postgres)
    await server.execute(f"CREATE DATABASE {name}_copy TEMPLATE {name}")
    async with _running_shop(settings, compiled_url) as compiled_twin, _running_shop(settings, core_url) as core_twin:
        yield ShopTwin(*compiled_twin, fuzz_data), ShopTwin(*core_twin, fuzz_data)
    for database in (name, f"{name}_copy"):
        await server.execute(f"DROP DATABASE {database} WITH (FORCE)")
    await server.close()


@asynccontextmanager
async def _running_shop(settings: Settings, url: str) -> AsyncIterator[tuple[Shop, asyncpg.Connection]]:
    postgres = await asyncpg.connect(url)
    async with running_app(settings, database_url=url) as app:
        yield app.state.shop, postgres
    await postgres.close()


@pytest.mark.timeout(60 + DOCUMENTS)
async def test_random_mutations_have_equal_results(
    shop_twins: tuple[ShopTwin, ShopTwin], record_property: Record
) -> None:
    """Each executor executes each mutation once in its own database; only generated values differ afterwards."""
    compiled_twin, core_twin = shop_twins
    initial_strings = set(_iterate_strings(await compiled_twin.fetch_rows()))
    normalizer, result_types = ResponseNormalizer(GENERATED_VALUE), Counter[str]()
    samples = compiled_twin.fuzz_data.samples
    documents = generate_documents(
        schema._schema, SEED * 1000 + 3, DOCUMENTS, samples, is_accepted=is_executable, operation_types=["mutation"]
    )
    for number, (text, variables) in enumerate(documents):
        token = compiled_twin.fuzz_data.tokens[CALLERS[min(number % 5, 2)]]
        for twin in shop_twins:
            await twin.restore_sessions()
        response = await execute_document(COMPILED, compiled_twin.shop, token, text, variables)
        expected = await execute_document(GRAPHQL_CORE, core_twin.shop, token, text, variables)
        assert not (response.error_codes | expected.error_codes) & SERVER_ERROR_CODES, text
        assert are_equivalent(response, expected, normalizer), text
        result_types.update(_iterate_result_types(response.data))
    record_property("results", dict(result_types))
    assert len(result_types) > 10 or DOCUMENTS < 60
    compiled_rows, core_rows = await compiled_twin.fetch_rows(), await core_twin.fetch_rows()
    del compiled_rows["secret_keys"]  # each shop writes its own
    for name, rows in compiled_rows.items():
        assert _count_rows(rows, initial_strings) == _count_rows(core_rows[name], initial_strings), name


def _iterate_strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from _iterate_strings(inner)


def _iterate_result_types(data: Any) -> Iterator[str]:
    """Yield the type name of each mutation's result, if the document selects it."""
    for result in (data or {}).values():
        yield result.get("__typename", "not selected") if isinstance(result, dict) else str(result)


def _count_rows(rows: list[Any], initial_strings: Container[str]) -> Counter[str]:
    return Counter(json.dumps(_mask_generated(row, initial_strings), sort_keys=True) for row in rows)


def _mask_generated(value: Any, initial_strings: Container[str]) -> Any:
    """Replace the values that the shop has generated since the start of the test."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: _mask_generated(inner, initial_strings) for key, inner in items}
    is_generated = isinstance(value, str) and value not in initial_strings and GENERATED_PATTERN.fullmatch(value)
    return "generated" if is_generated else value
