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
from graph.execution import Answer
from graph.schema import schema
from persistence.models import Table
from server.app import create_app
from server.migrating import migrate
from server.settings import Settings
from tests.graph.answers import INSTANT, OF_ITS_OWN, Translation, agree
from tests.graph.engine.authors import documents
from tests.graph.executors import CORE, ENGINE, Asking, asked, fits, open_for_questions
from tests.stranger import FAULTS

DOCUMENTS = int(os.environ.get("FUZZ_DOCUMENTS", "60"))
SEED = int(os.environ.get("FUZZ_SEED", "1"))
CALLERS = ("visitor", "customer", "administrator")
TIMES = 3
"""The engine is careful the first time, and swift from the second on."""

MADE_UP = re.compile(rf"{INSTANT.pattern}|{OF_ITS_OWN.pattern}|\\x[0-9a-f]+|\$argon2.*")
"""In rows; digests and hashes, too."""
Record = Callable[[str, object], None]


# ── Queries ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.timeout(60 + DOCUMENTS)
@pytest.mark.parametrize("caller", CALLERS)
async def test_queries(shop: Shop, postgres: asyncpg.Connection, caller: str, record_property: Record) -> None:
    asking = await open_for_questions(shop, postgres)
    token, kinds = asking.tokens[caller], Counter[str]()
    seed = SEED * 1000 + CALLERS.index(caller)
    for text, variables in documents(schema._schema, seed, DOCUMENTS, asking.samples, fits=fits, kinds=["query"]):
        expected = await _without_fault(CORE, shop, token, text, variables)
        for _ in range(TIMES):
            answer = await _without_fault(ENGINE, shop, token, text, variables)
            assert agree(answer, expected), text
        kinds["failing" if expected.errors else "fine"] += 1
        kinds["executed"] += expected.executed
    record_property("documents", dict(kinds))
    assert min(kinds["failing"], kinds["fine"], kinds["executed"]) > DOCUMENTS / 20
    assert ENGINE.engine is not None
    assert set(ENGINE.engine.left) <= {"introspection"}


async def _without_fault(*question: Any) -> Answer:
    """A busy machine may be too slow once, but not each time."""
    for _ in range(TIMES):
        answer = await asked(*question)
        if not answer.codes & FAULTS:
            return answer
    raise AssertionError(f"{question[-2:]}: {answer.errors}")


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Twin:
    shop: Shop
    postgres: asyncpg.Connection
    asking: Asking

    async def revive(self) -> None:
        """Whoever asks is signed in again, and has tried nothing."""
        await self.postgres.execute("UPDATE sessions SET revoked_at = NULL WHERE id = ANY ($1)", self.asking.sessions)
        await self.postgres.execute("UPDATE users SET is_active = true WHERE NOT is_active")
        await self.postgres.execute("TRUNCATE throttles")

    async def rows(self) -> dict[str, list[Any]]:
        """All there are, by their tables."""
        names = [table.name for table in Table.metadata.sorted_tables if table.name != "throttles"]
        query = "SELECT coalesce(jsonb_agg(to_jsonb(t)), '[]') FROM {} AS t"
        return {name: json.loads(await self.postgres.fetchval(query.format(name))) for name in names}


@pytest.fixture
async def twins(
    server_url: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[tuple[Twin, Twin]]:
    """Two shops that were one, in neither of which payments are a matter of chance."""
    monkeypatch.setattr("domain.payments._approves", lambda _, token: token != "mock-decline")
    name = f"bookstore_twin_{uuid.uuid4().hex[:12]}"
    ours, theirs = (
        make_url(server_url).set(database=it).render_as_string(hide_password=False) for it in (name, f"{name}_too")
    )
    server = await asyncpg.connect(server_url)
    await server.execute(f"CREATE DATABASE {name}")
    await asyncio.to_thread(migrate, ours)
    async with _opened(settings, ours) as (shop, postgres):
        asking = await open_for_questions(shop, postgres)
    await server.execute(f"CREATE DATABASE {name}_too TEMPLATE {name}")
    async with _opened(settings, ours) as one, _opened(settings, theirs) as another:
        yield Twin(*one, asking), Twin(*another, asking)
    for each in (name, f"{name}_too"):
        await server.execute(f"DROP DATABASE {each} WITH (FORCE)")
    await server.close()


@asynccontextmanager
async def _opened(settings: Settings, url: str) -> AsyncIterator[tuple[Shop, asyncpg.Connection]]:
    app, postgres = create_app(settings.model_copy(update={"database_url": url})), await asyncpg.connect(url)
    async with app.router.lifespan_context(app):
        yield app.state.shop, postgres
    await postgres.close()


@pytest.mark.timeout(60 + DOCUMENTS)
async def test_mutations(twins: tuple[Twin, Twin], record_property: Record) -> None:
    """Each is done once by either, in databases that were one, and that are one afterwards, but for what shops make up."""
    ours, theirs = twins
    before, translation, kinds = Counter(_strings(await ours.rows())), Translation(OF_ITS_OWN), Counter[str]()
    samples = ours.asking.samples
    written = documents(schema._schema, SEED * 1000 + 3, DOCUMENTS, samples, fits=fits, kinds=["mutation"])
    for number, (text, variables) in enumerate(written):
        token = ours.asking.tokens[CALLERS[min(number % 5, 2)]]
        for twin in twins:
            await twin.revive()
        answer = await asked(ENGINE, ours.shop, token, text, variables)
        expected = await asked(CORE, theirs.shop, token, text, variables)
        assert not (answer.codes | expected.codes) & FAULTS, text
        assert agree(answer, expected, translation), text
        kinds.update(_results(answer.data))
    record_property("results", dict(kinds))
    assert len(kinds) > 10 or DOCUMENTS < 60
    here, there = await ours.rows(), await theirs.rows()
    del here["secret_keys"]  # noted when a shop is opened
    for name, rows in here.items():
        assert _compared(rows, before) == _compared(there[name], before), name


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


def _compared(rows: list[Any], known: Container[str]) -> Counter[str]:
    return Counter(json.dumps(_unmade(row, known), sort_keys=True) for row in rows)


def _unmade(value: Any, known: Container[str]) -> Any:
    """Without what the shop has made up meanwhile."""
    if isinstance(value, dict | list):
        items = value.items() if isinstance(value, dict) else enumerate(value)
        return {key: _unmade(inner, known) for key, inner in items}
    is_made_up = isinstance(value, str) and value not in known and MADE_UP.fullmatch(value)
    return "made up" if is_made_up else value
