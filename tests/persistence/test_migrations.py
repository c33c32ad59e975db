"""Migrations: from nothing to this version's tables and back, one process at a time, as the models have them."""

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

from persistence.models import Table
from server.migrating import migrate, migrations, problem_with
from server.settings import Settings
from tests.commands import invoked, run
from tests.databases import created
from tests.locks import holding, until_gone, until_waiting

HEAD = ScriptDirectory.from_config(migrations()).get_current_head()
UNMIGRATED = "bookstore: The database is not at this version's tables: run `bookstore migrate`.\n"
LOCK = "SELECT pg_advisory_xact_lock(422776367987)"  # "books"
BEFORE_TRIGGERS = "5d0c3f1be6a7"  # what comes after it waits for whoever sells
REPLICAS = 3
KEEPS_EXTENSIONS_OUT = "LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE"
"""Which the first tables need."""
CUT = """
SELECT pg_terminate_backend(pid) FROM pg_locks JOIN pg_database ON pg_database.oid = database
WHERE locktype = 'advisory' AND granted AND datname = current_database()
"""
STOPPED = "bookstore: The connection that kept others from migrating was cut, so this one stopped: run `bookstore migrate` again.\n"
ASKING = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle in transaction'"
SELLING = "LOCK TABLE books IN ROW EXCLUSIVE MODE"
CONCURRENTLY = f"""
from alembic import op

revision, down_revision, branch_labels, depends_on = "later", {HEAD!r}, None, None


def upgrade() -> None:
    with op.get_context().autocommit_block():
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_books_later")
        op.execute("CREATE INDEX CONCURRENTLY ix_books_later ON books (price)")
"""

TABLES = """
SELECT format('%s.%s %s %s %s %s', attrelid::regclass, attname, format_type(atttypid, atttypmod),
    CASE WHEN attnotnull THEN 'NOT NULL' END, pg_get_expr(adbin, adrelid),
    col_description(attrelid, attnum)) AS said
FROM pg_attribute JOIN pg_class ON pg_class.oid = attrelid LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
    AND attnum > 0 AND NOT attisdropped
UNION SELECT format('%s %s %s', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
WHERE connamespace = 'public'::regnamespace AND conrelid IS DISTINCT FROM to_regclass('alembic_version') AND contype <> 'n'
UNION SELECT pg_get_indexdef(indexrelid) FROM pg_index JOIN pg_class ON pg_class.oid = indrelid
WHERE relnamespace = 'public'::regnamespace AND relname <> 'alembic_version'
UNION SELECT format('%s %s', relname, reloptions) FROM pg_class WHERE reloptions IS NOT NULL AND relkind = 'r'
"""
FUNCTIONS = """
SELECT pg_get_functiondef(oid) AS said FROM pg_proc WHERE pronamespace = 'public'::regnamespace
    AND NOT EXISTS (SELECT FROM pg_depend WHERE objid = pg_proc.oid AND deptype = 'e') ORDER BY oid
"""


TO_LATER = """
import os, sys
from alembic import command
from server.migrating import migrations

config = migrations(sys.argv[1])
config.set_main_option("version_locations", os.pathsep.join(sys.argv[2:]))
config.set_main_option("path_separator", "os")
command.upgrade(config, "head")
"""
"""As a release with one revision more would migrate."""


@pytest.fixture
async def address(server_url: str) -> AsyncIterator[str]:
    """Of a database with nothing in it."""
    async with created(server_url) as url:
        yield url


