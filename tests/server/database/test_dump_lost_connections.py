"""An import holds no idle connection, and keeps the imported data if a later connection fails."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from server.database.dumps import dump
from tests.support.database.databases import temporary_database
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.processes.cli import COMMAND_TIMEOUT, CompletedCommand, run_command

FILE = "shop.dump"
LOCK_EXTENSIONS = "LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE"
"""Blocks the first statement of the dump's script."""
LOCK_STATISTICS = "LOCK TABLE pg_statistic IN SHARE MODE"
"""Blocks the last statement of an import."""
TERMINATE_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid = ANY($1::int[])"
)
SELECT_IDLE_PIDS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND pid <> pg_backend_pid()"
)
COUNT_BOOKS = "SELECT count(*) FROM books"


@pytest.fixture
async def exported_dump(server_url: str, template_database: str, tmp_path: Path) -> None:
    async with temporary_database(server_url, template_database) as url:
        await asyncio.to_thread(dump, url, tmp_path / FILE)


@pytest.fixture
async def empty_database_url(server_url: str) -> AsyncIterator[str]:
    async with temporary_database(server_url) as url:
        yield url


@pytest.fixture
async def postgres(empty_database_url: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty_database_url)
    yield connection
    await connection.close()


def start_import(url: str, folder: Path) -> asyncio.Task[CompletedCommand]:
    return asyncio.create_task(run_command("import-database", FILE, directory=folder, DATABASE_URL=url))


@pytest.mark.usefixtures("exported_dump")
async def test_import_by_sqlalchemy_url(empty_database_url: str, tmp_path: Path) -> None:
    result = await start_import(empty_database_url.replace("postgresql://", "postgresql+asyncpg://"), tmp_path)

    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("0 books, ")
    assert result.stdout.endswith("The database is up to date.\n")


@pytest.mark.usefixtures("exported_dump")
async def test_terminated_idle_connection_is_harmless(
    empty_database_url: str, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    async with hold_lock(empty_database_url, LOCK_EXTENSIONS), asyncio.timeout(COMMAND_TIMEOUT):
        import_task = start_import(empty_database_url, tmp_path)
        await wait_for_blocked(postgres, 1)
        await postgres.execute(
            TERMINATE_CONNECTIONS, [record["pid"] for record in await postgres.fetch(SELECT_IDLE_PIDS)]
        )
    result = await import_task

    assert (result.exit_code, result.stderr) == (0, "")


@pytest.mark.usefixtures("exported_dump")
async def test_failure_after_import_is_reported(
    empty_database_url: str, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    async with hold_lock(empty_database_url, LOCK_STATISTICS), asyncio.timeout(COMMAND_TIMEOUT):
        import_task = start_import(empty_database_url, tmp_path)
        await postgres.execute(TERMINATE_CONNECTIONS, await wait_for_blocked(postgres, 1))
        result = await import_task

    assert (result.exit_code, result.stdout, result.stderr.count("\n")) == (1, "", 1)
    assert result.stderr.startswith("bookstore: The import succeeded, but a later step failed. ")
    assert await postgres.fetchval(COUNT_BOOKS) == 0
