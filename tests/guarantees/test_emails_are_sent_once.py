"""Database failures during delivery do not send an email again."""

import asyncio
from collections.abc import Callable
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

CONFIRMED = "ORDER_CONFIRMED"
LETTERS = 6
NOTING = "stamina.retry_scheduled"
OURS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'bookstore%'"
NERVOUS = replace(FAST_SETTINGS, heartbeat_timeout=1)
"""Takes others for dead as soon as it can."""


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop, (await add_book(shop, "Emma"), 2))


async def wait_until(happened: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not happened():
            await asyncio.sleep(0.02)


async def until_another_wanted_it(postgres: asyncpg.Connection, mailbox: FakeMailServer) -> None:
    """Comes back when the job of the one letter was given back, or the letter handed in again."""
    async with asyncio.timeout(60):
        while (
            not await postgres.fetchval("SELECT sum(attempts) FROM pgqueuer") and len(mailbox.submitted_recipients) < 2
        ):
            await asyncio.sleep(0.02)


async def test_primary_crashes_while_sending(settings: Settings, tmp_path: Path) -> None:
    """It stays away until each has been noted in vain so often that another poster is quicker when it is back."""
    async with start_replicated_pair(tmp_path) as servers, start_mail_server() as mailbox:
        ours = with_smtp_url(mailbox, settings).model_copy(update={"database_url": servers.primary.url})
        async with running_client(ours) as client, running_client(ours) as other:
            shop, another = get_shop(client), get_shop(other)
            async with (
                run_worker(shop, ours, worker_settings=NERVOUS),
                run_worker(another, ours, worker_settings=NERVOUS),
            ):
                mailbox.may_accept = asyncio.Event()
                book = await add_book(shop, stock=LETTERS)
                for _ in range(LETTERS):
                    await (await add_customer(client, shop, (book, 1))).checkout()
                await mailbox.wait_for(LETTERS, mailbox.submitted_recipients)
                await servers.primary.crash()
                with capture_logs() as log:
                    mailbox.may_accept.set()
                    await wait_until(lambda: sum(line["event"] == NOTING for line in log) >= 6 * LETTERS)
                    await servers.primary.start()
                    postgres = await asyncpg.connect(servers.primary.url)
                    assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")] * LETTERS
                    await postgres.close()
        assert len(mailbox.messages) == LETTERS
        assert sum(it.counters.emails[CONFIRMED, "SENT"] for it in (shop, another)) == LETTERS
        assert sum(line["event"] == "email_finished" for line in log) == LETTERS


async def test_connections_are_cut_while_sending(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    async with start_mail_server() as mailbox:
        mailbox.may_accept = asyncio.Event()
        ours = with_smtp_url(mailbox, settings)
        async with run_worker(shop, ours, worker_settings=NERVOUS), run_worker(shop, ours, worker_settings=NERVOUS):
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            cut = [row["pid"] for row in await postgres.fetch(OURS)]
            await postgres.execute("SELECT pg_terminate_backend(pid) FROM unnest($1::int[]) AS pid", cut)
            await wait_until_disconnected(postgres, cut)
            await until_another_wanted_it(postgres, mailbox)
            mailbox.may_accept.set()
            assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert (len(mailbox.submitted_recipients), len(mailbox.messages)) == (1, 1)


async def test_database_outage_outlasts_claims(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection, database_url: str
) -> None:
    """Another poster, which has just found it again, leaves those who have sent something the time to note that."""
    async with start_mail_server() as mailbox, start_fault_proxy(database_url) as network:
        mailbox.may_accept = asyncio.Event()
        ours = with_smtp_url(mailbox, settings)
        far = ours.model_copy(update={"database_url": network.url})
        async with running_client(far) as client, run_worker(get_shop(client), far, worker_settings=NERVOUS):
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            network.break_connections()
            mailbox.may_accept.set()
            await mailbox.wait_for(1)
            await expire_claims(postgres)
            async with run_worker(shop, ours, worker_settings=replace(NERVOUS, takeover_grace=3600)):
                await until_another_wanted_it(postgres, mailbox)
                network.restore()
                assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.submitted_recipients) == 1


async def test_single_worker_waits_for_the_database(
    customer: Customer, settings: Settings, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with start_mail_server() as mailbox, start_fault_proxy(database_url) as network:
        ours = with_smtp_url(mailbox, settings).model_copy(update={"database_url": network.url})
        mailbox.may_accept = asyncio.Event()
        async with running_client(ours) as client, run_worker(get_shop(client), ours, worker_settings=NERVOUS):
            await customer.checkout()
            await mailbox.wait_for(1, mailbox.submitted_recipients)
            network.break_connections()
            with capture_logs() as log:
                mailbox.may_accept.set()
                await wait_until(lambda: any(line["event"] == NOTING for line in log))
            await expire_claims(postgres)
            network.restore()
            assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.submitted_recipients) == 1


async def test_email_of_a_lost_worker_is_taken_over(
    customer: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    """It was taken, and that is all that is known of its poster."""
    await customer.checkout()
    await postgres.execute("UPDATE letters SET taken_until = clock_timestamp() + interval '1 hour'")
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        await until_another_wanted_it(postgres, mailbox)
        assert mailbox.submitted_recipients == []
        await expire_claims(postgres)
        assert await wait_until_queue_is_empty(postgres) == [(CONFIRMED, "SENT")]
    assert len(mailbox.messages) == 1
