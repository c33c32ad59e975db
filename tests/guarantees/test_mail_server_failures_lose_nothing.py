"""A mail server that hangs, rejects or fails delays no request, and every email arrives when the server recovers."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Literal

import asyncpg
import psutil
import pytest

from domain.email.delivery import RetryPolicy, requeue_failed
from domain.shop import Shop
from persistence.catalog import BookRow
from persistence.postgres import connection
from server.mail import smtp
from server.mail.smtp import QUIT_TIMEOUT, SEND_TIMEOUT, STEP_TIMEOUT
from server.settings import Settings
from tests.support.email.emails import (
    FAST_SETTINGS,
    FEW_RETRIES,
    list_email_statuses,
    run_worker,
    wait_for_attempts,
    wait_until_queue_is_empty,
    with_smtp_url,
)
from tests.support.email.smtp import FakeMailServer, start_mail_server
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.processes.cli import start_command
from tests.support.processes.clock import advance_clock
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book

pytestmark = pytest.mark.usefixtures("check_invariants", "no_database_timeout")

CONFIRMED = "ORDER_CONFIRMED"


@pytest.fixture
def no_database_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    """Switch off the timeouts of the database, so that only those of the mail server expire."""
    monkeypatch.setattr(connection, "COMMAND_TIMEOUT", 100_000)


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", price="12.50", stock=1000)


@pytest.fixture
async def customer(client: ApiClient, shop: Shop, book: BookRow) -> Customer:
    return await add_customer(client, shop, (book, 2))


async def assert_all_sent(mailbox: FakeMailServer, postgres: asyncpg.Connection, *orders: dict[str, str]) -> None:
    """Assert that each of the orders has one email, and that no other email exists."""
    assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")] * len(orders)
    subjects = [str(message["Subject"]) for message in mailbox.messages]
    assert sorted(subjects) == sorted(f"Your order {order['number']} is confirmed" for order in orders)


# ── The mail server rejects ───────────────────────────────────────────────────────────────


async def test_temporary_failures_delay_and_lose_nothing(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        mailbox.recipient_responses["*"] = "451 4.3.0 Not now"
        order = (await customer.checkout())["order"]
        await mailbox.wait_for(4, mailbox.rejected_recipients)
        assert await list_email_statuses(postgres) == [(CONFIRMED, "QUEUED")]
        assert "451 4.3.0 Not now" in await postgres.fetchval("SELECT problem FROM letters")

        mailbox.recipient_responses.clear()
        await assert_all_sent(mailbox, postgres, order)


async def test_permanent_failure_is_stored_and_others_are_sent(
    client: ApiClient, shop: Shop, book: BookRow, settings: Settings, postgres: asyncpg.Connection
) -> None:
    unknown_customer = await add_customer(client, shop, (book, 1))
    known_customer = await add_customer(client, shop, (book, 1))
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        mailbox.recipient_responses[unknown_customer.user.row.email] = "550 5.1.1 Nobody here by that name"
        orders = [(await customer_.checkout())["order"] for customer_ in (unknown_customer, known_customer)]
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "FAILED"), (CONFIRMED, "SENT")]
        assert (len(mailbox.rejected_recipients), len(mailbox.messages)) == (1, 1)

        mailbox.recipient_responses.clear()
        assert await requeue_failed(shop) == 1
        await assert_all_sent(mailbox, postgres, *orders)
        assert await requeue_failed(shop) == 0


async def test_exhausted_retries_are_stored(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings), FEW_RETRIES):
        mailbox.recipient_responses["*"] = "451 4.3.0 Not now"
        order = (await customer.checkout())["order"]
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "FAILED")]
        assert len(mailbox.rejected_recipients) == FEW_RETRIES.max_attempts

        mailbox.recipient_responses.clear()
        assert await requeue_failed(shop) == 1
        await assert_all_sent(mailbox, postgres, order)


# ── The mail server hangs ─────────────────────────────────────────────────────────────────


def hang_before_greeting(mailbox: FakeMailServer) -> None:
    mailbox.withheld_response = "220"


def hang_after_ehlo(mailbox: FakeMailServer) -> None:
    mailbox.withheld_response = "250-"


def hang_before_data(mailbox: FakeMailServer) -> None:
    mailbox.withheld_response = "354"


def send_endless_response(mailbox: FakeMailServer) -> None:
    mailbox.endless_response = "250 OK"


@pytest.mark.parametrize(
    "set_failure", [hang_before_greeting, hang_after_ehlo, hang_before_data, send_endless_response]
)
async def test_hanging_server_delays_and_loses_nothing(
    customer: Customer,
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    set_failure: Callable[[FakeMailServer], None],
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        set_failure(mailbox)
        order = (await customer.checkout())["order"]
        await mailbox.wait_for(1, mailbox.hanging)
        assert await list_email_statuses(postgres) == [(CONFIRMED, "QUEUED")]
        advance_clock(STEP_TIMEOUT)
        await wait_for_attempts(postgres, 1)

        mailbox.withheld_response = mailbox.endless_response = None
        advance_clock(STEP_TIMEOUT)  # ends an attempt that already hangs
        await assert_all_sent(mailbox, postgres, order)


async def test_server_hangs_after_data(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        mailbox.may_accept = asyncio.Event()
        order = (await customer.checkout())["order"]
        await mailbox.wait_for(1, mailbox.submitted_recipients)
        advance_clock(STEP_TIMEOUT)
        await wait_for_attempts(postgres, 1)
        assert mailbox.messages == []

        mailbox.may_accept = None
        advance_clock(STEP_TIMEOUT)
        await assert_all_sent(mailbox, postgres, order)


async def test_hanging_quit_does_not_fail_the_email(
    customer: Customer,
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(smtp, "STEP_TIMEOUT", 100_000)
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        mailbox.withheld_response = "221"
        order = (await customer.checkout())["order"]
        await mailbox.wait_for(1, mailbox.hanging)
        advance_clock(QUIT_TIMEOUT)
        await assert_all_sent(mailbox, postgres, order)
        assert len(mailbox.submitted_recipients) == 1


async def test_hanging_emails_do_not_block_others(
    client: ApiClient, shop: Shop, book: BookRow, settings: Settings, postgres: asyncpg.Connection
) -> None:
    """The hanging emails occupy all of the worker's slots."""
    hanging_customers = [await add_customer(client, shop, (book, 1)) for _ in range(2)]
    other_customers = [await add_customer(client, shop, (book, 1)) for _ in range(3)]
    retry_policy, worker_settings = (
        RetryPolicy(timedelta(seconds=1), max_attempts=1000),
        replace(FAST_SETTINGS, concurrency=2),
    )
    async with (
        start_mail_server() as mailbox,
        run_worker(shop, with_smtp_url(mailbox, settings), retry_policy, worker_settings),
    ):
        mailbox.silent_recipients = {customer_.user.row.email for customer_ in hanging_customers}
        orders = [(await customer_.checkout())["order"] for customer_ in hanging_customers]
        await mailbox.wait_for(2, mailbox.hanging)
        orders += [(await customer_.checkout())["order"] for customer_ in other_customers]
        assert mailbox.messages == []
        timed_out_count = 0
        for _ in range(1000):
            if len(mailbox.hanging) == timed_out_count + len(hanging_customers):
                advance_clock(STEP_TIMEOUT)
                timed_out_count = len(mailbox.hanging)
            if len(mailbox.messages) == len(other_customers):
                break
            await asyncio.sleep(0.02)
        assert all(len(mailbox.find_messages(customer_.user.row.email)) == 1 for customer_ in other_customers)

        mailbox.silent_recipients.clear()
        advance_clock(STEP_TIMEOUT)
        await assert_all_sent(mailbox, postgres, *orders)


