"""`bookstore` as its operators use it: a command, what it said, and how it ended."""

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from server.cli import app
from tests.processes import BOOKSTORE

PATIENCE = 60  # seconds, for a machine that does other things


@dataclass(frozen=True, slots=True)
class Ended:
    code: int | None
    out: str
    err: str


Bookstore = Callable[..., Coroutine[Any, Any, Ended]]


async def run(*arguments: str, folder: Path, typed: str = "", **settings: str) -> Ended:
    """To its end, in a folder without a `.env`. `settings` are settings by their names."""
    async with started(*arguments, folder=folder, settings=settings) as process, asyncio.timeout(PATIENCE):
        out, err = await process.communicate(typed.encode())
    return Ended(process.returncode, out.decode(), err.decode())


async def invoked(*arguments: str, **settings: str) -> Ended:
    """The same in this process, in the folder it is in: for what a start of its own, a second long, would add nothing to."""
    given = {"ENVIRONMENT": "development", **settings}
    ended = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=given)
    return Ended(ended.exit_code, ended.stdout, ended.stderr)


async def refused(command: Coroutine[Any, Any, Ended]) -> str:
    """The one line."""
    ended = await command
    assert (ended.code, ended.out) == (1, ""), ended
    assert ended.err.startswith("bookstore: ")
    assert ended.err.count("\n") == 1, ended.err
    return ended.err.removeprefix("bookstore: ").strip()


@asynccontextmanager
async def started(
    *arguments: str, folder: Path, settings: Mapping[str, str], stdin: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Killed at the end of the block, if it runs that long."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "PYTHONPATH")}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        BOOKSTORE,
        *arguments,
        cwd=folder,
        env=inherited | {"ENVIRONMENT": "development", **settings},
        stdin=stdin,
        stdout=pipe,
        stderr=pipe,
    )
    try:
        yield process
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()
