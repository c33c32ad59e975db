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

from domain.errors import InvalidCredentials, InvalidInput
from domain.importing import OPTIONAL_COLUMNS, REQUIRED_COLUMNS, Feed, Rejection, Summary, batches, import_batch
from domain.shop import Shop
from server.commands import dumps, letters, schema
from server.commands.opening import Data, err, fail, in_shop, opened, out, warn_of_strange_keys
from server.place import DEFAULT_DATA, Misconfigured, Place, export
from server.settings import Settings
from server.watching import try_metrics_address, watched

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


BEGIN_TIMEOUT = 30  # seconds for one of several processes to begin, on a machine that does other things

# ── Serving ───────────────────────────────────────────────────────────────────────────────


@app.command()
def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.", min=0, max=65535)] = None,
    workers: Annotated[int, typer.Option(help="Processes to serve with.", min=1, max=64)] = 1,
    data: Data = None,
    no_demo: Annotated[bool, typer.Option("--no-demo", help="Leave an empty catalogue empty.")] = False,
    no_worker: Annotated[bool, typer.Option("--no-worker", help="Leave the letters to `bookstore worker`.")] = False,
    reload: Annotated[bool, typer.Option("--reload", help="Start again when the source changes.")] = False,
) -> None:
    """Open the shop: serve GraphQL, with an embedded PostgreSQL unless DATABASE_URL is set."""
    import uvicorn

    from graph.patience import TIMEOUT
    from server.trusted import documents_of

    with opened(data) as found:
        given: dict[str, Any] = {"host": host, "port": port, "worker": False if no_worker else None}
        if workers > 1:
            given["rate_limit_storage"] = found.settings.rate_limit_storage or "postgresql"
        settings = found.settings.model_copy(update={name: value for name, value in given.items() if value is not None})
        documents_of(settings)  # told here in one line, where processes would each tell it in a traceback
        asyncio.run(_try_address(settings.host, settings.port))
        try_metrics_address(settings)
        wanted = found.is_embedded and not no_demo
        loaded = in_shop(found, lambda shop: _made_ready(shop, wanted=wanted), posts=settings.worker)
        _welcome(settings, found, loaded)
        export(settings)
        several = workers > 1 or reload
        app = "server.workers:create_app" if several else "server.app:create_app"
        options: dict[str, Any] = {
            "factory": True,
            "host": settings.host,
            "port": settings.port,
            "access_log": False,
            "log_level": "warning",
            "server_header": False,
            "proxy_headers": False,  # TRUSTED_PROXIES says whom the app believes
            "timeout_graceful_shutdown": TIMEOUT,  # after which every answer is there
            "timeout_worker_healthcheck": BEGIN_TIMEOUT,
        }
        with watched(settings, several=several):
            if several and not reload:
                from server.workers import Workers

                config = uvicorn.Config(app, workers=workers, **options)
                Workers(config, sockets=[config.bind_socket()]).run()
            else:
                reloaded = ["graph", "domain", "persistence", "server"] if reload else None
                uvicorn.run(app, reload=reload, reload_dirs=reloaded, **options)


async def _try_address(host: str, port: int) -> None:
    try:
        (await asyncio.start_server(lambda *_: None, host, port)).close()
    except OSError as error:
        raise Misconfigured(
            f"Cannot listen at {host}:{port}: {error.strerror}. Choose others with --host and --port."
        ) from error


async def _made_ready(shop: Shop, *, wanted: bool) -> int:
    """How many demo books were loaded, which are there in an empty shop where they are wanted."""
    from persistence.catalog import is_empty
    from server.demo import load_demo

    await warn_of_strange_keys(shop)
    return await load_demo(shop) if wanted and await is_empty(shop.database.reading) else 0


