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

from server.commands.opening import Data, fail, opened, out
from server.leaving import put_away, tidily

COUNTS = """SELECT (SELECT count(*) FROM books) AS books, (SELECT count(*) FROM users) AS users,
    (SELECT count(*) FROM orders) AS orders, (SELECT count(*) FROM stock_movements) AS "stock movements",
    (SELECT count(*) FROM reviews) AS reviews, (SELECT count(*) FROM letters) AS letters"""
Given = typer.Argument(exists=True, dir_okay=False, readable=True, help="As `bookstore export-database` writes it.")


def export(file: Annotated[Path, typer.Argument(help="The file to write.")], data: Data = None) -> None:
    """Write the whole database to a file, as it is at this moment; the shop stays open.

    All that customers trust the shop with is in it: its owner alone may read it.
    """
    with tidily(), opened(data, migrated=False) as found, failing():
        out.print(f"{_exported(found.direct[0], file)} in {file}.", highlight=False, soft_wrap=True)


def import_(file: Annotated[Path, Given], data: Data = None) -> None:
    """Fill an empty database from an exported one: to move to another server, or after a loss."""
    from server.migrating import problem_with

    with tidily(), opened(data, migrated=False) as found, failing():
        told = _imported(file, found.direct[0])
        problem = asyncio.run(problem_with(found.direct[0]))
        out.print(f"{told}. {problem or 'The database is up to date.'}", highlight=False, soft_wrap=True)


def rehearse(file: Annotated[Path | None, Given] = None, data: Data = None) -> None:
    """Read an exported database back into one made for the moment, migrate it, and check that it is sound.

    Without a file, the database as it is now is exported first. Nothing in it is changed.
    """
    from server.embedded import embedded

    steps = Table("step", "seconds", "", box=None, padding=(0, 2, 0, 0))
    with tidily(), ExitStack() as stack:
        stack.callback(lambda: out.print(steps))
        folder = Path(stack.enter_context(put_away(tempfile.TemporaryDirectory(prefix="rehearsal-"))))
        if file is None:
            found = stack.enter_context(opened(data, migrated=False))
            stack.enter_context(failing())
            file = folder / "now.dump"
            _take(steps, "export", partial(_exported, found.direct[0], file))
        stack.enter_context(failing())
        url = stack.enter_context(embedded(folder / "data"))
        _take(steps, "import", partial(_imported, file, url))
        _take(steps, "migrate", partial(_migrated, url))
        _take(steps, "check", lambda: asyncio.run(_sound(url)))


@contextmanager
def failing() -> Iterator[None]:
    """What goes wrong with a file is one line, too."""
    from server.dumps import DumpFailed

    try:
        yield
    except DumpFailed as error:
        fail(str(error))


def _take(steps: Table, name: str, work: Callable[[], str]) -> None:
    began = time.monotonic()
    told = work()
    steps.add_row(name, f"{time.monotonic() - began:.1f}", told)


def _exported(url: str, file: Path) -> str:
    from server.dumps import dump

    dump(url, file)
    return f"{file.stat().st_size / 2**20:,.1f} MB"


def _imported(file: Path, url: str) -> str:
    from server.dumps import all_being_there, restore

    restore(file, url)
    with all_being_there():
        return asyncio.run(_rows(url))


def _migrated(url: str) -> str:
    from server.dumps import DumpFailed
    from server.migrating import BEHIND, problem_of, problem_with

    problem = asyncio.run(problem_with(url))
    was_behind = problem == BEHIND
    if was_behind:
        problem = problem_of(url)
    if problem:
        raise DumpFailed(problem)
    return "it was of an earlier version" if was_behind else "it was up to date"


async def _rows(url: str) -> str:
    from server.dumps import connected

    async with connected(url) as connection:
        counts = await connection.fetchrow(COUNTS)
    assert counts is not None
    return ", ".join(f"{count:,} {name}" for name, count in counts.items())


async def _sound(url: str) -> str:
    """Raises `DumpFailed` where it is not."""
    from persistence.invariants import INVARIANTS, violated
    from server.dumps import DumpFailed, connected

    async with connected(url) as connection:
        broken = await violated(connection)
    if broken:
        raise DumpFailed(f"What was read back is not sound. It is not true that {'; '.join(broken)}.")
    return f"{len(INVARIANTS)} invariants hold"
