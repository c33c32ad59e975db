"""The command line."""

import asyncio
import csv
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import starmap
from pathlib import Path
from typing import Annotated, Any

import typer
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
from domain.errors import InvalidCredentials, InvalidInput
from domain.shop import Shop
from server.cli import dumps, emails, schema
from server.cli.context import DataOption, err, exit_with_error, open_database, out, run_in_shop, warn_on_key_mismatch
from server.observability.setup import check_metrics_address, collect_process_metrics
from server.runtime import DEFAULT_DATA, ConfigurationError, Runtime, export_to_environment
from server.settings import Settings

app = typer.Typer(
    name="bookstore",
    help="A bookshop that answers GraphQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
admin = typer.Typer(help="Make and unmake administrators.", no_args_is_help=True)
app.add_typer(admin, name="admin")
app.add_typer(schema.app, name="schema")


WORKER_START_TIMEOUT = 30  # seconds for one of several processes to begin, on a machine that does other things

# ── Serving ───────────────────────────────────────────────────────────────────────────────


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=0, max=65535)] = None,
    workers: Annotated[int, typer.Option(help="Processes to serve with.", min=1, max=64)] = 1,
    data: DataOption = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Leave an empty catalogue empty.")] = False,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Leave the letters to `bookstore worker`.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when the source changes.")] = False,
) -> None:
    """Open the shop: serve GraphQL, with an embedded PostgreSQL unless DATABASE_URL is set."""
    import uvicorn

    from graph.execution.deadline import EXECUTION_TIMEOUT
    from server.http.trusted_documents import build_documents

    with open_database(data) as runtime:
        overrides: dict[str, Any] = {"host": host, "port": port, "worker": False if no_worker else None}
        if workers > 1:
            overrides["rate_limit_storage"] = runtime.settings.rate_limit_storage or "postgresql"
        settings = runtime.settings.model_copy(
            update={name: value for name, value in overrides.items() if value is not None}
        )
        build_documents(settings)  # told here in one line, where processes would each tell it in a traceback
        asyncio.run(_check_listen_address(settings.host, settings.port))
        check_metrics_address(settings)
        with_demo = runtime.is_embedded and not no_demo
        demo_count = run_in_shop(
            runtime, lambda shop: _prepare_shop(shop, with_demo=with_demo), sends_email=settings.worker
        )
        _print_welcome(settings, runtime, demo_count)
        export_to_environment(settings)
        is_multiprocess = workers > 1 or reload
        app_path = "server.supervisor:create_app" if is_multiprocess else "server.app:create_app"
        options: dict[str, Any] = {
            "factory": True,
            "host": settings.host,
            "port": settings.port,
            "access_log": False,
            "log_level": "warning",
            "server_header": False,
            "proxy_headers": False,  # TRUSTED_PROXIES says whom the app believes
            "timeout_graceful_shutdown": EXECUTION_TIMEOUT,  # after which every answer is there
            "timeout_worker_healthcheck": WORKER_START_TIMEOUT,
        }
        with collect_process_metrics(settings, is_multiprocess=is_multiprocess):
            if is_multiprocess and not reload:
                from server.supervisor import WorkerSupervisor

                config = uvicorn.Config(app_path, workers=workers, **options)
                WorkerSupervisor(config, sockets=[config.bind_socket()]).run()
            else:
                reload_dirs = ["graph", "domain", "persistence", "server"] if reload else None
                uvicorn.run(app_path, reload=reload, reload_dirs=reload_dirs, **options)


async def _check_listen_address(host: str, port: int) -> None:
    try:
        (await asyncio.start_server(lambda *_: None, host, port)).close()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot listen at {host}:{port}: {error.strerror}. Choose others with --host and --port."
        ) from error


async def _prepare_shop(shop: Shop, *, with_demo: bool) -> int:
    """How many demo books were loaded, which are there in an empty shop where they are wanted."""
    from persistence.catalog import is_empty
    from server.demo import load_demo

    await warn_on_key_mismatch(shop)
    return await load_demo(shop) if with_demo and await is_empty(shop.database.read_session) else 0


def _print_welcome(settings: Settings, runtime: Runtime, demo_count: int) -> None:
    host, port = settings.host, settings.port
    display_host = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0") else host  # noqa: S104  # only compared
    out.print()
    out.print("  [bold]The bookstore is open.[/]")
    out.print(
        f"  GraphQL       http://{display_host}:{port}/graphql"
        + ("   (GraphiQL in a browser)" if settings.serves_graphiql else "")
    )
    out.print(
        f"  Database      {f'embedded, in {runtime.data}' if runtime.is_embedded else 'DATABASE_URL'}", soft_wrap=True
    )
    out.print(f"  Letters       {emails.describe_delivery(settings)}", soft_wrap=True)
    if demo_count:
        out.print(f"  Catalogue     {demo_count} demo books loaded")
    data_option = f" --data {runtime.data}" if runtime.data not in (None, DEFAULT_DATA.resolve()) else ""
    out.print(
        f"  Administrator [cyan]bookstore admin create you@example.com{data_option}[/]  (in another terminal)",
        soft_wrap=True,
    )
    out.print("  Stop          Ctrl+C")
    out.print()


# ── Letters ───────────────────────────────────────────────────────────────────────────────

app.command("worker")(emails.run_worker)
app.command("letters")(emails.manage_failed)


# ── Data ──────────────────────────────────────────────────────────────────────────────────


@app.command()
def migrate(
    data: DataOption = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail when the tables are behind.")] = False,
) -> None:
    """Bring the database to this version's tables."""
    from server.database import migrations

    with open_database(data, migrate=False) as runtime:
        url, setting_name = runtime.direct_url_and_setting
        error_message = asyncio.run(migrations.check_database(url, setting_name))
        if error_message == migrations.SCHEMA_OUTDATED and not check:
            error_message = migrations.try_migrate(url)
        if error_message:
            raise ConfigurationError(error_message)
        out.print("The database is up to date.")