def _welcome(settings: Settings, found: Place, loaded: int) -> None:
    host, port = settings.host, settings.port
    shown = "localhost" if host in ("127.0.0.1", "::1", "0.0.0.0") else host  # noqa: S104  # only compared
    out.print()
    out.print("  [bold]The bookstore is open.[/]")
    out.print(
        f"  GraphQL       http://{shown}:{port}/graphql" + ("   (GraphiQL in a browser)" if settings.playground else "")
    )
    out.print(
        f"  Database      {f'embedded, in {found.data}' if found.is_embedded else 'DATABASE_URL'}", soft_wrap=True
    )
    out.print(f"  Letters       {letters.whereabouts(settings)}", soft_wrap=True)
    if loaded:
        out.print(f"  Catalogue     {loaded} demo books loaded")
    where = f" --data {found.data}" if found.data not in (None, DEFAULT_DATA.resolve()) else ""
    out.print(
        f"  Administrator [cyan]bookstore admin create you@example.com{where}[/]  (in another terminal)",
        soft_wrap=True,
    )
    out.print("  Stop          Ctrl+C")
    out.print()


# ── Letters ───────────────────────────────────────────────────────────────────────────────

app.command("worker")(letters.work)
app.command("letters")(letters.show)


# ── Data ──────────────────────────────────────────────────────────────────────────────────


@app.command()
def migrate(
    data: Data = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; fail when the tables are behind.")] = False,
) -> None:
    """Bring the database to this version's tables."""
    from server import migrating

    with opened(data, migrated=False) as found:
        url, name = found.direct
        problem = asyncio.run(migrating.problem_with(url, name))
        if problem == migrating.BEHIND and not check:
            problem = migrating.problem_of(url)
        if problem:
            raise Misconfigured(problem)
        out.print("The database is up to date.")


app.command("export-database")(dumps.export)
app.command("import-database")(dumps.import_)
app.command("rehearse-restore")(dumps.rehearse)


@app.command()
def demo(data: Data = None) -> None:
    """Add the demo catalogue: books in the public domain. Those that are there already stay as they are."""
    from server.demo import load_demo

    with opened(data) as found:
        out.print(f"{in_shop(found, load_demo)} books added.")


@app.command("import")
def import_feed(
    file: Annotated[Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="CSV file in UTF-8.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Check and count; change nothing.")] = False,
    set_stock: Annotated[
        bool, typer.Option("--set-stock", help="Set the stock of known books, too, not of new ones alone.")
    ] = False,
    report: Annotated[
        Path | None, typer.Option(help="Where to list the rows left out (NAME-rejected.csv in the current folder).")
    ] = None,
    data: Data = None,
) -> None:
    """Add and change books by ISBN from a CSV file.

    Columns: isbn, title, price; optional: author (several by ;), genre, stock, cover_url, subtitle, description,
    format, publisher, published_on, page_count, language. A column left out changes nothing; an empty value clears.
    """
    with opened(data) as found:
        summary = in_shop(found, lambda shop: _import(shop, file, dry_run=dry_run, set_stock=set_stock))
    _tell(summary, report or Path(f"{file.stem}-rejected.csv"), dry_run=dry_run)


async def _import(shop: Shop, file: Path, *, dry_run: bool, set_stock: bool) -> Summary:
    summary, feed, total = Summary(), Feed(), _count_rows(file)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("rows"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=err) as progress, _reader(file) as rows:
        task = progress.add_task("Importing", total=total)
        for batch in batches(starmap(feed.read, rows)):
            await import_batch(shop, batch, summary, set_stock=set_stock, dry_run=dry_run)
            progress.advance(task, len(batch))
    return summary


