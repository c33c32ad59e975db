"""The commands `emails`, which lists and requeues failed emails, and `worker`."""

import asyncio
import mailbox
import signal
import uuid
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from persistence import emails
from persistence.emails import EmailKind, EmailStatus
from server.cli.emails import describe_delivery
from server.settings import Settings
from tests.support.email.emails import list_email_statuses, wait_until_queue_is_empty
from tests.support.processes.cli import COMMAND_TIMEOUT, CompletedCommand, RunCommand, get_error_line, start_command
from tests.support.processes.served_shop import serve_shop
from tests.support.shop.factories import add_user

SMTP_ERROR = "550 5.1.1 [bold]Nobody[/] here by that name"


async def fail_email(shop: Shop, postgres: asyncpg.Connection) -> tuple[uuid.UUID, str]:
    """Create a failed email, and return its id and recipient."""
    user = await add_user(shop)
    async with shop.database.transaction() as tx:
        await emails.enqueue_emails(tx, EmailKind.ORDER_CONFIRMED, [(uuid.uuid4(), user.id)])
    email_id = uuid.UUID(str(await postgres.fetchval("SELECT id FROM letters WHERE user_id = $1", user.id)))
    async with shop.database.transaction() as tx:
        await emails.finish_email(tx, email_id, EmailStatus.FAILED, SMTP_ERROR)
    return email_id, user.row.email


async def test_no_failed_emails(bookstore: RunCommand, bookstore_in_process: RunCommand) -> None:
    assert await bookstore_in_process("emails") == CompletedCommand(0, "No email has failed.\n", "")
    assert await bookstore("emails", "--requeue") == CompletedCommand(0, "0 requeued.\n", "")


async def test_failed_emails_are_listed(
    bookstore_in_process: RunCommand, shop: Shop, postgres: asyncpg.Connection
) -> None:
    email_id, email = await fail_email(shop, postgres)
    result = await bookstore_in_process("emails")
    assert result.exit_code == 0
    [line] = [line for line in result.stdout.splitlines() if str(email_id) in line]
    for expected in ("ORDER_CONFIRMED", email, " 1 ", SMTP_ERROR):
        assert expected in line


async def test_all_failed_emails_are_requeued(
    bookstore_in_process: RunCommand, shop: Shop, postgres: asyncpg.Connection
) -> None:
    for _ in range(2):
        await fail_email(shop, postgres)
    await postgres.execute("TRUNCATE pgqueuer")
    assert await bookstore_in_process("emails", "--requeue") == CompletedCommand(0, "2 requeued.\n", "")
    assert await list_email_statuses(postgres) == [("ORDER_CONFIRMED", "QUEUED")] * 2
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 2


async def test_named_emails_are_requeued(
    bookstore_in_process: RunCommand, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await fail_email(shop, postgres)
    second_id, _ = await fail_email(shop, postgres)
    assert await bookstore_in_process("emails", str(second_id), "--requeue") == CompletedCommand(0, "1 requeued.\n", "")
    assert await list_email_statuses(postgres) == [("ORDER_CONFIRMED", "FAILED"), ("ORDER_CONFIRMED", "QUEUED")]
    assert await get_error_line(bookstore_in_process("emails", "--requeue", str(second_id))) == (
        "0 of 1 requeued: the others are not among the failed emails."
    )


@pytest.mark.parametrize("arguments", [("not-an-id", "--requeue"), (str(uuid.uuid4()),)])
async def test_unknown_email_ids_are_reported(bookstore_in_process: RunCommand, arguments: tuple[str, ...]) -> None:
    result = await bookstore_in_process("emails", *arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
async def test_worker_runs_until_stopped(
    shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection, stop_signal: int
) -> None:
    user = await add_user(shop)
    environment = {
        "DATABASE_URL": str(settings.database_url),
        "SECRET_KEY": settings.secret_key[0],
        "LOG_LEVEL": "warning",
    }
    async with (
        start_command("worker", directory=tmp_path, settings=environment) as worker,
        asyncio.timeout(COMMAND_TIMEOUT),
    ):
        assert worker.stdout is not None
        line = (await worker.stdout.readline()).decode()
        assert line == f"Sending emails: in {tmp_path / '.bookstore' / 'mail'}. Stop with Ctrl+C.\n"
        async with shop.database.transaction() as tx:
            await emails.enqueue_emails(tx, EmailKind.BOOK_BACK, [(uuid.uuid4(), user.id)])
        assert await wait_until_queue_is_empty(postgres) == [("BOOK_BACK", "OBSOLETE")]
        worker.send_signal(stop_signal)
        stdout, stderr = await worker.communicate()
    assert (worker.returncode, stdout, stderr) == (0, b"", b"")


async def test_development_server_shows_its_emails(tmp_path: Path) -> None:
    async with serve_shop("--data", str(tmp_path / "data"), "--no-demo", directory=tmp_path) as shop:
        assert f"Emails        in {tmp_path / 'data' / 'mail'}" in shop.startup_message
        await shop.client.execute(REGISTER)
        maildir = mailbox.Maildir(tmp_path / "data" / "mail")
        async with asyncio.timeout(COMMAND_TIMEOUT):
            while not len(maildir):
                await asyncio.sleep(0.05)
        [email_message] = maildir.values()
        assert email_message["To"] == "ann@example.com"
        assert (await shop.stop(signal.SIGTERM)).exit_code in (0, 128 + signal.SIGTERM, -signal.SIGTERM)


REGISTER = """mutation { register(input: {email: "ann@example.com", password: "a long and winding sentence"})
    { __typename } }"""


@pytest.mark.parametrize(
    ("settings", "expected"),
    [
        ({"worker": False}, "left to [cyan]bookstore worker[/]"),
        ({"smtp_url": "smtp://user:secret@mail.example.com"}, "through mail.example.com:587"),
        ({"mail_suppress_send": True}, "not sent, because of MAIL_SUPPRESS_SEND"),
        ({"mail_folder": Path("/var/mail")}, "in /var/mail"),
    ],
)
def test_startup_message_names_the_mail_destination(settings: dict[str, Any], expected: str) -> None:
    assert describe_delivery(Settings(_env_file=None, **settings)) == expected


async def test_server_without_worker(
    shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    environment = {"DATABASE_URL": str(settings.database_url), "SECRET_KEY": settings.secret_key[0]}
    async with serve_shop("--no-worker", directory=tmp_path, **environment) as server:
        assert "Emails        left to bookstore worker\n" in server.startup_message
        await server.client.execute(REGISTER)
        assert (await server.stop(signal.SIGTERM)).stderr == ""
    assert await list_email_statuses(postgres) == [("VERIFY_EMAIL", "QUEUED")]
    assert not (tmp_path / ".bookstore" / "mail").exists()


@pytest.mark.parametrize(
    ("setting", "value", "error_message"),
    [
        ("SMTP_URL", "mail:25", "SMTP_URL: must look like smtp://host:port or smtps://user:password@host:port"),
        (
            "MAIL_FROM",
            "shop",
            "MAIL_FROM: must be one address, such as shop@example.com or Bookstore <shop@example.com>",
        ),
        ("TIME_ZONE", "Mars/Base", "TIME_ZONE: is not a time zone such as Europe/Berlin"),
    ],
)
async def test_invalid_settings_are_one_line(
    bookstore_in_process: RunCommand, setting: str, value: str, error_message: str
) -> None:
    assert await get_error_line(bookstore_in_process("worker", **{setting: value})) == error_message
