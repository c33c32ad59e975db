"""The commands that add books: the demo catalog, and CSV files."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from server.cli.context import DataOption, err, exit_with_error, open_database, out, run_in_shop
from server.runtime import ConfigurationError

ROWS_REJECTED = 3
"""Exit status of an import that left out rows."""
INTERRUPTED = 130
"""Exit status of an import that Ctrl-C ended: 128 and the number of SIGINT."""
PLAIN: Any = {"highlight": False, "markup": False, "soft_wrap": True}
"""How text of a file is printed."""


class ImportCommand(TyperCommand):
    """The command `import`, whose help names the columns; they are loaded only when help is printed."""

    def get_help(self, ctx: Any) -> str:
        """Return the help with the columns at its end."""
        from domain.book_import import OPTIONAL_COLUMNS, REQUIRED_COLUMNS

        self.epilog = (
            f"Required columns: {', '.join(REQUIRED_COLUMNS)}. Optional columns: {', '.join(OPTIONAL_COLUMNS)}."
        )
        return super().get_help(ctx)


def demo(data: DataOption = None) -> None:
    """Add the demo catalog of public-domain books. Books that exist are not changed."""
    from server.demo import load_demo

    with open_database(data) as runtime:
        out.print(f"{run_in_shop(runtime, load_demo)} books added.")


def import_books(
    file: Annotated[
        Path,
        typer.Argument(
            exists=True, dir_okay=False, readable=True, help="CSV file in UTF-8, or in UTF-16 with a byte order mark."
        ),
    ],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and count; change nothing.")] = False,
    set_stock: Annotated[
        bool, typer.Option("--set-stock", help="Set the stock of existing books, too, not only of new ones.")
    ] = False,
    price: Annotated[
        str | None, typer.Option(metavar="PRICE", help="Price of all books, for a file without a column of prices.")
    ] = None,
    column_map: Annotated[
        list[str] | None,
        typer.Option(
            "--map", metavar="COLUMN=NAME,…", help="Names that the file gives the columns, such as title=Titel."
        ),
    ] = None,
    report: Annotated[
        Path | None,
        typer.Option(help="File for rejected rows and warnings (NAME-rejected.csv in the current folder)."),
    ] = None,
    data: DataOption = None,
) -> None:
    """Add and update books by ISBN from a CSV file.

    The separator is a comma, a semicolon or a tab. A missing column changes nothing; an empty cell clears the field.
    Semicolons separate several authors. An invalid value in an optional column is left out with a warning; a row with
    another problem is rejected.

    Exit status: 0 when all rows were imported, 3 when rows were rejected, 1 when the file was refused and nothing
    was written, 130 when the import was interrupted.
    """
    from domain.book_import import ImportSummary
    from server.cli.book_import import check_file, print_summary, run_import

    report = report or Path(f"{file.stem}-rejected.csv")
    column_names, summary = _parse_column_map(column_map or []), ImportSummary()
    price = None if price is None else _parse_price(price)
    if report.exists() and report.samefile(file):
        raise typer.BadParameter("it is the file to import.", param_hint="'--report'")
    try:
        import_file = check_file(file, column_names=column_names, price=price)
    except ConfigurationError as error:
        exit_with_error(str(error))
    is_interrupted = False
    with open_database(data) as runtime:
        if import_file.ignored_columns:
            err.print(f"Unknown columns are ignored: {', '.join(import_file.ignored_columns)}", **PLAIN)
        try:
            run_in_shop(
                runtime, lambda shop: run_import(shop, import_file, summary, dry_run=dry_run, set_stock=set_stock)
            )
        except KeyboardInterrupt:
            is_interrupted = True
    print_summary(summary, report, dry_run=dry_run)
    if is_interrupted:
        count = 0 if dry_run else summary.imported
        err.print(
            f"Interrupted: {count:,} of {import_file.row_count:,} rows are imported. Run the command again to import "
            "the others.",
            **PLAIN,
        )
        raise typer.Exit(INTERRUPTED)
    if summary.rejected_rows:
        raise typer.Exit(ROWS_REJECTED)


def _parse_column_map(options: list[str]) -> dict[str, str]:
    """Return the names in the file per column of the import.

    Raises:
        BadParameter: An option is not a list of `COLUMN=NAME`, or names a column twice or one that does not exist.
    """
    from domain.book_import import OPTIONAL_COLUMNS, REQUIRED_COLUMNS

    names: dict[str, str] = {}
    for item in (item for option in options for item in option.split(",")):
        column, sign, name = (part.strip() for part in item.partition("="))
        if not sign or not name:
            raise typer.BadParameter(f"{item!r} is not of the form COLUMN=NAME.", param_hint="'--map'")
        if column not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS:
            raise typer.BadParameter(f"{column!r} is not a column of the import.", param_hint="'--map'")
        if names.setdefault(column, name) != name:
            raise typer.BadParameter(f"{column!r} is named twice.", param_hint="'--map'")
    return names


def _parse_price(option: str) -> str:
    """Return the price of all books with two decimals.

    Raises:
        BadParameter: It is not a price that the API takes.
    """
    from domain.csv_cells import parse_decimal
    from domain.validation import Validator

    validator = Validator()
    try:
        value = parse_decimal(option)
    except ValueError as error:
        raise typer.BadParameter(f"it {error}.", param_hint="'--price'") from None
    if value is None:
        raise typer.BadParameter("it is missing.", param_hint="'--price'")
    price = validator.price(("price",), value)
    if validator.errors:
        raise typer.BadParameter(validator.errors[0].message, param_hint="'--price'")
    return str(price)
