"""SIGTERM during a dump leaves neither files nor processes behind."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from server.database.dumps import IS_EMPTY, dump
from tests.support.database.databases import temporary_database
from tests.support.database.locks import hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.processes.cli import COMMAND_TIMEOUT, start_command

FILE = "shop.dump"
KEEPS_READERS_OUT = "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"
KEEPS_EXTENSIONS_OUT = "LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE"
"""The first statement of the script."""


@pytest.fixture
async def blocked_database_url(server_url: str, template_database: str) -> AsyncIterator[str]:
    """Lock the books, so that a dump blocks."""
    async with temporary_database(server_url, template_database) as url, hold_lock(url, KEEPS_READERS_OUT):
        yield url


@pytest.fixture
def temporary_directory(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("command_line", [("export-database", FILE), ("rehearse-restore",)])
async def test_stopped_export_leaves_nothing(
    blocked_database_url: str, tmp_path: Path, temporary_directory: Path, command_line: tuple[str, ...]
) -> None:
    settings = {"DATABASE_URL": blocked_database_url, "TMPDIR": str(temporary_directory)}
    postgres = await asyncpg.connect(blocked_database_url)
    async with (
        start_command(*command_line, directory=tmp_path, settings=settings) as process,
        asyncio.timeout(COMMAND_TIMEOUT),
    ):
        await wait_for_blocked(postgres, 1)
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        code = await process.wait()
        still_there = [child for child in family if child.is_running()]
    await postgres.close()

    assert len(family) == 1
    assert (code, still_there) == (128 + signal.SIGTERM, [])
    assert [*temporary_directory.iterdir(), *tmp_path.glob(f"{FILE}*")] == []


async def test_stopped_import_leaves_nothing(
    server_url: str, template_database: str, tmp_path: Path, temporary_directory: Path
) -> None:
    async with temporary_database(server_url, template_database) as full:
        await asyncio.to_thread(dump, full, tmp_path / FILE)
    async with temporary_database(server_url) as empty:
        settings = {"DATABASE_URL": empty, "TMPDIR": str(temporary_directory)}
        postgres = await asyncpg.connect(empty)
        async with (
            hold_lock(empty, KEEPS_EXTENSIONS_OUT),
            start_command("import-database", FILE, directory=tmp_path, settings=settings) as process,
            asyncio.timeout(COMMAND_TIMEOUT),
        ):
            waiting = await wait_for_blocked(postgres, 1)
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            code = await process.wait()
            still_there = [child for child in family if child.is_running()]
        await wait_until_disconnected(postgres, waiting)
        kept_nothing = await postgres.fetchval(IS_EMPTY)
        await postgres.close()

    assert (code, still_there, kept_nothing) == (128 + signal.SIGTERM, [], True)
    assert [*temporary_directory.iterdir()] == []
