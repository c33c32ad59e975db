"""Check and import the CSV file of `bookstore import`, and report the result."""

import csv
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from domain.book_import import (
    REQUIRED_COLUMNS,
    ImportRow,
    ImportSummary,
    RejectedRow,
    RowParser,
    batched,
    import_batch,
)
from domain.shop import Shop
from server.cli.book_columns import Column, count_known_columns, find_columns
from server.cli.context import err, exit_with_error, out
from server.cli.csv_file import CsvFile, count_line_ends, open_csv
from server.runtime import ConfigurationError

PROGRESS_COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TextColumn("rows"),
    TimeRemainingColumn(),
)
MAX_PRINTED_PROBLEMS = 5
_ISBN_LIKE = re.compile(r"""[\s"'=\[]*\d[\dXx\s\u2010-\u2015-]{8,}["'\]]*\s*""")


@dataclass(frozen=True, slots=True)
class ImportFile:
    """A file whose structure is checked.

    Attributes:
        csv: The file.
        columns: The columns of the import that it has.
        row_count: The number of rows below the header.
        price: The price of all books, for a file without prices.
    """

    csv: CsvFile
    columns: list[Column]
    row_count: int
    price: str | None

    @property
    def ignored_columns(self) -> list[str]:
        """The names of the columns that the import does not read."""
        indexes = {index for column in self.columns for index in column.indexes}
        names = (name.strip() for index, name in enumerate(self.csv.header) if index not in indexes)
        return [name for name in names if name]

    def parse_rows(self) -> Iterator[ImportRow | RejectedRow]:
        """Iterate over the rows. A row that has more or fewer values than the header is rejected.

        Raises:
            ConfigurationError: The file has changed since it was checked, and is not valid any more.
        """
        labels = {column.name: column.label for column in self.columns}
        parser = RowParser(has_decimal_comma=self.csv.separator == ";", labels=labels)
        width = len(self.csv.header)
        constant_cells = {} if self.price is None else {"price": self.price}
        for line_number, values in self.csv.read_rows():
            if len(values) != width:
                count = f"{len(values)} value{'s' if len(values) > 1 else ''}"
                yield RejectedRow(line_number, f"The row has {count}, the header has {width}.")
            else:
                cells = {column.name: column.get_cell(values) for column in self.columns}
                yield parser.parse(line_number, cells | constant_cells)


def check_file(path: Path, *, column_names: Mapping[str, str], price: str | None) -> ImportFile:
    """Read the whole file, and return it when its rows are certain. Nothing is written.

    Args:
        path: The file.
        column_names: Per column of the import its name in the file, where it differs.
        price: The price of all books, for a file without prices.

    Raises:
        ConfigurationError: The file is not a CSV file with the required columns in an encoding that is supported.
    """
    file = open_csv(path, partial(count_known_columns, names=column_names))
    columns = find_columns(path, file.header, column_names)
    names = {column.name for column in columns}
    if price is not None and "price" in names:
        raise ConfigurationError(f"{path} has a column with prices. Leave out --price.")
    required_columns = [name for name in REQUIRED_COLUMNS if not (name == "price" and price is not None)]
    if missing_columns := [name for name in required_columns if name not in names]:
        hint = " Or give all books one price with --price." if missing_columns == ["price"] else ""
        raise ConfigurationError(
            f"{path} lacks the column {missing_columns[0]}. Its first line must name {', '.join(required_columns)}, "
            f"separated by commas, semicolons or tabs.{hint}"
        )
    isbn_indexes = next(column.indexes for column in columns if column.name == "isbn")
    row_count = 0
    for line_number, values in file.read_rows():
        row_count += 1
        for index, value in enumerate(values):
            if ("\n" in value or "\r" in value) and _has_swallowed_row(file, values, index, isbn_indexes):
                quote_line = line_number + sum(map(count_line_ends, values[:index]))
                raise ConfigurationError(
                    f"{path} line {quote_line}: a quotation mark opens a value here that holds the next rows of the "
                    "file. Close or remove it."
                )
    return ImportFile(file, columns, row_count, price)


def _has_swallowed_row(file: CsvFile, values: Sequence[str], index: int, isbn_indexes: Sequence[int]) -> bool:
    """Return whether a line within a value is a row of the file: it has an ISBN and all values of the header."""
    lines = re.split(r"\r\n|\r|\n", values[index])
    for number, line in enumerate(lines[1:], start=2):
        parts = next(csv.reader([line], delimiter=file.separator), [])
        following = len(values) - index - 1 if number == len(lines) else 0
        isbns = (parts[isbn_index] for isbn_index in isbn_indexes if isbn_index < len(parts))
        if len(parts) + following == len(file.header) and any(map(_ISBN_LIKE.fullmatch, isbns)):
            return True
    return False


async def run_import(shop: Shop, file: ImportFile, summary: ImportSummary, *, dry_run: bool, set_stock: bool) -> None:
    """Import the rows of a file, with a progress bar. `summary` has the rows that are in, also after an error.

    Raises:
        ConfigurationError: The file has changed since it was checked, and is not valid any more.
    """
    with Progress(*PROGRESS_COLUMNS, console=err) as progress:
        task = progress.add_task("Importing", total=file.row_count)
        for batch in batched(file.parse_rows()):
            await import_batch(shop, batch, summary, set_stock=set_stock, dry_run=dry_run)
            progress.advance(task, len(batch))


def print_summary(summary: ImportSummary, report: Path, *, dry_run: bool) -> None:
    """Print the counts and the first problems, and write all rejected rows and warnings to the report."""
    table = Table(title="What would change" if dry_run else None, show_header=False, box=None, padding=(0, 2))
    for name, count in (
        ("added", summary.added),
        ("changed", summary.changed),
        ("unchanged", summary.unchanged),
        ("rejected", len(summary.rejected_rows)),
        ("warnings", len(summary.warnings)),
    ):
        table.add_row(name, f"{count:,}")
    out.print(table)
    if not summary.rejected_rows and not summary.warnings:
        return
    _write_report(summary, report)
    for row in summary.rejected_rows[:MAX_PRINTED_PROBLEMS]:
        _print_line(f"  line {row.line_number}: {row.reason}")
    for warning in summary.warnings[:MAX_PRINTED_PROBLEMS]:
        _print_line(f"  line {warning.line_number}, without {warning.column}: {warning.reason}")
    out.print(f"All rejected rows and warnings are in [bold]{escape(str(report))}[/].", soft_wrap=True)


def _print_line(line: str) -> None:
    out.print(line, highlight=False, markup=False, soft_wrap=True)


def _write_report(summary: ImportSummary, report: Path) -> None:
    rejected_rows = [(row.line_number, "rejected", "", row.reason) for row in summary.rejected_rows]
    warnings = [(warning.line_number, "warning", warning.column, warning.reason) for warning in summary.warnings]
    try:
        with report.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("line", "severity", "column", "reason"))
            writer.writerows(sorted(rejected_rows + warnings))
    except OSError as error:
        exit_with_error(f"{report} cannot be written: {error.strerror}. Name another file with --report.")
