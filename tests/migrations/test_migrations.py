"""The migrations: upgrades, downgrades, concurrency, interruptions, and equality with the models."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest
from alembic import command
from alembic.script import ScriptDirectory
from sqlalchemy import make_url
from sqlalchemy.ext.asyncio import create_async_engine

from persistence.tables import Base
from server.database.migrations import build_alembic_config, migrate
from server.database.preflight import check_database
from server.messages import SCHEMA_OUTDATED
from server.settings import Settings
from tests.support.database.databases import temporary_database
from tests.support.database.locks import hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.processes.cli import run_command, run_in_process

HEAD = ScriptDirectory.from_config(build_alembic_config()).get_current_head()
UNMIGRATED_ERROR = f"bookstore: {SCHEMA_OUTDATED}\n"
TAKE_MIGRATION_LOCK = "SELECT pg_advisory_xact_lock(422776367987)"  # "books"
BEFORE_TRIGGERS = "5d0c3f1be6a7"  # the next revision waits for transactions that write books
PROCESS_COUNT = 3
LOCK_EXTENSIONS = "LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE"
"""Blocks the first migration, which creates extensions."""
TERMINATE_CONNECTIONS = """
SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""
LOCK_LOST_ERROR = "bookstore: The connection that held the migration lock was lost, so the migration stopped: run `bookstore migrate` again.\n"
COUNT_IDLE_IN_TRANSACTION = (
    "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
)
LOCK_BOOKS_FOR_WRITING = "LOCK TABLE books IN ROW EXCLUSIVE MODE"
LATER_REVISION = f"""
from alembic import op

revision, down_revision, branch_labels, depends_on = "later", {HEAD!r}, None, None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_books_later")
        op.execute("CREATE INDEX CONCURRENTLY ix_books_later ON books (price)")
"""

DESCRIBE_TABLES = """
SELECT format('%s.%s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod),
    CASE WHEN attnotnull THEN 'NOT NULL' END, pg_get_expr(adbin, adrelid),
    col_description(attrelid, attnum)) AS description
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
    AND attnum > 0 AND NOT attisdropped
UNION SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid IS DISTINCT FROM to_regclass('alembic_version') AND contype <> 'n'
UNION SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
UNION SELECT format('%s %s', relname, reloptions) FROM pg_class WHERE reloptions IS NOT NULL AND relkind = 'r'
"""
DESCRIBE_FUNCTIONS = """
SELECT pg_get_functiondef(oid) AS description FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') ORDER BY oid
"""


UPGRADE_SCRIPT = """
import os, sys
from alembic import command
from server.database.migrations import build_alembic_config

config = build_alembic_config(sys.argv[1])
config.set_main_option("version_locations", os.pathsep.join(sys.argv[2:]))
config.set_main_option("path_separator", "os")
command.upgrade(config, "head")
"""
"""Migrates as a later release with one more revision would."""


@pytest.fixture
async def empty_database_url(server_url: str) -> AsyncIterator[str]:
    """Yield the URL of an empty database."""
    async with temporary_database(server_url) as url:
        yield url


