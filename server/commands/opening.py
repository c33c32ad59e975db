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
from persistence.faults import Unavailable
from server.place import DEFAULT_DATA, Misconfigured, Place, place
from server.post.maildir import problem_with_maildir

T = TypeVar("T")

out, err = Console(), Console(stderr=True)

STRANGE_KEYS = (
    "SECRET_KEY is none of those that this shop was run with last: access tokens of other servers are refused here,"
    " and links in letters wait for the key that they were made with. To change it, name both for a while: NEW,OLD."
)

Data = Annotated[
    Path | None,
    typer.Option("--data", help=f"Folder of the embedded database ({DEFAULT_DATA} when DATABASE_URL is not set)."),
]


@contextmanager
def opened(data: Path | None, *, migrated: bool = True) -> Iterator[Place]:
    """What goes wrong is one line on standard error and exit code 1."""
    try:
        with place(data, migrated=migrated) as found:
            yield found
    except Misconfigured as error:
        fail(str(error))
    except Unavailable as error:
        cause = error.__cause__ or error
        fail(f"The database cannot be reached: {str(cause) or type(cause).__name__}")


def fail(message: str) -> NoReturn:
    err.print(f"[bold red]bookstore:[/] {escape(message)}", highlight=False, soft_wrap=True)
    raise typer.Exit(1)


async def warn_of_strange_keys(shop: Shop) -> None:
    """On standard error, for it may be meant so."""
    await shop.secret_keys.look(shop.database)
    if shop.secret_keys.are_strange:
        err.print(f"[bold yellow]bookstore:[/] {STRANGE_KEYS}", highlight=False, soft_wrap=True)


def in_shop(found: Place, work: Callable[[Shop], Coroutine[Any, Any, T]], *, posts: bool = False) -> T:
    """`posts` where letters will be posted, for which more has to be as it should."""
    from server.addresses import problem_among
    from server.app import open_shop  # loads the whole schema, which `--help` does not need

    async def run() -> T:
        if problem := await problem_among(found.settings, posts=posts):
            raise Misconfigured(problem)
        if posts and (problem := problem_with_maildir(found.settings)):
            raise Misconfigured(problem)
        shop = open_shop(found.settings)
        async with shop.database:
            return await work(shop)

    return asyncio.run(run())
