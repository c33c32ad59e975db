"""How a command gets to the shop, and says in one line what keeps it from there."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from domain.shop import Shop
from persistence.postgres.errors import Unavailable
from server.mail.maildir import check_maildir
from server.runtime import DEFAULT_DATA, ConfigurationError, Runtime, resolve_runtime

T = TypeVar("T")

out, err = Console(), Console(stderr=True)

SECRET_KEY_MISMATCH = (
    "SECRET_KEY is none of those that this shop was run with last: access tokens of other servers are refused here,"
    " and links in letters wait for the key that they were made with. To change it, name both for a while: NEW,OLD."
)

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help=f"Folder of the embedded database ({DEFAULT_DATA} when DATABASE_URL is not set)."),
]


@contextmanager
def open_database(data: Path | None, *, migrate: bool = True) -> Iterator[Runtime]:
    """What goes wrong is one line on standard error and exit code 1."""
    try:
        with resolve_runtime(data, migrate=migrate) as runtime:
            yield runtime
    except ConfigurationError as error:
        exit_with_error(str(error))
    except Unavailable as error:
        cause = error.__cause__ or error
        exit_with_error(f"The database cannot be reached: {str(cause) or type(cause).__name__}")


def exit_with_error(message: str) -> NoReturn:
    err.print(f"[bold red]bookstore:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


async def warn_on_key_mismatch(shop: Shop) -> None:
    """On standard error, for it may be meant so."""
    await shop.secret_key_check.check(shop.database)
    if shop.secret_key_check.is_mismatched:
        err.print(f"[bold yellow]bookstore:[/] {SECRET_KEY_MISMATCH}", highlight=False, soft_wrap=True)


def run_in_shop(runtime: Runtime, action: Callable[[Shop], Coroutine[Any, Any, T]], *, sends_email: bool = False) -> T:
    """`posts` where letters will be posted, for which more has to be as it should."""
    from server.app import build_shop  # loads the whole schema, which `--help` does not need
    from server.database.preflight import check_database_urls

    async def run() -> T:
        if error_message := await check_database_urls(runtime.settings, sends_email=sends_email):
            raise ConfigurationError(error_message)
        if sends_email and (error_message := check_maildir(runtime.settings)):
            raise ConfigurationError(error_message)
        shop = build_shop(runtime.settings)
        async with shop.database:
            return await action(shop)

    return asyncio.run(run())