# ── The mail server is slow ───────────────────────────────────────────────────────────────


async def test_slow_responses_still_deliver(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        mailbox.sends_byte_by_byte = True
        order = (await customer.checkout())["order"]
        await assert_all_sent(mailbox, postgres, order)
        assert len(mailbox.submitted_recipients) == 1


async def test_total_timeout_over_slow_responses(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        mailbox.response_delay = STEP_TIMEOUT - 1
        assert mailbox.response_delay * 4 > SEND_TIMEOUT  # EHLO twice, MAIL, RCPT
        order = (await customer.checkout())["order"]
        await wait_for_attempts(postgres, 1)
        assert (await list_email_statuses(postgres), mailbox.messages) == ([(CONFIRMED, "QUEUED")], [])

        mailbox.response_delay = 0
        await assert_all_sent(mailbox, postgres, order)


# ── The mail server is unreachable or crashes ─────────────────────────────────────────────


async def test_unreachable_server_delays_and_loses_nothing(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox:
        pass
    async with run_worker(shop, with_smtp_url(mailbox, settings)):
        order = (await customer.checkout())["order"]
        await wait_for_attempts(postgres, 3)
        assert await list_email_statuses(postgres) == [(CONFIRMED, "QUEUED")]
        async with start_mail_server(port=mailbox.port) as mailbox:
            await assert_all_sent(mailbox, postgres, order)


@pytest.mark.parametrize("crash_point", ["during data", "after data"])
async def test_server_crash_during_data_loses_nothing(
    customer: Customer,
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    crash_point: Literal["during data", "after data"],
) -> None:
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        mailbox.crashes_at = crash_point
        order = (await customer.checkout())["order"]
        await wait_for_attempts(postgres, 3)
        assert mailbox.crash_count >= 3
        assert (await list_email_statuses(postgres), mailbox.messages) == ([(CONFIRMED, "QUEUED")], [])

        mailbox.crashes_at = None
        await assert_all_sent(mailbox, postgres, order)


# ── Other requests ────────────────────────────────────────────────────────────────────────


async def test_checkout_does_not_wait_for_mail(
    settings: Settings, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    """The pool has one connection, which emails in delivery do not hold."""
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        pool_settings = {"pool_size": 1, "pool_max_overflow": 0}
        async with running_client(settings, worker=True, smtp_url=mailbox.url, **pool_settings) as client:
            customers = [await add_customer(client, shop, (book, 1)) for _ in range(12)]
            orders = [(await customer.checkout())["order"] for customer in customers]
            await mailbox.wait_for(10, mailbox.submitted_recipients)
            last_customer = await add_customer(client, shop, (book, 1))
            orders.append((await last_customer.checkout())["order"])
            assert (await last_customer.list_orders())[0]["status"] == "CONFIRMED"
            assert mailbox.messages == []
            mailbox.may_accept.set()
            await assert_all_sent(mailbox, postgres, *orders)


# ── Delivery to a directory ───────────────────────────────────────────────────────────────


async def test_full_maildir_delays_and_loses_nothing(
    customer: Customer, settings: Settings, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    """Writing to the maildir fails for a while."""
    environment = {
        "DATABASE_URL": str(settings.database_url),
        "SECRET_KEY": settings.secret_key[0],
        "MAIL_FOLDER": "mail",
    }
    async with start_command("worker", directory=tmp_path, settings=environment) as worker:
        assert worker.stdout is not None
        assert b"Sending emails" in await worker.stdout.readline()
        process = psutil.Process(worker.pid)
        before = process.rlimit(psutil.RLIMIT_FSIZE)
        process.rlimit(psutil.RLIMIT_FSIZE, (100, before[1]))
        await customer.checkout()
        await wait_for_attempts(postgres, 1)
        assert await list_email_statuses(postgres) == [(CONFIRMED, "QUEUED")]
        assert "File too large" in await postgres.fetchval("SELECT problem FROM letters")
        assert [file for file in (tmp_path / "mail").rglob("*") if file.is_file()] == []
        process.rlimit(psutil.RLIMIT_FSIZE, before)
        await postgres.execute("UPDATE pgqueuer SET execute_after = now()")
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(list((tmp_path / "mail" / "new").iterdir())) == 1
