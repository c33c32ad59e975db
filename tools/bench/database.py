"""The database that is measured: made once for each size in the embedded PostgreSQL, and copied for each run."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from alembic.script import ScriptDirectory
from rich.progress import Progress
from sqlalchemy.engine import make_url

from persistence.invariants import find_violations
from server.database.embedded import run_embedded_postgres
from server.database.migrations import build_alembic_config, migrate
from tools.bench.generation import Size, digest, format_steps
from tools.bench.processes import reserve_core

ShowStep = Callable[[str], None]

SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_planning": "on",
    "max_connections": "300",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",  # it would disturb measurements; copies are vacuumed and analyzed
}
INDEXED = ("books", "authors", "book_authors", "reviews", "orders", "order_items", "stock_movements", "letters")
"""Tables that are filled without indexes."""
SELECT_INDEXES = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
WHERE indrelid = ANY ($1::text[]::regclass[]) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"""
SELECT_COMMENT = "SELECT shobj_description(oid, 'pg_database') FROM pg_database WHERE datname = $1"
COMPLETE = "complete"
"""The comment on a database whose filling has succeeded."""


@dataclass(frozen=True, slots=True)
class Prepared:
    """The address of PostgreSQL, the databases by size, and the core that targets are pinned to."""

    url: str
    databases: dict[Size, str]
    core: int | None


@contextmanager
def open_folder(folder: Path | None) -> Iterator[Path]:
    """Yield the folder, or a temporary one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="bookstore-bench-") as temporary:
            yield Path(temporary)


@contextmanager
def prepare_databases(folder: Path, sizes: Sequence[Size], progress: Progress) -> Iterator[Prepared]:
    """Make databases of these sizes, then start PostgreSQL again on the cores that targets do not use."""
    task = progress.add_task("the database", total=None)

    def show(step: str) -> None:
        progress.update(task, description=f"the database: {step}")

    with start_postgres(folder) as url:
        databases = {size: ensure_database(url, size, show) for size in sizes}
    core = reserve_core()
    progress.remove_task(task)
    with start_postgres(folder) as url:
        yield Prepared(url, databases, core)


@contextmanager
def start_postgres(folder: Path) -> Iterator[str]:
    """Run an embedded PostgreSQL with settings for benchmarks. Yields its address."""
    with run_embedded_postgres(folder) as url:
        asyncio.run(execute(url, *(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in SETTINGS.items())))
    with run_embedded_postgres(folder) as url:  # with these settings, on the cores that this process may use
        yield with_database(url, "postgres")


def with_database(url: str, database: str) -> str:
    """Return the address of another database of the same server."""
    return make_url(url).set(database=database).render_as_string(hide_password=False)


def ensure_database(url: str, size: Size, show: ShowStep) -> str:
    """Return the name of a database of this size; make it if there is none.

    Raises:
        RuntimeError: The new database violates invariants.
    """
    head = ScriptDirectory.from_config(build_alembic_config()).get_current_head()
    name = f"shop_{size.books}_{digest(size)}_{head}"
    if asyncio.run(fetch_value(url, SELECT_COMMENT, name)) != COMPLETE:
        asyncio.run(_create(url, name))
        show("tables")
        migrate(with_database(url, name))
        asyncio.run(_fill(with_database(url, name), size, show))
        asyncio.run(execute(url, f"COMMENT ON DATABASE {name} IS '{COMPLETE}'"))
    return name


@contextmanager
def copy_database(url: str, name: str) -> Iterator[str]:
    """Copy a database. Yields the address of the copy, and drops it after the block."""
    copy = f"{name}_run"
    drop = f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)"
    asyncio.run(execute(url, drop, f"CREATE DATABASE {copy} TEMPLATE {name} STRATEGY file_copy"))
    try:
        yield with_database(url, copy)
    finally:
        asyncio.run(execute(url, drop))


async def check_invariants(url: str) -> list[str]:
    """Return the invariants that the data violates."""
    connection = await asyncpg.connect(url, timeout=10)
    violations = await find_violations(connection)
    await connection.close()
    return violations


async def execute(url: str, *statements: str) -> None:
    """Execute statements, each by itself."""
    connection = await asyncpg.connect(url, timeout=10)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


async def fetch_value(url: str, query: str, *arguments: object) -> Any:
    """Return the first column of the first row."""
    connection = await asyncpg.connect(url, timeout=10)
    value = await connection.fetchval(query, *arguments)
    await connection.close()
    return value


async def _create(url: str, name: str) -> None:
    """Create a database with the locale that `bookstore serve` chooses, where PostgreSQL has it."""
    has_builtin = int(await fetch_value(url, "SHOW server_version_num")) >= 170_000
    locale = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'" if has_builtin else ""
    create = f"CREATE DATABASE {name} TEMPLATE template0 ENCODING UTF8 {locale}"
    await execute(url, f"DROP DATABASE IF EXISTS {name} WITH (FORCE)", create)


async def _fill(url: str, size: Size, show: ShowStep) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("SET work_mem = '256MB'")
    indexes = await connection.fetch(SELECT_INDEXES, list(INDEXED))
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    steps = [*format_steps(size), *((index["name"], index["definition"]) for index in indexes)]
    steps += [("statistics", "CREATE EXTENSION pg_stat_statements"), ("vacuum", "VACUUM (ANALYZE)")]
    for name, sql in steps:
        show(name)
        await connection.execute(sql)
    await connection.close()
    show("invariants")
    if violations := await check_invariants(url):
        raise RuntimeError(f"The new database violates invariants: {'; '.join(violations)}.")
