"""The process of the embedded PostgreSQL server, found among the running processes."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil

from tests.support.processes.cli import COMMAND_TIMEOUT
from tests.support.waiting import wait_until


def find_postmaster(data_dir: Path) -> psutil.Process | None:
    """Return the PostgreSQL process that runs on this directory, regardless of its pid file."""
    pgdata = str(data_dir.resolve() / "postgres")
    for process in psutil.process_iter(["name", "cmdline"]):
        if process.info["name"] == "postgres" and pgdata in (process.info["cmdline"] or ()):
            return process
    return None


async def wait_until_stopped(data_dir: Path) -> None:
    """Wait until no PostgreSQL process runs on this directory."""
    await wait_until(lambda: find_postmaster(data_dir) is None, COMMAND_TIMEOUT)


@asynccontextmanager
async def kill_leftover_server(data_dir: Path) -> AsyncIterator[Path]:
    """Yield the directory, and kill the server that runs on it when the block ends."""
    try:
        yield data_dir
    finally:
        if (postmaster := find_postmaster(data_dir)) is not None:
            workers = postmaster.children()
            for process in (postmaster, *workers):
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
            await asyncio.to_thread(psutil.wait_procs, workers, COMMAND_TIMEOUT)
