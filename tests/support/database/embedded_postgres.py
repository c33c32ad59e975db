"""The embedded PostgreSQL from outside: which process it is, and that none is left behind."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.support.processes.cli import COMMAND_TIMEOUT


def find_postmaster(data_dir: Path) -> psutil.Process | None:
    """The one that runs on this folder, whatever the files in it say."""
    pgdata = str(data_dir.resolve() / "postgres")
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "postgres" and pgdata in (process.info["cmdline"] or ()):
            return process
    return None


async def wait_until_stopped(data_dir: Path) -> None:
    async with asyncio.timeout(COMMAND_TIMEOUT):
        while find_postmaster(data_dir) is not None:
            await asyncio.sleep(0.05)


@asynccontextmanager
async def kill_leftover_server(data_dir: Path) -> AsyncIterator[Path]:
    """A folder for an embedded database, whose server does not outlive the block."""
    try:
        yield data_dir
    finally:
        if (postmaster := find_postmaster(data_dir)) is not None:
            workers = postmaster.children()
            for process in (postmaster, *workers):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            await asyncio.to_thread(psutil.wait_procs, workers, COMMAND_TIMEOUT)
