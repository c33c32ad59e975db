"""Open the shop for a command, and report errors in one line."""

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

import typer
from rich.console import Console
from rich.markup import escape

from persistence.postgres.errors import Unavailable
from server.mail.maildir import check_maildir
from server.messages import KEY_MISMATCH
from server.runtime import DEFAULT_DATA, ConfigurationError, Runtime, resolve_runtime

if TYPE_CHECKING:
    from domain.shop import Shop

T = TypeVar("T")

out, err = Console(), Console(stderr=True)

DataOption = Annotated[
    Path | None,
    typer.Option("--data", help=f"Folder of the embedded database ({DEFAULT_DATA} when DATABASE_URL is not set)."),
]


@contextmanager
def open_database(data: Path | None, *, migrate: bool = True) -> Iterator[Runtime]:
    """Resolve the database of a command. An error becomes one line on standard error and exit code 1."""
    try:
        with resolve_runtime(data, migrate=migrate) as runtime:
            yield runtime
    except ConfigurationError as error:
        exit_with_error(str(error))
    except Unavailable as error:
        cause = error.__cause__ or error
        exit_with_error(f"The database cannot be reached: {str(cause) or type(cause).__name__}")


def exit_with_error(message: str) -> NoReturn:
    """Print one line on standard error, and exit with code 1."""
    err.print(f"[bold red]bookstore:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


async def warn_on_key_mismatch(shop: "Shop") -> None:
    """Warn on standard error if other servers of the shop use another SECRET_KEY; this can be intended."""
    await shop.secret_key_check.check(shop.database)
    if shop.secret_key_check.is_mismatched:
        err.print(f"[bold yellow]bookstore:[/] {KEY_MISMATCH}", highlight=False, soft_wrap=True)


def run_in_shop(
    runtime: Runtime, action: Callable[["Shop"], Coroutine[Any, Any, T]], *, sends_email: bool = False
) -> T:
    """Check the configuration, open the shop, and return the result of `action`.

    With `sends_email` the way that emails take is checked, too.

    Raises:
        ConfigurationError: a check failed.
    """
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
