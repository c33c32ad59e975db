"""Who is told to stop in the middle of a dump leaves no copy of the customers behind, and nobody who goes on writing one."""

import asyncio
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from server.dumps import IS_EMPTY, dump
from tests.commands import PATIENCE, started
from tests.databases import created
from tests.locks import holding, until_gone, until_waiting

FILE = "shop.dump"
KEEPS_READERS_OUT = "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"
KEEPS_EXTENSIONS_OUT = "LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE"
"""With which the script begins."""


@pytest.fixture
async def closed(server_url: str, migrated: str) -> AsyncIterator[str]:
    """A shop whose books cannot be read."""
    async with created(server_url, migrated) as url, holding(url, KEEPS_READERS_OUT):
        yield url


@pytest.fixture
def temporary(tmp_path: Path) -> Path:
    folder = tmp_path / "temporary"
    folder.mkdir()
    return folder


@pytest.mark.parametrize("command_line", [("export-database", FILE), ("rehearse-restore",)])
async def test_an_export_leaves_nothing(
    closed: str, tmp_path: Path, temporary: Path, command_line: tuple[str, ...]
) -> None:
    settings = {"DATABASE_URL": closed, "TMPDIR": str(temporary)}
    postgres = await asyncpg.connect(closed)
    async with started(*command_line, folder=tmp_path, settings=settings) as process, asyncio.timeout(PATIENCE):
        await until_waiting(postgres, 1)
        family = psutil.Process(process.pid).children(recursive=True)
        process.terminate()
        code = await process.wait()
        still_there = [child for child in family if child.is_running()]
    await postgres.close()

    assert len(family) == 1
    assert (code, still_there) == (128 + signal.SIGTERM, [])
    assert [*temporary.iterdir(), *tmp_path.glob(f"{FILE}*")] == []


async def test_an_import_keeps_nothing(server_url: str, migrated: str, tmp_path: Path, temporary: Path) -> None:
    async with created(server_url, migrated) as full:
        await asyncio.to_thread(dump, full, tmp_path / FILE)
    async with created(server_url) as empty:
        settings = {"DATABASE_URL": empty, "TMPDIR": str(temporary)}
        postgres = await asyncpg.connect(empty)
        async with (
            holding(empty, KEEPS_EXTENSIONS_OUT),
            started("import-database", FILE, folder=tmp_path, settings=settings) as process,
            asyncio.timeout(PATIENCE),
        ):
            waiting = await until_waiting(postgres, 1)
            family = psutil.Process(process.pid).children(recursive=True)
            process.terminate()
            code = await process.wait()
            still_there = [child for child in family if child.is_running()]
        await until_gone(postgres, waiting)
        kept_nothing = await postgres.fetchval(IS_EMPTY)
        await postgres.close()

    assert (code, still_there, kept_nothing) == (128 + signal.SIGTERM, [], True)
    assert [*temporary.iterdir()] == []
