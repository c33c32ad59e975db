"""Each email is sent once for a committed change, and never for a rolled-back change."""

import asyncio
from pathlib import Path

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog import BookRow
from server.settings import Settings
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.email.emails import (
    expire_claims,
    get_text_and_html,
    list_email_statuses,
    run_worker,
    wait_until_queue_is_empty,
    with_smtp_url,
)
from tests.support.email.smtp import start_mail_server
from tests.support.http.client import ApiClient
from tests.support.processes.servers import start_server
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book

CONFIRMED = "ORDER_CONFIRMED"


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", price="12.50", stock=1000)


@pytest.fixture
async def customer(client: ApiClient, shop: Shop, book: BookRow) -> Customer:
    return await add_customer(client, shop, (book, 2))


# ── Rolled back ───────────────────────────────────────────────────────────────────────────


async def test_declined_payment_sends_no_confirmation(customer: Customer, postgres: asyncpg.Connection) -> None:
    assert (await customer.checkout(token="mock-decline"))["__typename"] == "PaymentFailed"
    assert await list_email_statuses(postgres) == []
    assert await _count_jobs(postgres) == 0


async def test_rejected_checkout_sends_no_confirmation(
    customer: Customer, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    response = await customer.checkout(expectedTotal="1.00")
    assert response["__typename"] == "PriceChanged"
    assert (await list_email_statuses(postgres), await _count_jobs(postgres)) == ([], 0)


async def test_killed_before_commit_sends_nothing(
    customer: Customer,
    shop: Shop,
    book: BookRow,
    settings: Settings,
    tmp_path: Path,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    result = await customer.checkout()
    async with start_server(settings, tmp_path) as server, hold_lock(database_url, LOCK_BOOKS, [book.id]):
        # The email is enqueued, and releasing the stock fails.
        cancellation = asyncio.create_task(customer.with_client(server.client).cancel_order(result["order"]["id"]))
        blocked_pids = await wait_for_blocked(postgres, 1)
        await server.kill()
        await asyncio.wait({cancellation})
        assert cancellation.exception() is not None
    await wait_until_disconnected(postgres, blocked_pids)

    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1


# ── Committed ─────────────────────────────────────────────────────────────────────────────


async def test_order_is_confirmed_by_email(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        result = await customer.checkout()
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    [message] = mailbox.find_messages(customer.user.row.email)
    for part in get_text_and_html(message):
        assert result["order"]["number"] in part
        assert "Emma" in part
        assert "€25.00" in part


async def test_retried_checkout_is_confirmed_once(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        await asyncio.gather(*(customer.checkout("same key") for _ in range(4)))
        await wait_until_queue_is_empty(postgres)
        await customer.checkout("same key")
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1


async def test_killed_after_commit_sends_when_a_worker_runs(
    customer: Customer, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    async with start_server(settings, tmp_path) as server:
        await customer.with_client(server.client).checkout()
        await server.kill()
    assert await list_email_statuses(postgres) == [(CONFIRMED, "QUEUED")]

    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1


async def test_email_of_a_killed_worker_is_taken_over(
    customer: Customer, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        async with start_server(settings, tmp_path, WORKER="true", SMTP_URL=mailbox.url) as server:
            await customer.with_client(server.client).checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            await server.kill()
        mailbox.may_accept = None
        assert await list_email_statuses(postgres) == [(CONFIRMED, "QUEUED")]

        await expire_claims(postgres)
        async with run_worker(shop, with_smtp_url(mailbox, settings)):
            assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1


async def test_email_without_a_job_is_requeued(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    await customer.checkout()
    await postgres.execute("TRUNCATE pgqueuer")
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1


async def _count_jobs(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM pgqueuer")
    return count
