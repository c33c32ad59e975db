"""The commands that add books: the demo catalog, and CSV files."""

from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand

from server.cli.context import DataOption, open_database, out, run_in_shop


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
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV file in UTF-8.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and count; change nothing.")] = False,
    set_stock: Annotated[
        bool, typer.Option("--set-stock", help="Set the stock of existing books, too, not only of new ones.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="File for the rejected rows (NAME-rejected.csv in the current folder).")
    ] = None,
    data: DataOption = None,
) -> None:
    """Add and update books by ISBN from a CSV file.

    A missing column changes nothing; an empty cell clears the field. Semicolons separate several authors.
    """
    from server.cli.book_import import print_summary, run_import

    with open_database(data) as runtime:
        summary = run_in_shop(runtime, lambda shop: run_import(shop, file, dry_run=dry_run, set_stock=set_stock))
    print_summary(summary, report or Path(f"{file.stem}-rejected.csv"), dry_run=dry_run)
