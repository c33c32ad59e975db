"""Dump and restore the whole database with PostgreSQL's own programs."""

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

from persistence.postgres.connection import build_asyncpg_dsn
from server.database.embedded import get_program_path
from server.database.libpq import UnsupportedSecret, split_password

CONNECT_TIMEOUT = 5  # seconds
DUMP_TIMEOUT = 12 * 60 * 60  # seconds
NO_OWNERSHIP = ("--no-owner", "--no-privileges")  # so that another role can restore it
PSQL_OPTIONS = ("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-")
TRANSACTION_TIMEOUT_LINE = b"SET transaction_timeout = 0;\n"  # precedes all data; unknown before PostgreSQL 17
IS_EMPTY = "SELECT NOT EXISTS (SELECT FROM pg_class WHERE relnamespace = 'public'::regnamespace)"


class DumpFailed(Exception):
    """A dump or a restore failed; the message is one line for the operator."""


def dump(url: str, file: Path) -> None:
    """Write a snapshot of the database to a file that only its owner can read. It blocks migrations only.

    Raises:
        DumpFailed: the file exists, or the dump failed; then there is no file.
    """
    if file.exists():
        raise DumpFailed(f"{file} exists already. Name another file, or remove it.")
    partial_file = file.with_name(f"{file.name}.unfinished")
    try:
        partial_file.touch(mode=0o600)
        _run("pg_dump", "--format=custom", *NO_OWNERSHIP, "--lock-wait-timeout=30s", f"--file={partial_file}", url=url)
        partial_file.rename(file)
    except OSError as error:
        raise DumpFailed(f"{file} cannot be written: {error.strerror}.") from error
    finally:
        partial_file.unlink(missing_ok=True)


def restore(file: Path, url: str) -> None:
    """Restore a file into an empty database in one transaction, then update the planner's statistics.

    Raises:
        DumpFailed: the database is not empty, or the restore failed.
    """
    if not asyncio.run(_fetch_value(url, IS_EMPTY)):
        raise DumpFailed("The database is not empty. Create a new one for the import.")
    _restore_as_sql(file, url)
    with after_import():
        asyncio.run(_fetch_value(url, "ANALYZE"))


@contextlib.contextmanager
def after_import() -> Iterator[None]:
    """Report in errors of the block that the import itself succeeded."""
    try:
        yield
    except DumpFailed as error:
        raise DumpFailed(f"The import succeeded, but a later step failed. {error}") from error


@contextlib.asynccontextmanager
async def open_connection(url: str) -> AsyncIterator[asyncpg.Connection]:
    """Open a connection for a few statements. One that idled during a dump could be closed by a firewall.

    Raises:
        DumpFailed: the connection or a statement failed.
    """
    try:
        connection = await asyncpg.connect(build_asyncpg_dsn(url), timeout=CONNECT_TIMEOUT)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError) as error:
        raise DumpFailed("The database cannot be reached. Check DATABASE_URL.") from error
    try:
        yield connection
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise DumpFailed(f"The database did not respond: {error}.") from error
    finally:
        await connection.close()


async def _fetch_value(url: str, sql: str) -> Any:
    async with open_connection(url) as connection:
        return await connection.fetchval(sql, timeout=DUMP_TIMEOUT)


