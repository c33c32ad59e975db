"""An import needs no connection that does nothing meanwhile; and when one breaks after it, what was imported is there."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from server.dumps import dump
from tests.commands import PATIENCE, Ended, run
from tests.databases import created
from tests.locks import holding, until_waiting

FILE = "shop.dump"
KEEPS_EXTENSIONS_OUT = "LOCK TABLE pg_extension IN ACCESS EXCLUSIVE MODE"
"""With which the script begins."""
KEEPS_STATISTICS_OUT = "LOCK TABLE pg_statistic IN SHARE MODE"
"""With which an import ends."""
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database() AND pid = ANY($1::int[])"
)
IDLE = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND state = 'idle' AND pid <> pg_backend_pid()"
)
BOOKS = "SELECT count(*) FROM books"


@pytest.fixture
async def exported(server_url: str, migrated: str, tmp_path: Path) -> None:
    async with created(server_url, migrated) as full:
        await asyncio.to_thread(dump, full, tmp_path / FILE)


@pytest.fixture
async def empty(server_url: str) -> AsyncIterator[str]:
    async with created(server_url) as url:
        yield url


@pytest.fixture
async def postgres(empty: str) -> AsyncIterator[asyncpg.Connection]:
    connection = await asyncpg.connect(empty)
    yield connection
    await connection.close()


def importing(url: str, folder: Path) -> asyncio.Task[Ended]:
    return asyncio.create_task(run("import-database", FILE, folder=folder, DATABASE_URL=url))


@pytest.mark.usefixtures("exported")
async def test_by_the_address_as_sqlalchemy_has_it(empty: str, tmp_path: Path) -> None:
    ended = await importing(empty.replace("postgresql://", "postgresql+asyncpg://"), tmp_path)

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith("0 books, ")
    assert ended.out.endswith("The database is up to date.\n")


@pytest.mark.usefixtures("exported")
async def test_who_does_nothing_meanwhile_may_be_cut(empty: str, postgres: asyncpg.Connection, tmp_path: Path) -> None:
    async with holding(empty, KEEPS_EXTENSIONS_OUT), asyncio.timeout(PATIENCE):
        command = importing(empty, tmp_path)
        await until_waiting(postgres, 1)
        await postgres.execute(CUT, [record["pid"] for record in await postgres.fetch(IDLE)])
    ended = await command

    assert (ended.code, ended.err) == (0, "")


@pytest.mark.usefixtures("exported")
async def test_what_fails_afterwards_is_told_as_such(empty: str, postgres: asyncpg.Connection, tmp_path: Path) -> None:
    async with holding(empty, KEEPS_STATISTICS_OUT), asyncio.timeout(PATIENCE):
        command = importing(empty, tmp_path)
        await postgres.execute(CUT, await until_waiting(postgres, 1))
        ended = await command

    assert (ended.code, ended.out, ended.err.count("\n")) == (1, "", 1)
    assert ended.err.startswith("bookstore: Everything was imported, but what comes afterwards failed. ")
    assert await postgres.fetchval(BOOKS) == 0