@pytest.fixture
async def database(address: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(address)
    yield connection
    await connection.close()


@pytest.fixture
async def up_to_date(server_url: str, migrated: str) -> AsyncIterator[str]:
    """The address of a database with the tables of this version."""
    async with created(server_url, migrated) as url:
        yield url


@pytest.fixture
async def tables(up_to_date: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(up_to_date)
    yield connection
    await connection.close()


@pytest.fixture
def in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Without a `.env`, and without what the environment has to say."""
    monkeypatch.chdir(tmp_path)
    for name in os.environ:
        if name.lower() in Settings.model_fields:
            monkeypatch.delenv(name)
    return tmp_path


async def said(database: asyncpg.Connection, query: str) -> list[str]:
    return [record["said"] for record in await database.fetch(query)]


async def test_up_down_and_up_again(address: str, database: asyncpg.Connection) -> None:
    await asyncio.to_thread(migrate, address)
    first = await said(database, TABLES)
    await asyncio.to_thread(command.downgrade, migrations(address), "base")
    nothing = await said(database, TABLES), await said(database, FUNCTIONS)
    await asyncio.to_thread(migrate, address)

    assert first
    assert nothing == ([], [])
    assert sorted(await said(database, TABLES)) == sorted(first)


async def test_a_second_migration_has_nothing_to_do(up_to_date: str, tables: asyncpg.Connection) -> None:
    await tables.execute("INSERT INTO genres (id, slug, name) VALUES (gen_random_uuid(), 'drama', 'Drama')")
    await asyncio.to_thread(migrate, up_to_date)

    assert await tables.fetchval("SELECT name FROM genres") == "Drama"
    assert await tables.fetchval("SELECT version_num FROM alembic_version") == HEAD


async def test_the_tables_are_those_of_the_models(
    address: str, database: asyncpg.Connection, postgres: asyncpg.Connection
) -> None:
    """Constraints, defaults and comments included, which Alembic does not all compare."""
    await database.execute("CREATE EXTENSION unaccent")
    await database.execute("CREATE EXTENSION pg_trgm")
    for function in await said(postgres, FUNCTIONS):
        await database.execute(function)
    engine = create_async_engine(make_url(address).set(drivername="postgresql+asyncpg"))
    async with engine.begin() as connection:
        await connection.run_sync(Table.metadata.create_all)
    await engine.dispose()

    described = [line for line in await said(postgres, TABLES) if "pgqueuer" not in line]  # PgQueuer describes its own
    assert sorted(await said(database, TABLES)) == sorted(described)


async def test_alembic_finds_nothing_to_write(database_url: str) -> None:
    await asyncio.to_thread(command.check, migrations(database_url))  # raises where it would


async def test_of_several_processes_one_migrates_and_the_others_find_the_work_done(
    address: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    async with holding(address, LOCK):
        all_ = [asyncio.create_task(run("migrate", folder=tmp_path, DATABASE_URL=address)) for _ in range(REPLICAS)]
        async with asyncio.timeout(60):
            while await database.fetchval(ASKING) < REPLICAS + 1:  # and whoever holds the lock
                await asyncio.sleep(0.05)
    ended = await asyncio.gather(*all_)

    assert [(one.code, one.out) for one in ended] == [(0, "The database is up to date.\n")] * REPLICAS
    assert await problem_with(address) is None


async def test_who_can_not_keep_the_others_away_any_more_stops(
    address: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    async with holding(address, KEEPS_EXTENSIONS_OUT):
        migrating = asyncio.create_task(run("migrate", folder=tmp_path, DATABASE_URL=address))
        waiting = await until_waiting(database, 1)
        await database.execute(CUT)
        ended = await migrating
        await until_gone(database, waiting)

    assert (ended.code, ended.out, ended.err) == (1, "", STOPPED)
    assert await said(database, TABLES) == []


async def test_a_change_that_has_to_wait_steps_back_for_those_behind_it_and_tries_again(
    up_to_date: str, tables: asyncpg.Connection
) -> None:
    await asyncio.to_thread(command.downgrade, migrations(up_to_date), BEFORE_TRIGGERS)
    async with holding(up_to_date, SELLING):
        migrating = asyncio.create_task(asyncio.to_thread(migrate, up_to_date))
        await until_waiting(tables, 1)
        async with asyncio.timeout(30), tables.transaction():
            await tables.execute(SELLING)  # conflicts with the change, which came before it
        assert not migrating.done()
    await migrating

    assert await problem_with(up_to_date) is None


async def test_an_index_is_built_while_books_are_sold_and_others_wait_to_migrate(
    up_to_date: str, tables: asyncpg.Connection, tmp_path: Path
) -> None:
    (tmp_path / "later.py").write_text(CONCURRENTLY)
    command_line = sys.executable, "-c", TO_LATER, up_to_date, str(files("migrations") / "versions"), str(tmp_path)
    async with holding(up_to_date, SELLING), asyncio.timeout(60):
        both = [await asyncio.create_subprocess_exec(*command_line) for _ in range(2)]
        await until_waiting(tables, 1)  # the index, for whoever is in the middle of a sale
        while await tables.fetchval(ASKING) < 3:  # whose lock it is, who asks for it, and who sells
            await asyncio.sleep(0.05)
        await tables.execute("UPDATE books SET title = title")
    async with asyncio.timeout(60):
        assert [await process.wait() for process in both] == [0, 0]

    assert await tables.fetchval("SELECT indisvalid FROM pg_index WHERE indexrelid = 'ix_books_later'::regclass")
    assert await tables.fetchval("SELECT version_num FROM alembic_version") == "later"


async def test_servers_do_not_start_on_a_database_without_the_tables(
    address: str, database: asyncpg.Connection, tmp_path: Path
) -> None:
    ended = await run("serve", "--port", "0", folder=tmp_path, DATABASE_URL=address)

    assert (ended.code, ended.out, ended.err) == (1, "", UNMIGRATED)
    assert await said(database, TABLES) == []


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
async def test_nothing_works_on_a_database_without_the_tables(
    address: str, database: asyncpg.Connection, in_a_folder: Path, command_line: tuple[str, ...]
) -> None:
    (in_a_folder / "feed.csv").write_text("isbn,title,price\n")
    ended = await invoked(*command_line, DATABASE_URL=address)

    assert (ended.code, ended.out, ended.err) == (1, "", UNMIGRATED)
    assert await said(database, TABLES) == []


@pytest.mark.usefixtures("in_a_folder")
async def test_of_tables_of_another_program_nothing_is_taken(address: str, database: asyncpg.Connection) -> None:
    await database.execute("CREATE TABLE alembic_version (version_num text)")
    await database.execute("INSERT INTO alembic_version VALUES ('another program')")
    ended = await invoked("serve", "--port", "0", DATABASE_URL=address)
    migrated = await invoked("migrate", DATABASE_URL=address)

    assert (ended.code, ended.out, ended.err) == (1, "", UNMIGRATED)
    assert migrated.code == 1
    assert migrated.err.startswith("bookstore: The tables are not of an earlier version of this program: ")


@pytest.mark.usefixtures("in_a_folder")
async def test_servers_of_this_release_start_when_the_next_one_has_migrated(
    up_to_date: str, tables: asyncpg.Connection
) -> None:
    await tables.execute("UPDATE alembic_version SET version_num = 'of the next release'")

    assert (await invoked("demo", DATABASE_URL=up_to_date)).code == 0
    assert (await invoked("migrate", DATABASE_URL=up_to_date)).code == 0
    assert await tables.fetchval("SELECT version_num FROM alembic_version") == "of the next release"