def _restore_as_sql(file: Path, url: str) -> None:
    """Restore through psql, so that statements unknown to older servers can be left out.

    Comments on extensions are left out, too: only a superuser may set them.
    """
    contents = _run("pg_restore", "--list", str(file))
    with tempfile.NamedTemporaryFile("w", suffix=".list") as list_file, tempfile.TemporaryFile() as error_output:
        list_file.writelines(line for line in contents.splitlines(True) if " COMMENT - EXTENSION " not in line)
        list_file.flush()
        options = ("--file=-", f"--use-list={list_file.name}", *NO_OWNERSHIP, str(file))
        psql_pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.DEVNULL, "stderr": error_output}
        with (
            _start_process("pg_restore", *options, stdout=subprocess.PIPE, stderr=error_output) as pg_restore,
            _start_process("psql", *PSQL_OPTIONS, url=url, **psql_pipes) as psql,
        ):
            _pipe_in_transaction(pg_restore, psql)
        error_output.seek(0)
        stderr = error_output.read().decode(errors="replace")
    exit_codes = {"pg_restore": pg_restore.returncode, "psql": psql.returncode}
    if any(exit_codes.values()):
        name = max(exit_codes, key=lambda it: exit_codes[it])  # the other one was killed because of it
        raise DumpFailed(f"{name} failed: {_find_first_error(stderr, name)}")


def _pipe_in_transaction(pg_restore: "subprocess.Popen[bytes]", psql: "subprocess.Popen[bytes]") -> None:
    """Pipe the SQL within a transaction, which is committed only if pg_restore succeeded."""
    assert pg_restore.stdout is not None
    assert psql.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # psql failed, and says why
        psql.stdin.write(b"BEGIN;\n")
        for line in pg_restore.stdout:
            if line == TRANSACTION_TIMEOUT_LINE:
                break
            psql.stdin.write(line)
        shutil.copyfileobj(pg_restore.stdout, psql.stdin)
        if pg_restore.wait() == 0:
            psql.stdin.write(b"COMMIT;\n")
            psql.stdin.close()
            psql.wait(DUMP_TIMEOUT)


def _run(name: str, *arguments: str, url: str | None = None) -> str:
    """Run a program to its end, and return its output."""
    command, environment = _build_command(name, *arguments, url=url)
    try:
        completed = subprocess.run(  # noqa: S603  # PostgreSQL's own program
            command, env=environment, capture_output=True, text=True, timeout=DUMP_TIMEOUT, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise DumpFailed(f"{name} did not finish within {DUMP_TIMEOUT // 3600} hours.") from error
    if completed.returncode != 0:
        raise DumpFailed(f"{name} failed: {_find_first_error(completed.stderr, name)}")
    return completed.stdout


@contextlib.contextmanager
def _start_process(
    name: str, *arguments: str, url: str | None = None, **pipes: Any
) -> Iterator["subprocess.Popen[bytes]"]:
    """Start a program, and kill it at the end of the block or after `DUMP_TIMEOUT`."""
    command, environment = _build_command(name, *arguments, url=url)
    process = subprocess.Popen(command, env=environment, **pipes)  # noqa: S603  # PostgreSQL's own program
    timer = threading.Timer(DUMP_TIMEOUT, process.kill)
    try:
        timer.start()
        yield process
    finally:
        timer.cancel()
        process.kill()
        with contextlib.suppress(BrokenPipeError), process:  # closes its pipes, and waits for it
            pass


def _build_command(name: str, *arguments: str, url: str | None) -> tuple[list[str], dict[str, str]]:
    """Return the command line and the environment. The password is in the environment, which other users cannot read."""
    command, environment = (
        [str(get_program_path(name)), *arguments],
        os.environ | {"PGCONNECT_TIMEOUT": str(CONNECT_TIMEOUT)},
    )
    if url:
        url_without_password, password = _strip_password(url)
        command.insert(1, f"--dbname={url_without_password}")
        environment |= {"PGPASSWORD": password} if password else {}
    return command, environment


def _strip_password(url: str) -> tuple[str, str]:
    try:
        return split_password(url)
    except UnsupportedSecret as secret:
        raise DumpFailed(
            f"The database URL has the parameter {secret}, which other users of this machine could read. Use a URL without it."
        ) from None


def _find_first_error(stderr: str, name: str) -> str:
    """Return the first of several errors."""
    errors = [line for line in stderr.splitlines() if "error: " in line.lower()] or stderr.splitlines()
    return errors[0].removeprefix(f"{name}: error: ") if errors else "it printed no error."
