"""The whole database on the command line: written to a file, read back, and the rehearsal of both."""

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
from server.signals import defer_sigterm_on_exit, sigterm_as_exit

COUNT_ROWS_SQL = """SELECT (SELECT count(*) FROM books) AS books, (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM stock_movements) AS "stock movements",
    (SELECT count(*) FROM reviews) AS reviews, (SELECT count(*) FROM letters) AS letters"""
DUMP_ARGUMENT = typer.Argument(
    exists=True, dir_okay=False, readable=True, help="As `bookstore export-database` writes it."
)


def export(file: Annotated[Path, typer.Argument(help="The file to write.")], data: DataOption = None) -> None:
    """Write the whole database to a file, as it is at this moment; the shop stays open.

    All that customers trust the shop with is in it: its owner alone may read it.
    """
    with sigterm_as_exit(), open_database(data, migrate=False) as runtime, exit_on_dump_error():
        out.print(f"{_export(runtime.direct_url_and_setting[0], file)} in {file}.", highlight=False, soft_wrap=True)


def import_(file: Annotated[Path, DUMP_ARGUMENT], data: DataOption = None) -> None:
    """Fill an empty database from an exported one: to move to another server, or after a loss."""
    from server.database.migrations import check_database

    with sigterm_as_exit(), open_database(data, migrate=False) as runtime, exit_on_dump_error():
        summary = _import(file, runtime.direct_url_and_setting[0])
        error_message = asyncio.run(check_database(runtime.direct_url_and_setting[0]))
        out.print(f"{summary}. {error_message or 'The database is up to date.'}", highlight=False, soft_wrap=True)


def rehearse_restore(file: Annotated[Path | None, DUMP_ARGUMENT] = None, data: DataOption = None) -> None:
    """Read an exported database back into one made for the moment, migrate it, and check that it is sound.

    Without a file, the database as it is now is exported first. Nothing in it is changed.
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
    """What goes wrong with a file is one line, too."""
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
    from server.database.migrations import SCHEMA_OUTDATED, check_database, try_migrate

    error_message = asyncio.run(check_database(url))
    was_outdated = error_message == SCHEMA_OUTDATED
    if was_outdated:
        error_message = try_migrate(url)
    if error_message:
        raise DumpFailed(error_message)
    return "it was of an earlier version" if was_outdated else "it was up to date"


async def _count_rows(url: str) -> str:
    from server.database.dumps import open_connection

    async with open_connection(url) as connection:
        counts = await connection.fetchrow(COUNT_ROWS_SQL)
    assert counts is not None
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


async def _check_invariants(url: str) -> str:
    """Raises `DumpFailed` where it is not."""
    from persistence.invariants import INVARIANTS, find_violations
    from server.database.dumps import DumpFailed, open_connection

    async with open_connection(url) as connection:
        violations = await find_violations(connection)
    if violations:
        raise DumpFailed(f"What was read back is not sound. It is not true that {'; '.join(violations)}.")
    return f"{len(INVARIANTS)} invariants hold"
