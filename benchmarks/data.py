"""The database that is measured: made once for each size in the embedded PostgreSQL, and copied for each run."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncpg
from alembic.script import ScriptDirectory
from sqlalchemy.engine import make_url

from benchmarks.generation import Size, digest, steps
from persistence.invariants import find_violations
from server.database.embedded import run_embedded_postgres
from server.database.migrations import build_alembic_config, migrate

Told = Callable[[str], None]
"""Called with what is done now."""

SETTINGS = {
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track_planning": "on",
    "max_connections": "300",
    "shared_buffers": "1GB",
    "maintenance_work_mem": "512MB",
    "max_wal_size": "8GB",
    "checkpoint_timeout": "30min",
    "autovacuum": "off",  # it would come and go while others are measured; the copies are vacuumed and analysed
}
INDEXED = ("books", "authors", "book_authors", "reviews", "orders", "order_items", "stock_movements", "letters")
INDEXES = """
SELECT indexrelid::regclass::text AS name, pg_get_indexdef(indexrelid) AS definition FROM pg_index
WHERE indrelid = ANY ($1::text[]::regclass[]) AND NOT EXISTS (SELECT FROM pg_constraint WHERE conindid = indexrelid)"""
COMPLETE = "complete"


@contextmanager
def postgres(folder: Path) -> Iterator[str]:
    """The address of an embedded PostgreSQL whose settings suit a benchmark."""
    with run_embedded_postgres(folder) as url:
        asyncio.run(_configure(url))
    with run_embedded_postgres(
        folder
    ) as url:  # started anew, with these settings and on the cores this process may use
        yield make_url(url).set(database="postgres").render_as_string(hide_password=False)


async def _configure(url: str) -> None:
    await _execute(url, *(f"ALTER SYSTEM SET {name} = '{value}'" for name, value in SETTINGS.items()))


def named(url: str, database: str) -> str:
    return make_url(url).set(database=database).render_as_string(hide_password=False)


# ── Making ────────────────────────────────────────────────────────────────────────────────


def made(url: str, size: Size, told: Told) -> str:
    """The name of a database of this size, made unless it is there. Raises `RuntimeError` where it is not sound."""
    head = ScriptDirectory.from_config(build_alembic_config()).get_current_head()
    name = f"shop_{size.books}_{digest(size)}_{head}"
    if not asyncio.run(_is_complete(url, name)):
        asyncio.run(_create(url, name))
        told("tables")
        migrate(named(url, name))
        asyncio.run(_fill(named(url, name), size, told))
        asyncio.run(_execute(url, f"COMMENT ON DATABASE {name} IS '{COMPLETE}'"))
    return name


async def _is_complete(url: str, name: str) -> bool:
    query = "SELECT shobj_description(oid, 'pg_database') = $2 FROM pg_database WHERE datname = $1"
    connection = await asyncpg.connect(url, timeout=10)
    complete = await connection.fetchval(query, name, COMPLETE)
    await connection.close()
    return bool(complete)


async def _execute(url: str, *commands: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    for command in commands:
        await connection.execute(command)
    await connection.close()


async def _create(url: str, name: str) -> None:
    """With the locale that `bookstore serve` chooses, where PostgreSQL has it."""
    connection = await asyncpg.connect(url, timeout=10)
    is_new = int(await connection.fetchval("SHOW server_version_num")) >= 170_000
    locale = "LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'" if is_new else ""
    await connection.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await connection.execute(f"CREATE DATABASE {name} TEMPLATE template0 ENCODING UTF8 {locale}")
    await connection.close()


async def _fill(url: str, size: Size, told: Told) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    await connection.execute("SET session_replication_role = replica")
    await connection.execute("SET work_mem = '256MB'")
    indexes = await connection.fetch(INDEXES, list(INDEXED))
    for index in indexes:
        await connection.execute(f"DROP INDEX {index['name']}")
    for name, sql in steps(size):
        told(name)
        await connection.execute(sql)
    for index in indexes:
        told(index["name"])
        await connection.execute(index["definition"])
    told("vacuum")
    await connection.execute("CREATE EXTENSION pg_stat_statements")
    await connection.execute("VACUUM (ANALYZE)")
    told("invariants")
    if broken := await find_violations(connection):
        raise RuntimeError(f"The database that was made is not sound: {'; '.join(broken)}.")
    await connection.close()


# ── Copying ───────────────────────────────────────────────────────────────────────────────


@contextmanager
def copied(url: str, name: str) -> Iterator[str]:
    """The address of a copy to work on, which is dropped afterwards."""
    copy = f"{name}_run"
    drop = f"DROP DATABASE IF EXISTS {copy} WITH (FORCE)"
    asyncio.run(_execute(url, drop, f"CREATE DATABASE {copy} TEMPLATE {name} STRATEGY file_copy"))
    try:
        yield named(url, copy)
    finally:
        asyncio.run(_execute(url, drop))
