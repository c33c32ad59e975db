"""The commands that send emails and list failed ones."""

import asyncio
import signal
import uuid
from contextlib import nullcontext
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from server.cli.context import DataOption, exit_with_error, open_database, out, run_in_shop, warn_on_key_mismatch
from server.observability.setup import check_metrics_address, create_metrics, create_tracing, expose_metrics
from server.settings import Settings

if TYPE_CHECKING:
    from domain.shop import Shop
    from persistence.emails import EmailRow

PIPED_WIDTH = 1000  # characters, so that programs that read the list find one email per line


def run_worker(data: DataOption = None) -> None:
    """Send emails until stopped, next to servers that do not (`serve --no-worker`)."""
    with open_database(data) as runtime:
        check_metrics_address(runtime.settings)
        run_in_shop(runtime, lambda shop: _run_until_signal(shop, runtime.settings), sends_email=True)


async def _run_until_signal(shop: "Shop", settings: Settings) -> None:
    from server.app import email_worker
    from server.observability.logs import configure_logs

    await warn_on_key_mismatch(shop)
    tracing = create_tracing(settings)
    configure_logs(
        settings.log_level, as_json=settings.uses_json_logs, get_trace_ids=tracing.get_trace_ids if tracing else None
    )
    exporter = tracing.run_exporter() if tracing else nullcontext()
    stop_requested = asyncio.Event()
    for signal_number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signal_number, stop_requested.set)
    async with (
        exporter,
        expose_metrics(settings, create_metrics(settings, shop)),
        email_worker(shop, settings, tracing),
    ):
        out.print(f"Sending emails: {describe_delivery(settings, sends_here=True)}. Stop with Ctrl+C.", soft_wrap=True)
        await stop_requested.wait()


def describe_delivery(settings: Settings, *, sends_here: bool = False) -> str:
    """Return where emails go, in one line for the operator."""
    from server.urls import SmtpServer

    if not (settings.worker or sends_here):
        return "left to [cyan]bookstore worker[/]"
    if settings.mail_suppress_send:
        return "not sent, because of MAIL_SUPPRESS_SEND"
    if settings.smtp_url:
        server = SmtpServer.parse(settings.smtp_url)
        return f"through {server.host}:{server.port}"
    return f"in {settings.mail_folder.resolve()}"


def manage_failed(
    ids: Annotated[list[uuid.UUID] | None, typer.Argument(help="Ids of listed emails to requeue.")] = None,
    requeue: Annotated[bool, typer.Option("--requeue", help="Send them again: all, or the given ids.")] = False,
    data: DataOption = None,
) -> None:
    """List the emails that failed permanently, or put them back in the queue."""
    from domain.email.delivery import requeue_failed
    from persistence.emails import list_failed_emails

    if ids and not requeue:
        raise typer.BadParameter("ids need the option --requeue")
    with open_database(data) as runtime:
        if not requeue:
            _print_failed(run_in_shop(runtime, lambda shop: list_failed_emails(shop.database.read_session)))
            return
        count = run_in_shop(runtime, lambda shop: requeue_failed(shop, ids or None))
        if ids and count < len(set(ids)):
            exit_with_error(f"{count} of {len(set(ids))} requeued: the others are not among the failed emails.")
        out.print(f"{count} requeued.")


def _print_failed(failed: "list[EmailRow]") -> None:
    if not failed:
        out.print("No email has failed.")
        return
    table = Table("Email", "Kind", "To", "Since", "Attempts", "Error", box=None, padding=(0, 2, 0, 0))
    for email in failed:
        created = email.created_at.strftime("%Y-%m-%d %H:%M UTC")
        reason = Text(email.problem or "", overflow="fold")
        table.add_row(str(email.id), email.kind, Text(email.email_address), created, str(email.attempts), reason)
    (out if out.is_terminal else Console(width=PIPED_WIDTH)).print(table)
