"""Email workers share the queue, and take over the emails of a dead worker."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest

from domain.shop import Shop
from server.mail.worker import APPLICATION_NAME
from server.settings import Settings
from tests.support.database.locks import wait_until_disconnected
from tests.support.email.emails import (
    FAST_SETTINGS,
    list_email_statuses,
    run_worker,
    wait_until_queue_is_empty,
    with_smtp_url,
)
from tests.support.email.smtp import start_mail_server
from tests.support.http.client import ApiClient
from tests.support.processes.cli import start_command
from tests.support.shop.catalog_admin import UPDATE_STOCK
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_admin, add_book, add_user, book_id
from tests.support.waiting import wait_until

CONFIRMED = "ORDER_CONFIRMED"
PREBOOK_MUTATION = "mutation ($id: ID!) { prebook(input: {bookId: $id}) { __typename } }"


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop, (await add_book(shop, "Emma"), 2))


async def test_each_email_is_sent_by_one_worker(
    client: ApiClient, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    sold_out = await add_book(shop, "Persuasion", stock=0)
    waiting_users = [await add_user(shop) for _ in range(40)]
    for user in waiting_users:
        await client.with_token(user.token).execute(PREBOOK_MUTATION, id=book_id(sold_out))
    admin = client.with_token((await add_admin(shop)).token)
    async with start_mail_server() as mailbox:
        smtp_settings = with_smtp_url(mailbox, settings)
        async with (
            start_worker_process(smtp_settings, tmp_path),
            run_worker(shop, smtp_settings),
            run_worker(shop, smtp_settings),
        ):
            await admin.execute(UPDATE_STOCK, id=book_id(sold_out))
            assert await wait_until_queue_is_empty(postgres) == [("BOOK_BACK", "SENT")] * 40
    assert sorted(str(message["To"]) for message in mailbox.messages) == sorted(
        user.row.email for user in waiting_users
    )


async def test_slow_worker_keeps_its_claim(
    customer: Customer, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    """The queue declares the worker dead, and another worker fetches its job."""
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        smtp_settings = with_smtp_url(mailbox, settings)
        async with start_worker_process(smtp_settings, tmp_path) as slow_worker:
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            slow_worker.send_signal(signal.SIGSTOP)
            async with run_worker(shop, smtp_settings):
                await _wait_for_released_jobs(postgres, 1)
                assert len(mailbox.submitted_recipients) == 1
                slow_worker.send_signal(signal.SIGCONT)
                mailbox.may_accept.set()
                assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert (len(mailbox.submitted_recipients), len(mailbox.messages)) == (1, 1)


async def test_email_with_several_jobs_is_sent_once(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    await customer.checkout()
    await postgres.execute(
        f"INSERT INTO pgqueuer ({JOB_COLUMNS}) SELECT {JOB_COLUMNS} FROM pgqueuer, generate_series(1, 3)"
    )
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        async with run_worker(shop, with_smtp_url(mailbox, settings)):
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            await _wait_for_released_jobs(postgres, 3)
            mailbox.may_accept.set()
            assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.submitted_recipients) == 1


async def test_stopped_worker_releases_its_email(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        smtp_settings = with_smtp_url(mailbox, settings)
        async with run_worker(shop, smtp_settings, worker_settings=replace(FAST_SETTINGS, shutdown_timeout=0)):
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
        assert await list_email_statuses(postgres) == [(CONFIRMED, "QUEUED")]
        assert await postgres.fetchval("SELECT array_agg(status::text) FROM pgqueuer") == ["queued"]

        mailbox.may_accept = None
        async with run_worker(shop, smtp_settings):
            assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1


async def test_stopped_worker_completes_deliveries_in_progress(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        async with run_worker(
            shop, with_smtp_url(mailbox, settings), worker_settings=replace(FAST_SETTINGS, shutdown_timeout=30)
        ) as worker:
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            worker.stop()
            mailbox.may_accept.set()
    assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1


async def test_worker_survives_a_cut_connection(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        listener_pid = await _find_listener_pid(postgres)
        await postgres.execute("SELECT pg_terminate_backend($1)", listener_pid)
        await wait_until_disconnected(postgres, [listener_pid])
        await customer.checkout()
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1


JOB_COLUMNS = "priority, status, entrypoint, payload"


@asynccontextmanager
async def start_worker_process(settings: Settings, directory: Path) -> AsyncIterator[asyncio.subprocess.Process]:
    """Start `bookstore worker` and wait until it is ready."""
    environment = {
        "DATABASE_URL": settings.database_url or "",
        "SECRET_KEY": settings.secret_key[0],
        "SMTP_URL": settings.smtp_url or "",
    }
    async with start_command("worker", directory=directory, settings=environment) as process:
        assert process.stdout is not None
        assert b"Sending emails" in await process.stdout.readline()
        yield process


async def _wait_for_released_jobs(postgres: asyncpg.Connection, times: int) -> None:
    """Wait until workers have released jobs this often, because another worker had claimed the email."""

    async def are_released() -> bool:
        return bool(await postgres.fetchval("SELECT sum(attempts) FROM pgqueuer") >= times)

    await wait_until(are_released)


async def _find_listener_pid(postgres: asyncpg.Connection) -> int:
    """Wait for the connection on which a worker listens for jobs, and return its process id."""
    pid: int = await wait_until(lambda: postgres.fetchval(_LISTENER_PIDS, APPLICATION_NAME), 20)
    return pid


_LISTENER_PIDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name = $1"
