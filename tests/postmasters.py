"""The embedded PostgreSQL from outside: which process it is, and that none is left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.commands import PATIENCE


def postmaster_of(data: Path) -> psutil.Process | None:
    """The one that runs on this folder, whatever the files in it say."""
    pgdata = str(data.resolve() / "postgres")
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "postgres" and pgdata in (process.info["cmdline"] or ()):
            return process
    return None


async def until_stopped(data: Path) -> None:
    async with asyncio.timeout(PATIENCE):
        while postmaster_of(data) is not None:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def nothing_left(data: Path) -> AsyncIterator[Path]:
    """A folder for an embedded database, whose server does not outlive the block."""
    try:
        yield data
    finally:
        if (postmaster := postmaster_of(data)) is not None:
            workers = postmaster.children()
            for process in (postmaster, *workers):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            await asyncio.to_thread(psutil.wait_procs, workers, PATIENCE)
