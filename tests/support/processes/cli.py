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

from server.cli.main import app
from tests.support.processes.servers import BOOKSTORE

COMMAND_TIMEOUT = 60  # seconds, for a machine that does other things


@dataclass(frozen=True, slots=True)
class CompletedCommand:
    exit_code: int | None
    stdout: str
    stderr: str


RunCommand = Callable[..., Coroutine[Any, Any, CompletedCommand]]


async def run_command(*arguments: str, directory: Path, typed: str = "", **settings: str) -> CompletedCommand:
    """To its end, in a directory without a `.env`. `settings` are settings by their names."""
    async with (
        start_command(*arguments, directory=directory, settings=settings) as process,
        asyncio.timeout(COMMAND_TIMEOUT),
    ):
        out, err = await process.communicate(typed.encode())
    return CompletedCommand(process.returncode, out.decode(), err.decode())


async def run_in_process(*arguments: str, **settings: str) -> CompletedCommand:
    """The same in this process, in the directory it is in: for what a start of its own, a second long, would add nothing to."""
    environment = {"ENVIRONMENT": "development", **settings}
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    return CompletedCommand(result.exit_code, result.stdout, result.stderr)


async def get_error_line(command: Coroutine[Any, Any, CompletedCommand]) -> str:
    """The one line."""
    completed = await command
    assert (completed.exit_code, completed.stdout) == (1, ""), completed
    assert completed.stderr.startswith("bookstore: ")
    assert completed.stderr.count("\n") == 1, completed.stderr
    return completed.stderr.removeprefix("bookstore: ").strip()


@asynccontextmanager
async def start_command(
    *arguments: str, directory: Path, settings: Mapping[str, str], stdin: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Killed at the end of the block, if it runs that long."""
    inherited = {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "PYTHONPATH")}
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        BOOKSTORE,
        *arguments,
        cwd=directory,
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
