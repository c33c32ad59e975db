"""Letters on the command line: the poster alone, and what failed for good."""

import asyncio
import signal
import uuid
from contextlib import nullcontext
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from domain.shop import Shop
from persistence.letters import Letter
from server.commands.opening import Data, fail, in_shop, opened, out, warn_of_strange_keys
from server.settings import Settings
from server.watching import metrics_of, telling, tracing_of, try_metrics_address

WIDE = 1000  # characters: a program that reads the list finds a letter on each line


def work(data: Data = None) -> None:
    """Post letters until told to stop, beside servers that leave it to others (`serve --no-worker`)."""
    with opened(data) as found:
        try_metrics_address(found.settings)
        in_shop(found, lambda shop: _post_until_told(shop, found.settings), posts=True)


async def _post_until_told(shop: Shop, settings: Settings) -> None:
    from server.app import posting
    from server.logs import configure_logs

    await warn_of_strange_keys(shop)
    tracing = tracing_of(settings)
    configure_logs(settings.log_level, as_json=settings.json_logs, ids=tracing.ids if tracing else None)
    sending = tracing.sending() if tracing else nullcontext()
    told = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, told.set)
    async with sending, telling(settings, metrics_of(settings, shop)), posting(shop, settings, tracing):
        out.print(f"Posting letters: {whereabouts(settings, here=True)}. Stop with Ctrl+C.", soft_wrap=True)
        await told.wait()


def whereabouts(settings: Settings, *, here: bool = False) -> str:
    """Where they go, in a line for the operator."""
    from server.post.relay import Relay

    if not (settings.worker or here):
        return "left to [cyan]bookstore worker[/]"
    if settings.mail_suppress_send:
        return "none are sent: MAIL_SUPPRESS_SEND"
    if settings.smtp_url:
        relay = Relay.parse(settings.smtp_url)
        return f"through {relay.host}:{relay.port}"
    return f"in {settings.mail_folder.resolve()}"


def show(
    ids: Annotated[list[uuid.UUID] | None, typer.Argument(help="Letters to requeue, of those listed.")] = None,
    requeue: Annotated[bool, typer.Option("--requeue", help="Try them again, all or those named.")] = False,
    data: Data = None,
) -> None:
    """List the letters that were given up, and put them back in the queue."""
    from domain.posting import begin_again
    from persistence.letters import list_failed_letters

    if ids and not requeue:
        raise typer.BadParameter("letters are named with --requeue only")
    with opened(data) as found:
        if not requeue:
            _tell(in_shop(found, lambda shop: list_failed_letters(shop.database.reading)))
            return
        count = in_shop(found, lambda shop: begin_again(shop, ids or None))
        if ids and count < len(set(ids)):
            fail(f"{count} of {len(set(ids))} requeued: the others are not among those that were given up.")
        out.print(f"{count} requeued.")


def _tell(failed: list[Letter]) -> None:
    if not failed:
        out.print("No letter was given up.")
        return
    table = Table("Letter", "Kind", "To", "Since", "Attempts", "Why", box=None, padding=(0, 2, 0, 0))
    for letter in failed:
        since = letter.created_at.strftime("%Y-%m-%d %H:%M UTC")
        why = Text(letter.problem or "", overflow="fold")
        table.add_row(str(letter.id), letter.kind, Text(letter.address), since, str(letter.attempts), why)
    (out if out.is_terminal else Console(width=WIDE)).print(table)