app.command("export-database")(dumps.export)
app.command("import-database")(dumps.import_)
app.command("rehearse-restore")(dumps.rehearse_restore)


@app.command()
def demo(data: DataOption = None) -> None:
    """Add the demo catalogue: books in the public domain. Those that are there already stay as they are."""
    from server.demo import load_demo

    with open_database(data) as runtime:
        out.print(f"{run_in_shop(runtime, load_demo)} books added.")


@app.command(
    "import",
    epilog=f"Required columns: {', '.join(REQUIRED_COLUMNS)}. Optional columns: {', '.join(OPTIONAL_COLUMNS)}.",
)
def import_books(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV file in UTF-8.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and count; change nothing.")] = False,
    set_stock: Annotated[
        bool, typer.Option("--set-stock", help="Set the stock of known books, too, not of new ones alone.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Where to list the rows left out (NAME-rejected.csv in the current folder).")
    ] = None,
    data: DataOption = None,
) -> None:
    """Add and update books by ISBN from a CSV file.

    A missing column changes nothing; an empty cell clears the field. Semicolons separate several authors.
    """
    with open_database(data) as runtime:
        summary = run_in_shop(runtime, lambda shop: _run_import(shop, file, dry_run=dry_run, set_stock=set_stock))
    _print_summary(summary, report or Path(f"{file.stem}-rejected.csv"), dry_run=dry_run)


async def _run_import(shop: Shop, file: Path, *, dry_run: bool, set_stock: bool) -> ImportSummary:
    summary, parser, total = ImportSummary(), RowParser(), _count_rows(file)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress, _open_csv(file) as rows:
        task = progress.add_task("Importing", total=total)
        for batch in batched(starmap(parser.parse, rows)):
            await import_batch(shop, batch, summary, set_stock=set_stock, dry_run=dry_run)
            progress.advance(task, len(batch))
    return summary


@contextmanager
def _open_csv(file: Path) -> Iterator[Iterator[tuple[int, dict[str, str]]]]:
    """The rows by column, numbered as in a spreadsheet; blank ones are passed over.

    Raises `Misconfigured` for a file that is no such feed.
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
                err.print(f"Columns without a meaning here are passed over: {', '.join(unknown)}", highlight=False)
            columns = [(name, place) for place, name in enumerate(header) if name not in unknown]
            yield (
                (number, {name: values[place] if place < len(values) else "" for name, place in columns})
                for number, values in enumerate(reader, start=2)
                if values
            )
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"{file} is not in UTF-8: byte {error.start} of a block does not fit.") from error
    except csv.Error as error:
        raise ConfigurationError(f"{file} is no CSV: {error}.") from error


def _count_rows(file: Path) -> int:
    with _open_csv(file) as rows:
        return sum(1 for _ in rows)


def _print_summary(summary: ImportSummary, report: Path, *, dry_run: bool) -> None:
    table = Table(title="What would change" if dry_run else None, show_header=False, box=None, padding=(0, 2))
    for name, count in (
        ("added", summary.added),
        ("changed", summary.changed),
        ("unchanged", summary.unchanged),
        ("left out", len(summary.rejected_rows)),
    ):
        table.add_row(name, f"{count:,}")
    out.print(table)
    if summary.rejected_rows:
        _write_report(summary.rejected_rows, report)
        for rejection in summary.rejected_rows[:5]:
            out.print(
                f"  row {rejection.row_number}: {rejection.reason}", highlight=False, markup=False, soft_wrap=True
            )
        out.print(f"Each row that was left out is in [bold]{report}[/].", soft_wrap=True)


def _write_report(rejections: list[RejectedRow], report: Path) -> None:
    try:
        with report.open("w", encoding="utf-8", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("row", "reason"))
            writer.writerows((rejection.row_number, rejection.reason) for rejection in rejections)
    except OSError as error:
        exit_with_error(f"{report} cannot list the rows left out: {error.strerror}. Name another file with --report.")


# ── Administrators ────────────────────────────────────────────────────────────────────────


@admin.command("create")
def admin_create(email: str, data: DataOption = None) -> None:
    """Make an administrator of a new account or of one that exists.

    The password is asked for, or taken from BOOKSTORE_ADMIN_PASSWORD. An account that exists keeps its own when none is
    given; with a new one, whoever is signed in to it is signed out.
    """
    from domain.accounts import grant_admin

    password = os.environ.get("BOOKSTORE_ADMIN_PASSWORD") or None
    if password is None and sys.stdin.isatty():
        password = typer.prompt(
            "Password (empty keeps that of an account that exists)", default="", show_default=False, hide_input=True
        ) or None  # fmt: skip
    with open_database(data) as runtime:
        try:
            user, is_new = run_in_shop(runtime, lambda shop: grant_admin(shop, email, password))
        except InvalidInput as error:
            raise ConfigurationError("\n".join(issue.message for issue in error.issues)) from error
        except InvalidCredentials as error:
            raise ConfigurationError(
                "There is no such account yet. Set BOOKSTORE_ADMIN_PASSWORD to make it."
            ) from error
    out.print(f"{user.email} is an administrator" + (" with a new account." if is_new else " now."), highlight=False)


@admin.command("revoke")
def admin_revoke(email: str, data: DataOption = None) -> None:
    """Make an administrator a customer again."""
    from domain.accounts import revoke_admin

    with open_database(data) as runtime:
        user = run_in_shop(runtime, lambda shop: revoke_admin(shop, email))
        if user is None:
            raise ConfigurationError(f"{email} is no administrator.")
    out.print(f"{user.email} is a customer again.", highlight=False)