@contextmanager
def _reader(file: Path) -> Iterator[Iterator[tuple[int, dict[str, str]]]]:
    """The rows by column, numbered as in a spreadsheet; blank ones are passed over.

    Raises `Misconfigured` for a file that is no such feed.
    """
    try:
        with file.open(encoding="utf-8-sig", newline="") as text:
            reader = csv.reader(text)
            header = [name.strip().lower() for name in next(reader, [])]
            if missing := [name for name in REQUIRED_COLUMNS if name not in header]:
                raise Misconfigured(
                    f"{file} lacks the column {missing[0]}. Its first line must name {', '.join(REQUIRED_COLUMNS)}."
                )
            if unknown := [name for name in header if name not in REQUIRED_COLUMNS + OPTIONAL_COLUMNS]:
                err.print(f"Columns without a meaning here are passed over: {', '.join(unknown)}", highlight=False)
            known = [(name, place) for place, name in enumerate(header) if name not in unknown]
            yield (
                (number, {name: values[place] if place < len(values) else "" for name, place in known})
                for number, values in enumerate(reader, start=2)
                if values
            )
    except UnicodeDecodeError as error:
        raise Misconfigured(f"{file} is not in UTF-8: byte {error.start} of a block does not fit.") from error
    except csv.Error as error:
        raise Misconfigured(f"{file} is no CSV: {error}.") from error


def _count_rows(file: Path) -> int:
    with _reader(file) as rows:
        return sum(1 for _ in rows)


def _tell(summary: Summary, report: Path, *, dry_run: bool) -> None:
    table = Table(title="What would change" if dry_run else None, show_header=False, box=None, padding=(0, 2))
    for name, count in (
        ("added", summary.added),
        ("changed", summary.changed),
        ("unchanged", summary.unchanged),
        ("left out", len(summary.rejections)),
    ):
        table.add_row(name, f"{count:,}")
    out.print(table)
    if summary.rejections:
        _write_report(summary.rejections, report)
        for rejection in summary.rejections[:5]:
            out.print(f"  row {rejection.row}: {rejection.reason}", highlight=False, markup=False, soft_wrap=True)
        out.print(f"Each row that was left out is in [bold]{report}[/].", soft_wrap=True)


def _write_report(rejections: list[Rejection], report: Path) -> None:
    try:
        with report.open("w", encoding="utf-8", newline="") as text:
            writer = csv.writer(text)
            writer.writerow(("row", "reason"))
            writer.writerows((rejection.row, rejection.reason) for rejection in rejections)
    except OSError as error:
        fail(f"{report} cannot list the rows left out: {error.strerror}. Name another file with --report.")


# ── Administrators ────────────────────────────────────────────────────────────────────────


@admin.command("create")
def create_administrator(email: str, data: Data = None) -> None:
    """Make an administrator of a new account or of one that exists.

    The password is asked for, or taken from BOOKSTORE_ADMIN_PASSWORD. An account that exists keeps its own when none is
    given; with a new one, whoever is signed in to it is signed out.
    """
    from domain.accounts import make_administrator

    password = os.environ.get("BOOKSTORE_ADMIN_PASSWORD") or None
    if password is None and sys.stdin.isatty():
        password = typer.prompt(
            "Password (empty keeps that of an account that exists)", default="", show_default=False, hide_input=True
        ) or None  # fmt: skip
    with opened(data) as found:
        try:
            user, is_new = in_shop(found, lambda shop: make_administrator(shop, email, password))
        except InvalidInput as error:
            raise Misconfigured("\n".join(issue.message for issue in error.issues)) from error
        except InvalidCredentials as error:
            raise Misconfigured("There is no such account yet. Set BOOKSTORE_ADMIN_PASSWORD to make it.") from error
    out.print(f"{user.email} is an administrator" + (" with a new account." if is_new else " now."), highlight=False)


@admin.command("revoke")
def revoke_administrator(email: str, data: Data = None) -> None:
    """Make an administrator a customer again."""
    from domain.accounts import unmake_administrator

    with opened(data) as found:
        user = in_shop(found, lambda shop: unmake_administrator(shop, email))
        if user is None:
            raise Misconfigured(f"{email} is no administrator.")
    out.print(f"{user.email} is a customer again.", highlight=False)
