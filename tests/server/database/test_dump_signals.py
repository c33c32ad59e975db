"""SIGTERM during an export or import leaves no files, processes or rows behind."""

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
LOCK_BOOKS = "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"
LOCK_EXTENSIONS = "LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE"
"""Blocks the first statement of the dump's script."""


@pytest.fixture
async def blocked_database_url(server_url: str, template_database: str) -> AsyncIterator[str]:
    """Lock the books, so that a dump blocks."""
    async with temporary_database(server_url, template_database) as url, hold_lock(url, LOCK_BOOKS):
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
        children = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        exit_code = await process.wait()
        running_children = [child for child in children if child.is_running()]
    await postgres.close()

    assert len(children) == 1
    assert (exit_code, running_children) == (128 + signal.SIGTERM, [])
    assert [*temporary_directory.iterdir(), *tmp_path.glob(f"{FILE}*")] == []


async def test_stopped_import_leaves_nothing(
    server_url: str, template_database: str, tmp_path: Path, temporary_directory: Path
) -> None:
    async with temporary_database(server_url, template_database) as source_url:
        await asyncio.to_thread(dump, source_url, tmp_path / FILE)
    async with temporary_database(server_url) as target_url:
        settings = {"DATABASE_URL": target_url, "TMPDIR": str(temporary_directory)}
        postgres = await asyncpg.connect(target_url)
        async with (
            hold_lock(target_url, LOCK_EXTENSIONS),
            start_command("import-database", FILE, directory=tmp_path, settings=settings) as process,
            asyncio.timeout(COMMAND_TIMEOUT),
        ):
            blocked_pids = await wait_for_blocked(postgres, 1)
            children = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            exit_code = await process.wait()
            running_children = [child for child in children if child.is_running()]
        await wait_until_disconnected(postgres, blocked_pids)
        is_empty = await postgres.fetchval(IS_EMPTY)
        await postgres.close()

    assert (exit_code, running_children, is_empty) == (128 + signal.SIGTERM, [], True)
    assert [*temporary_directory.iterdir()] == []