@pytest.fixture
async def database(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def migrated_database_url(server_url: str, template_database: str) -> AsyncIterator[str]:
    """Yield the URL of a migrated database."""
    async with temporary_database(server_url, template_database) as url:
        yield url


@pytest.fixture
async def migrated_database(migrated_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(migrated_database_url)
    yield connection
    await connection.close()


@pytest.fixture
def clean_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Remove the settings from the environment, and change to a folder without `.env`."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    return tmp_path


async def fetch_descriptions(database: asyncpg.Connection, query: str) -> list[str]:
    return [record["description"] for record in await database.fetch(query)]


async def test_upgrade_downgrade_and_upgrade(empty_database_url: str, database: asyncpg.Connection) -> None:
    await asyncio.to_thread(migrate, empty_database_url)
    tables = await fetch_descriptions(database, DESCRIBE_TABLES)
    await asyncio.to_thread(command.downgrade, build_alembic_config(empty_database_url), "base")
    after_downgrade = (
        await fetch_descriptions(database, DESCRIBE_TABLES),
        await fetch_descriptions(database, DESCRIBE_FUNCTIONS),
    )
    await asyncio.to_thread(migrate, empty_database_url)

    assert tables
    assert after_downgrade == ([], [])
    assert sorted(await fetch_descriptions(database, DESCRIBE_TABLES)) == sorted(tables)


async def test_second_migration_is_a_no_op(migrated_database_url: str, migrated_database: asyncpg.Connection) -> None:
    await migrated_database.execute("INSERT INTO genres (id, slug, name) VALUES (gen_random_uuid(), 'drama', 'Drama')")
    await asyncio.to_thread(migrate, migrated_database_url)

    assert await migrated_database.fetchval("SELECT name FROM genres") == "Drama"
    assert await migrated_database.fetchval("SELECT version_num FROM alembic_version") == HEAD


async def test_migrated_schema_matches_the_models(
    empty_database_url: str, database: asyncpg.Connection, postgres: asyncpg.Connection
) -> None:
    """Compare constraints, defaults and comments, too, which Alembic's check omits."""
    await database.execute("CREATE EXTENSION unaccent")
    await database.execute("CREATE EXTENSION pg_trgm")
    for function in await fetch_descriptions(postgres, DESCRIBE_FUNCTIONS):
        await database.execute(function)
    engine = create_async_engine(make_url(empty_database_url).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        await connection.run_sync(Base.metadata.create_all)
    await engine.dispose()

    # PgQueuer's tables have no models.
    descriptions = [line for line in await fetch_descriptions(postgres, DESCRIBE_TABLES) if "pgqueuer" not in line]
    assert sorted(await fetch_descriptions(database, DESCRIBE_TABLES)) == sorted(descriptions)


async def test_alembic_autogenerate_is_empty(database_url: str) -> None:
    await asyncio.to_thread(command.check, build_alembic_config(database_url))  # raises if there is a difference


async def test_one_of_several_processes_migrates(
    empty_database_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    async with hold_lock(empty_database_url, TAKE_MIGRATION_LOCK):
        tasks = [
            asyncio.create_task(run_command("migrate", directory=tmp_path, DATABASE_URL=empty_database_url))
            for _ in range(PROCESS_COUNT)
        ]
        async with asyncio.timeout(60):
            # The processes and the holder of the lock are idle in transactions.
            while await database.fetchval(COUNT_IDLE_IN_TRANSACTION) < PROCESS_COUNT + 1:
                await asyncio.sleep(0.05)
    results = await asyncio.gather(*tasks)

    assert [(result.exit_code, result.stdout) for result in results] == [
        (0, "The database is up to date.\n")
    ] * PROCESS_COUNT
    assert await check_database(empty_database_url) is None


async def test_migration_stops_when_its_lock_is_lost(
    empty_database_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    async with hold_lock(empty_database_url, LOCK_EXTENSIONS):
        migration = asyncio.create_task(run_command("migrate", directory=tmp_path, DATABASE_URL=empty_database_url))
        blocked_pids = await wait_for_blocked(database, 1)
        await database.execute(TERMINATE_CONNECTIONS)
        result = await migration
        await wait_until_disconnected(database, blocked_pids)

    assert (result.exit_code, result.stdout, result.stderr) == (1, "", LOCK_LOST_ERROR)
    assert await fetch_descriptions(database, DESCRIBE_TABLES) == []


async def test_blocked_ddl_yields_and_retries(
    migrated_database_url: str, migrated_database: asyncpg.Connection
) -> None:
    await asyncio.to_thread(command.downgrade, build_alembic_config(migrated_database_url), BEFORE_TRIGGERS)
    async with hold_lock(migrated_database_url, LOCK_BOOKS_FOR_WRITING):
        migration = asyncio.create_task(asyncio.to_thread(migrate, migrated_database_url))
        await wait_for_blocked(migrated_database, 1)
        async with asyncio.timeout(30), migrated_database.transaction():
            await migrated_database.execute(LOCK_BOOKS_FOR_WRITING)  # conflicts with the change before it
        assert not migration.done()
    await migration

    assert await check_database(migrated_database_url) is None


async def test_index_is_built_concurrently(
    migrated_database_url: str, migrated_database: asyncpg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "later.py").write_text(LATER_REVISION)
    command_line = (
        sys.executable,
        "-c",
        UPGRADE_SCRIPT,
        migrated_database_url,
        str(files("migrations") / "versions"),
        str(tmp_path),
    )
    async with hold_lock(migrated_database_url, LOCK_BOOKS_FOR_WRITING), asyncio.timeout(60):
        processes = [await asyncio.create_subprocess_exec(*command_line) for _ in range(2)]
        await wait_for_blocked(migrated_database, 1)  # the index build waits for the open transaction
        # The holder of the lock, the waiting process and the writer are idle in transactions.
        while await migrated_database.fetchval(COUNT_IDLE_IN_TRANSACTION) < 3:
            await asyncio.sleep(0.05)
        await migrated_database.execute("UPDATE books SET title = title")
    async with asyncio.timeout(60):
        assert [await process.wait() for process in processes] == [0, 0]

    assert await migrated_database.fetchval(
        "SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_books_later'::regclass"
    )
    assert await migrated_database.fetchval("SELECT version_num FROM alembic_version") == "later"


async def test_server_does_not_start_on_an_unmigrated_database(
    empty_database_url: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    result = await run_command("serve", "--port", "0", directory=tmp_path, DATABASE_URL=empty_database_url)

    assert (result.exit_code, result.stdout, result.stderr) == (1, "", UNMIGRATED_ERROR)
    assert await fetch_descriptions(database, DESCRIBE_TABLES) == []


@pytest.mark.parametrize(
    "command_line",
    [
        ("demo",),
        ("import", "feed.csv"),
        ("admin", "create", "ann@example.com"),
        ("admin", "revoke", "ann@example.com"),
        ("migrate", "--check"),
    ],
)
async def test_commands_fail_on_an_unmigrated_database(
    empty_database_url: str, database: asyncpg.Connection, clean_environment: Path, command_line: tuple[str, ...]
) -> None:
    (clean_environment / "feed.csv").write_text("isbn,title,price\n")
    result = await run_in_process(*command_line, DATABASE_URL=empty_database_url)

    assert (result.exit_code, result.stdout, result.stderr) == (1, "", UNMIGRATED_ERROR)
    assert await fetch_descriptions(database, DESCRIBE_TABLES) == []


@pytest.mark.usefixtures("clean_environment")
async def test_tables_of_another_program_are_not_changed(empty_database_url: str, database: asyncpg.Connection) -> None:
    await database.execute("CREATE TABLE alembic_version (version_num text)")
    await database.execute("INSERT INTO alembic_version VALUES ('another program')")
    result = await run_in_process("serve", "--port", "0", DATABASE_URL=empty_database_url)
    migrate_result = await run_in_process("migrate", DATABASE_URL=empty_database_url)

    assert (result.exit_code, result.stdout, result.stderr) == (1, "", UNMIGRATED_ERROR)
    assert migrate_result.exit_code == 1
    assert migrate_result.stderr.startswith(
        "bookstore: The tables do not belong to an earlier version of this program: "
    )


@pytest.mark.usefixtures("clean_environment")
async def test_server_starts_on_a_newer_schema(
    migrated_database_url: str, migrated_database: asyncpg.Connection
) -> None:
    await migrated_database.execute("UPDATE alembic_version SET version_num = 'of the next release'")

    assert (await run_in_process("demo", DATABASE_URL=migrated_database_url)).exit_code == 0
    assert (await run_in_process("migrate", DATABASE_URL=migrated_database_url)).exit_code == 0
    assert await migrated_database.fetchval("SELECT version_num FROM alembic_version") == "of the next release"
