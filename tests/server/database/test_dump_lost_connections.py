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
KEEPS_EXTENSIONS_OUT = "LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE"
"""The first statement of the script."""
KEEPS_STATISTICS_OUT = "LOCK TABLE pg_statistic IN SHARE MODE"
"""The last statement of an import."""
TERMINATE_CONNECTIONS = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid = ANY($1::int[])"
)
IDLE = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND pid <> pg_backend_pid()"
)
BOOKS = "SELECT count(*) FROM books"


@pytest.fixture
async def exported_dump(server_url: str, template_database: str, tmp_path: Path) -> None:
    async with temporary_database(server_url, template_database) as full:
        await asyncio.to_thread(dump, full, tmp_path / FILE)


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
    completed = await start_import(empty_database_url.replace("postgresql://", "postgresql+asyncpg://"), tmp_path)

    assert (completed.exit_code, completed.stderr) == (0, "")
    assert completed.stdout.startswith("0 books, ")
    assert completed.stdout.endswith("The database is up to date.\n")


@pytest.mark.usefixtures("exported_dump")
async def test_idle_connection_may_be_cut(
    empty_database_url: str, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    async with hold_lock(empty_database_url, KEEPS_EXTENSIONS_OUT), asyncio.timeout(COMMAND_TIMEOUT):
        command = start_import(empty_database_url, tmp_path)
        await wait_for_blocked(postgres, 1)
        await postgres.execute(TERMINATE_CONNECTIONS, [record["pid"] for record in await postgres.fetch(IDLE)])
    completed = await command

    assert (completed.exit_code, completed.stderr) == (0, "")


@pytest.mark.usefixtures("exported_dump")
async def test_failure_after_import_is_reported(
    empty_database_url: str, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    async with hold_lock(empty_database_url, KEEPS_STATISTICS_OUT), asyncio.timeout(COMMAND_TIMEOUT):
        command = start_import(empty_database_url, tmp_path)
        await postgres.execute(TERMINATE_CONNECTIONS, await wait_for_blocked(postgres, 1))
        completed = await command

    assert (completed.exit_code, completed.stdout, completed.stderr.count("\n")) == (1, "", 1)
    assert completed.stderr.startswith("bookstore: The import succeeded, but a later step failed. ")
    assert await postgres.fetchval(BOOKS) == 0
