"""Database failures during delivery do not send an email again."""

import asyncio
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from structlog.testing import capture_logs

from domain.shop import Shop
from server.settings import Settings
from tests.support.database.fault_proxy import start_fault_proxy
from tests.support.database.locks import wait_until_disconnected
from tests.support.database.replication import start_replicated_pair
from tests.support.email.emails import (
    FAST_SETTINGS,
    expire_claims,
    run_worker,
    wait_until_queue_is_empty,
    with_smtp_url,
)
from tests.support.email.smtp import FakeMailServer, start_mail_server
from tests.support.http.apps import get_shop, running_client
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book
from tests.support.waiting import wait_until

CONFIRMED = "ORDER_CONFIRMED"
EMAIL_COUNT = 6
RETRY_EVENT = "stamina.retry_scheduled"
LIST_APPLICATION_PIDS = (
    "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'bookstore%'"
)
FAST_TAKEOVER = replace(FAST_SETTINGS, heartbeat_timeout=1)
"""The worker declares other workers dead as early as possible."""


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop, (await add_book(shop, "Emma"), 2))


async def wait_until_requeued(postgres: asyncpg.Connection, mailbox: FakeMailServer) -> None:
    """Wait until another worker has released the job of the only email, or submitted the email again."""

    async def is_requeued_or_submitted() -> bool:
        attempts = await postgres.fetchval("SELECT sum(attempts) FROM pgqueuer")
        return bool(attempts) or len(mailbox.submitted_recipients) >= 2

    await wait_until(is_requeued_or_submitted, 60)


async def test_primary_crashes_while_sending(settings: Settings, tmp_path: Path) -> None:
    """The outage lasts until the delay between retries is so long that another worker could claim the emails."""
    async with start_replicated_pair(tmp_path) as servers, start_mail_server() as mailbox:
        smtp_settings = with_smtp_url(mailbox, settings).model_copy(update={"database_url": servers.primary.url})
        async with running_client(smtp_settings) as client, running_client(smtp_settings) as other_client:
            shop, other_shop = get_shop(client), get_shop(other_client)
            async with (
                run_worker(shop, smtp_settings, worker_settings=FAST_TAKEOVER),
                run_worker(other_shop, smtp_settings, worker_settings=FAST_TAKEOVER),
            ):
                mailbox.may_accept = asyncio.Event()
                book = await add_book(shop, stock=EMAIL_COUNT)
                for _ in range(EMAIL_COUNT):
                    await (await add_customer(client, shop, (book, 1))).checkout()
                await mailbox.wait_for(EMAIL_COUNT, mailbox.submitted_recipients)
                await servers.primary.crash()
                with capture_logs() as log:
                    mailbox.may_accept.set()
                    await wait_until(lambda: sum(line["event"] == RETRY_EVENT for line in log) >= 6 * EMAIL_COUNT, 60)
                    await servers.primary.start()
                    postgres = await asyncpg.connect(servers.primary.url)
                    assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")] * EMAIL_COUNT
                    await postgres.close()
        assert len(mailbox.messages) == EMAIL_COUNT
        assert sum(shop_.counters.emails[CONFIRMED, "SENT"] for shop_ in (shop, other_shop)) == EMAIL_COUNT
        assert sum(line["event"] == "email_finished" for line in log) == EMAIL_COUNT


async def test_connections_are_cut_while_sending(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        smtp_settings = with_smtp_url(mailbox, settings)
        async with (
            run_worker(shop, smtp_settings, worker_settings=FAST_TAKEOVER),
            run_worker(shop, smtp_settings, worker_settings=FAST_TAKEOVER),
        ):
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            pids = [row["pid"] for row in await postgres.fetch(LIST_APPLICATION_PIDS)]
            await postgres.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", pids)
            await wait_until_disconnected(postgres, pids)
            await wait_until_requeued(postgres, mailbox)
            mailbox.may_accept.set()
            assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert (len(mailbox.submitted_recipients), len(mailbox.messages)) == (1, 1)


async def test_database_outage_outlasts_claims(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection, database_url: str
) -> None:
    """A worker that reconnects first gives the sender of an email time to store the result."""
    async with start_mail_server() as mailbox, start_fault_proxy(database_url) as proxy:
        mailbox.may_accept = asyncio.Event()
        smtp_settings = with_smtp_url(mailbox, settings)
        proxied_settings = smtp_settings.model_copy(update={"database_url": proxy.url})
        async with (
            running_client(proxied_settings) as client,
            run_worker(get_shop(client), proxied_settings, worker_settings=FAST_TAKEOVER),
        ):
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            proxy.break_connections()
            mailbox.may_accept.set()
            await mailbox.wait_for(1)
            await expire_claims(postgres)
            async with run_worker(shop, smtp_settings, worker_settings=replace(FAST_TAKEOVER, takeover_grace=3600)):
                await wait_until_requeued(postgres, mailbox)
                proxy.restore()
                assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.submitted_recipients) == 1


async def test_single_worker_waits_for_the_database(
    customer: Customer, settings: Settings, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with start_mail_server() as mailbox, start_fault_proxy(database_url) as proxy:
        smtp_settings = with_smtp_url(mailbox, settings).model_copy(update={"database_url": proxy.url})
        mailbox.may_accept = asyncio.Event()
        async with (
            running_client(smtp_settings) as client,
            run_worker(get_shop(client), smtp_settings, worker_settings=FAST_TAKEOVER),
        ):
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            proxy.break_connections()
            with capture_logs() as log:
                mailbox.may_accept.set()
                await wait_until(lambda: any(line["event"] == RETRY_EVENT for line in log), 60)
            await expire_claims(postgres)
            proxy.restore()
            assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.submitted_recipients) == 1


async def test_email_of_a_lost_worker_is_taken_over(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    """The worker that claimed the email no longer runs."""
    await customer.checkout()
    await postgres.execute("UPDATE letters SET taken_until = clock_timestamp() + interval '1 hour'")
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        await wait_until_requeued(postgres, mailbox)
        assert mailbox.submitted_recipients == []
        await expire_claims(postgres)
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1
