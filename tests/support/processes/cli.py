"""Runs `bookstore` commands and returns their exit code and output."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from typer.testing import CliRunner

from server.cli.main import app
from tests.support.processes.servers import BOOKSTORE, get_inherited_environment

COMMAND_TIMEOUT = 60  # seconds; long, because the machine runs other tests


@dataclass(frozen=True, slots=True)
class CompletedCommand:
    """The exit code and the output of a command."""

    exit_code: int | None
    stdout: str
    stderr: str


RunCommand = Callable[..., Coroutine[Any, Any, CompletedCommand]]


async def run_command(*arguments: str, directory: Path, stdin_text: str = "", **settings: str) -> CompletedCommand:
    """Run a command to its end, in a directory without a `.env`.

    `settings` are environment variables; `stdin_text` is its standard input.
    """
    async with (
        start_command(*arguments, directory=directory, settings=settings) as process,
        asyncio.timeout(COMMAND_TIMEOUT),
    ):
        stdout, stderr = await process.communicate(stdin_text.encode())
    return CompletedCommand(process.returncode, stdout.decode(), stderr.decode())


async def run_in_process(*arguments: str, **settings: str) -> CompletedCommand:
    """Run a command in this process and its directory, which saves the second that a process takes to start."""
    environment = {"ENVIRONMENT": "development", **settings}
    result = await asyncio.to_thread(CliRunner().invoke, app, arguments, env=environment)
    return CompletedCommand(result.exit_code, result.stdout, result.stderr)


async def get_error_line(command: Coroutine[Any, Any, CompletedCommand]) -> str:
    """Return the only line of standard error of a command that must fail."""
    result = await command
    assert (result.exit_code, result.stdout) == (1, ""), result
    assert result.stderr.startswith("bookstore: ")
    assert result.stderr.count("\n") == 1, result.stderr
    return result.stderr.removeprefix("bookstore: ").strip()


@asynccontextmanager
async def start_command(
    *arguments: str, directory: Path, settings: Mapping[str, str], stdin: int = asyncio.subprocess.PIPE
) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start a command, and kill it at the end of the block if it still runs."""
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        BOOKSTORE,
        *arguments,
        cwd=directory,
        env=get_inherited_environment() | {"ENVIRONMENT": "development", **settings},
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
