"""Copies of the whole database, made and read back by PostgreSQL's own programs."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
import threading
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import asyncpg

from persistence.connecting import driver_address
from server.embedded import program
from server.libpq import Unspeakable, without_password

CONNECT_TIMEOUT = 5  # seconds
LONGEST = 12 * 60 * 60  # seconds that a copy may take
NOBODYS = ("--no-owner", "--no-privileges")  # so that it can be read back under another name
BY_SCRIPT = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-")
NEWS = b"SET transaction_timeout = 0;\n"  # stands before all data; PostgreSQL 17 is the first to know it
IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace)"


class DumpFailed(Exception):
    """Said to the operator in one line."""


def dump(url: str, file: Path) -> None:
    """All that is committed at this moment, in a file for its owner alone. Only migrations wait for it.

    Raises `DumpFailed`; then there is no file.
    """
    if file.exists():
        raise DumpFailed(f"{file} is there already. Name another file, or remove it.")
    unfinished = file.with_name(f"{file.name}.unfinished")
    try:
        unfinished.touch(mode=0o600)
        _run("pg_dump", "--format=custom", *NOBODYS, "--lock-wait-timeout=30s", f"--file={unfinished}", url=url)
        unfinished.rename(file)
    except OSError as error:
        raise DumpFailed(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        unfinished.unlink(missing_ok=True)


def restore(file: Path, url: str) -> None:
    """Into an empty database, wholly or not at all, and with statistics for the planner.

    Raises `DumpFailed`.
    """
    if not asyncio.run(_asked(url, IS_EMPTY)):
        raise DumpFailed("The database is not empty. Make a new one for what is to be imported.")
    _read_back(file, url)
    with all_being_there():
        asyncio.run(_asked(url, "ANALYZE"))


@contextlib.contextmanager
def all_being_there() -> Iterator[None]:
    """What goes wrong after an import is told as such."""
    try:
        yield
    except DumpFailed as error:
        raise DumpFailed(f"Everything was imported, but what comes afterwards failed. {error}") from error


@contextlib.asynccontextmanager
async def connected(url: str) -> AsyncIterator[asyncpg.Connection]:
    """For a moment: a connection that is kept while a copy is made may be cut for doing nothing.

    Raises `DumpFailed` where there is none, and when it breaks.
    """
    try:
        connection = await asyncpg.connect(driver_address(url), timeout=CONNECT_TIMEOUT)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise DumpFailed("The database cannot be reached. Check DATABASE_URL.") from error
    try:
        yield connection
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DumpFailed(f"The database did not answer: {error}.") from error
    finally:
        await connection.close()


async def _asked(url: str, question: str) -> Any:
    async with connected(url) as connection:
        return await connection.fetchval(question, timeout=LONGEST)


def _read_back(file: Path, url: str) -> None:
    """As SQL, so that older servers are not told of what they do not know.

    Without what is said about extensions, which only a superuser may say.
    """
    contents = _run("pg_restore", "--list", str(file))
    with tempfile.NamedTemporaryFile("w", suffix=".list") as chosen, tempfile.TemporaryFile() as complaints:
        chosen.writelines(line for line in contents.splitlines(True) if " COMMENT - EXTENSION " not in line)
        chosen.flush()
        options = ("--file=-", f"--use-list={chosen.name}", *NOBODYS, str(file))
        taking: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": complaints}
        with (
            _begun("pg_restore", *options, stdout=subprocess.PIPE, stderr=complaints) as reading,
            _begun("psql", *BY_SCRIPT, url=url, **taking) as writing,
        ):
            _pass_on(reading, writing)
        complaints.seek(0)
        told = complaints.read().decode(errors="replace")
    ended = {"pg_restore": reading.returncode, "psql": writing.returncode}
    if any(ended.values()):
        name = max(ended, key=lambda it: ended[it])  # the other one was killed for it
        raise DumpFailed(f"{name} failed: {_reason(told, name)}")


def _pass_on(reading: "subprocess.Popen[bytes]", writing: "subprocess.Popen[bytes]") -> None:
    """Only at the end of it all comes the COMMIT: of what ends before, nothing is kept."""
    assert reading.stdout is not None
    assert writing.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # psql has had enough, and says why
        writing.stdin.write(b"BEGIN;\n")
        for line in reading.stdout:
            if line == NEWS:
                break
            writing.stdin.write(line)
        shutil.copyfileobj(reading.stdout, writing.stdin)
        if reading.wait() == 0:
            writing.stdin.write(b"COMMIT;\n")
            writing.stdin.close()
            writing.wait(LONGEST)


def _run(name: str, *arguments: str, url: str | None = None) -> str:
    """What it printed."""
    command, environment = _command(name, *arguments, url=url)
    try:
        ended = subprocess.run(  # noqa: S603  # PostgreSQL's own, without a shell
            command, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DumpFailed(f"{name} was not done after {LONGEST // 3600} hours.") from error
    if ended.returncode != 0:
        raise DumpFailed(f"{name} failed: {_reason(ended.stderr, name)}")
    return ended.stdout


@contextlib.contextmanager
def _begun(name: str, *arguments: str, url: str | None = None, **pipes: Any) -> Iterator["subprocess.Popen[bytes]"]:
    """Ended with the block, however it is left, and after so many hours."""
    command, environment = _command(name, *arguments, url=url)
    process = subprocess.Popen(command, env=environment, **pipes)  # noqa: S603  # PostgreSQL's own, without a shell
    watch = threading.Timer(LONGEST, process.kill)
    try:
        watch.start()
        yield process
    finally:
        watch.cancel()
        process.kill()
        with contextlib.suppress(BrokenPipeError), process:  # which closes its pipes and waits for its end
            pass


def _command(name: str, *arguments: str, url: str | None) -> tuple[list[str], dict[str, str]]:
    """And its environment, which the password goes by: others can read a command line."""
    command, environment = [str(program(name)), *arguments], os.environ | {"PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT)}
    if url:
        address, password = _shown(url)
        command.insert(1, f"--dbname={address}")
        environment |= {"PGPASSWORD": password} if password else {}
    return command, environment


def _shown(url: str) -> tuple[str, str]:
    try:
        return without_password(url)
    except Unspeakable as secret:
        raise DumpFailed(
            f"The address has {secret}, which everybody on this machine could read meanwhile. Name one without it."
        ) from None


def _reason(told: str, name: str) -> str:
    """The first complaint of several."""
    complaints = [line for line in told.splitlines() if "error: " in line.lower()] or told.splitlines()
    return complaints[0].removeprefix(f"{name}: error: ") if complaints else "it does not say why."
