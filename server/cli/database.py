"""The commands that migrate, export and import the whole database."""

import asyncio
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from server.cli.context import DataOption, exit_with_error, open_database, out
from server.messages import SCHEMA_OUTDATED
from server.runtime import ConfigurationError
from server.signals import defer_sigterm_on_exit, sigterm_as_exit

COUNT_ROWS_SQL = """SELECT (SELECT count(*) FROM books) AS books, (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM stock_movements) AS "stock movements",
    (SELECT count(*) FROM reviews) AS reviews, (SELECT count(*) FROM letters) AS emails"""
DUMP_ARGUMENT = typer.Argument(
    exists=True, dir_okay=False, readable=True, help="A file that `bookstore export-database` wrote."
)


def migrate(
    data: DataOption = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail if the schema is outdated.")] = False,
) -> None:
    """Migrate the database schema to this version."""
    from server.database.migrations import try_migrate
    from server.database.preflight import check_database

    with open_database(data, migrate=False) as runtime:
        url, setting = runtime.direct_url_and_setting
        error_message = asyncio.run(check_database(url, setting))
        if error_message == SCHEMA_OUTDATED and not check:
            error_message = try_migrate(url)
        if error_message:
            raise ConfigurationError(error_message)
        out.print("The database is up to date.")


def export(file: Annotated[Path, typer.Argument(help="The file to write.")], data: DataOption = None) -> None:
    """Write a snapshot of the whole database to a file, while the shop stays open.

    The file contains personal data: only its owner can read it.
    """
    with sigterm_as_exit(), open_database(data, migrate=False) as runtime, exit_on_dump_error():
        out.print(f"{_export(runtime.direct_url_and_setting[0], file)} in {file}.", highlight=False, soft_wrap=True)


def import_(file: Annotated[Path, DUMP_ARGUMENT], data: DataOption = None) -> None:
    """Fill an empty database from an exported file: to move to another server, or after a loss."""
    from server.database.preflight import check_database

    with sigterm_as_exit(), open_database(data, migrate=False) as runtime, exit_on_dump_error():
        summary = _import(file, runtime.direct_url_and_setting[0])
        error_message = asyncio.run(check_database(runtime.direct_url_and_setting[0]))
        out.print(f"{summary}. {error_message or 'The database is up to date.'}", highlight=False, soft_wrap=True)


def rehearse_restore(file: Annotated[Path | None, DUMP_ARGUMENT] = None, data: DataOption = None) -> None:
    """Import an exported file into a temporary database, migrate it, and check its invariants.

    Without a file, the current database is exported first. It is not changed.
    """
    from server.database.embedded import run_embedded_postgres

    steps = Table("step", "seconds", "", box=None, padding=(0, 2, 0, 0))
    with sigterm_as_exit(), ExitStack() as stack:
        stack.callback(lambda: out.print(steps))
        folder = Path(stack.enter_context(defer_sigterm_on_exit(tempfile.TemporaryDirectory(prefix="rehearsal-"))))
        if file is None:
            runtime = stack.enter_context(open_database(data, migrate=False))
            stack.enter_context(exit_on_dump_error())
            file = folder / "now.dump"
            _time_step(steps, "export", partial(_export, runtime.direct_url_and_setting[0], file))
        stack.enter_context(exit_on_dump_error())
        url = stack.enter_context(run_embedded_postgres(folder / "data"))
        _time_step(steps, "import", partial(_import, file, url))
        _time_step(steps, "migrate", partial(_migrate, url))
        _time_step(steps, "check", lambda: asyncio.run(_check_invariants(url)))


@contextmanager
def exit_on_dump_error() -> Iterator[None]:
    """Report a failed export or import in one line, and exit with code 1."""
    from server.database.dumps import DumpFailed

    try:
        yield
    except DumpFailed as error:
        exit_with_error(str(error))


def _time_step(table: Table, name: str, step: Callable[[], str]) -> None:
    started_at = time.monotonic()
    result = step()
    table.add_row(name, f"{time.monotonic() - started_at:.1f}", result)


def _export(url: str, file: Path) -> str:
    from server.database.dumps import dump

    dump(url, file)
    return f"{file.stat().st_size / 2**20:,.1f} MB"


def _import(file: Path, url: str) -> str:
    from server.database.dumps import after_import, restore

    restore(file, url)
    with after_import():
        return asyncio.run(_count_rows(url))


def _migrate(url: str) -> str:
    from server.database.dumps import DumpFailed
    from server.database.migrations import try_migrate
    from server.database.preflight import check_database

    error_message = asyncio.run(check_database(url))
    was_outdated = error_message == SCHEMA_OUTDATED
    if was_outdated:
        error_message = try_migrate(url)
    if error_message:
        raise DumpFailed(error_message)
    return "migrated from an earlier version" if was_outdated else "already up to date"


async def _count_rows(url: str) -> str:
    from server.database.dumps import open_connection

    async with open_connection(url) as connection:
        counts = await connection.fetchrow(COUNT_ROWS_SQL)
    assert counts is not None
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


async def _check_invariants(url: str) -> str:
    """Return how many invariants hold.

    Raises:
        DumpFailed: an invariant is violated.
    """
    from persistence.invariants import INVARIANTS, find_violations
    from server.database.dumps import DumpFailed, open_connection

    async with open_connection(url) as connection:
        violations = await find_violations(connection)
    if violations:
        raise DumpFailed(f"The imported data violates invariants. It is not true that {'; '.join(violations)}.")
    return f"{len(INVARIANTS)} invariants hold"
