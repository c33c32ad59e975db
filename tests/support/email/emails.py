"""Letters in tests: a poster at work, what became of them, and their two parts."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import EmailMessage

import asyncpg

from domain.email.delivery import RetryPolicy
from domain.shop import Shop
from server.mail.mailer import build_mailer
from server.mail.worker import EmailWorker, WorkerSettings
from server.settings import Settings
from tests.support.email.smtp import FakeMailServer

FAST_SETTINGS = WorkerSettings(poll_interval=0.5, reconnect_delay=0.1, retry_delay=0.2, takeover_grace=0)
FAST_RETRIES = RetryPolicy(dt.timedelta(milliseconds=50), dt.timedelta(milliseconds=200), max_attempts=1000)
FEW_RETRIES = RetryPolicy(dt.timedelta(milliseconds=10), dt.timedelta(milliseconds=20), max_attempts=4)


def with_smtp_url(mailbox: FakeMailServer, settings: Settings) -> Settings:
    return settings.model_copy(update={"smtp_url": mailbox.url})


@asynccontextmanager
async def run_worker(
    shop: Shop,
    settings: Settings,
    retry_policy: RetryPolicy = FAST_RETRIES,
    worker_settings: WorkerSettings | None = None,
) -> AsyncIterator[EmailWorker]:
    """A poster of the shop's own kind, in a hurry."""
    worker = EmailWorker(
        shop, replace(build_mailer(settings), retry_policy=retry_policy), worker_settings or FAST_SETTINGS
    )
    task = asyncio.create_task(worker.run())
    try:
        yield worker
    finally:
        worker.stop()
        await task


async def list_email_statuses(postgres: asyncpg.Connection) -> list[tuple[str, str]]:
    """Kinds and statuses of all letters, in the order they were written."""
    return [
        (row["kind"], row["status"]) for row in await postgres.fetch("SELECT kind, status FROM letters ORDER BY id")
    ]


async def wait_until_queue_is_empty(postgres: asyncpg.Connection) -> list[tuple[str, str]]:
    """Comes back when no letter waits to be posted and no job is left in the queue."""
    async with asyncio.timeout(40):
        while await postgres.fetchval(
            "SELECT EXISTS (SELECT FROM letters WHERE status = 'QUEUED') OR EXISTS (SELECT FROM pgqueuer)"
        ):
            await asyncio.sleep(0.02)
    return await list_email_statuses(postgres)


async def expire_claims(postgres: asyncpg.Connection) -> None:
    """As if their time had passed."""
    await postgres.execute("UPDATE letters SET taken_until = clock_timestamp() WHERE taken_until IS NOT NULL")


async def wait_for_attempts(postgres: asyncpg.Connection, attempts: int) -> None:
    """Comes back when some letter has been tried this often, in vain."""
    for _ in range(1000):  # looks, whatever the event loop's clock says meanwhile
        if (await postgres.fetchval("SELECT max(attempts) FROM letters") or 0) >= attempts:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def get_text_and_html(message: EmailMessage) -> tuple[str, str]:
    """The plain text and the HTML."""
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    assert [part.get_content_type() for part in (text, html)] == ["text/plain", "text/html"]
    return text.get_content(), html.get_content()
