"""Read the CSV file of `bookstore import`, and report the result."""

import csv
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path

from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from domain.book_import import (
    OPTIONAL_COLUMNS,
    REQUIRED_COLUMNS,
    ImportSummary,
    RejectedRow,
    RowParser,
    batched,
    import_batch,
)
from domain.shop import Shop
from server.cli.context import err, exit_with_error, out
from server.runtime import ConfigurationError

PROGRESS_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("rows"),
    TimeRemainingColumn(),
)


async def run_import(shop: Shop, file: Path, *, dry_run: bool, set_stock: bool) -> ImportSummary:
    """Import the rows of a CSV file, with a progress bar.

    Raises:
        ConfigurationError: The file is not a CSV file in UTF-8 with the required columns.
    """
    summary, parser, total = ImportSummary(), RowParser(), _count_rows(file)
    with Progress(*PROGRESS_COLUMNS, console=err) as progress, _open_csv(file) as rows:
        task = progress.add_task("Importing", total=total)
        for batch in batched(starmap(parser.parse, rows)):
            await import_batch(shop, batch, summary, set_stock=set_stock, dry_run=dry_run)
            progress.advance(task, len(batch))
    return summary


@contextmanager
def _open_csv(file: Path) -> Iterator[Iterator[tuple[int, dict[str, str]]]]:
    """Iterate over the rows that are not blank: the number as in a spreadsheet, and the values by column.

    Raises:
        ConfigurationError: the file is not a CSV file in UTF-8 with the required columns.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as stream:
            reader = csv.reader(stream)
            header = [name.strip().lower() for name in next(reader, [])]
            if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
                raise ConfigurationError(
                    f"{file} lacks the column {missing[0]}. Its first line must name {', '.join(REQUIRED_COLUMNS)}."
                )
            if unknown := [name for name in header if name not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]:
                err.print(f"Unknown columns are ignored: {', '.join(unknown)}", highlight=False)
            columns = [(name, index) for index, name in enumerate(header) if name not in unknown]
            yield (
                (number, {name: values[index] if index < len(values) else "" for name, index in columns})
                for number, values in enumerate(reader, start=2)
                if values
            )
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not in UTF-8: see byte {error.start} of a block.") from error
    except csv.Error as error:
        raise ConfigurationError(f"{file} is not a valid CSV file: {error}.") from error


def _count_rows(file: Path) -> int:
    with _open_csv(file) as rows:
        return sum(1 for _ in rows)


def print_summary(summary: ImportSummary, report: Path, *, dry_run: bool) -> None:
    """Print the counts and the first rejected rows, and write all rejected rows to the report."""
    table = Table(title="What would change" if dry_run else None, show_header=False, box=None, padding=(0, 2))
    for name, count in (
        ("added", summary.added),
        ("changed", summary.changed),
        ("unchanged", summary.unchanged),
        ("rejected", len(summary.rejected_rows)),
    ):
        table.add_row(name, f"{count:,}")
    out.print(table)
    if summary.rejected_rows:
        _write_report(summary.rejected_rows, report)
        for row in summary.rejected_rows[:5]:
            out.print(f"  row {row.row_number}: {row.reason}", highlight=False, markup=False, soft_wrap=True)
        out.print(f"All rejected rows are in [bold]{report}[/].", soft_wrap=True)


def _write_report(rejected_rows: list[RejectedRow], report: Path) -> None:
    try:
        with report.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("row", "reason"))
            writer.writerows((row.row_number, row.reason) for row in rejected_rows)
    except OSError as error:
        exit_with_error(f"{report} cannot be written: {error.strerror}. Name another file with --report.")
