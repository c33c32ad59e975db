"""An email worker for tests, the state of its queue, and the parts of an email."""

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
from tests.support.waiting import wait_until

FAST_SETTINGS = WorkerSettings(poll_interval=0.5, reconnect_delay=0.1, retry_delay=0.2, takeover_grace=0)
FAST_RETRIES = RetryPolicy(dt.timedelta(milliseconds=50), dt.timedelta(milliseconds=200), max_attempts=1000)
FEW_RETRIES = RetryPolicy(dt.timedelta(milliseconds=10), dt.timedelta(milliseconds=20), max_attempts=4)


def with_smtp_url(mailbox: FakeMailServer, settings: Settings) -> Settings:
    """Return the settings with the mail server's URL."""
    return settings.model_copy(update={"smtp_url": mailbox.url})


@asynccontextmanager
async def run_worker(
    shop: Shop,
    settings: Settings,
    retry_policy: RetryPolicy = FAST_RETRIES,
    worker_settings: WorkerSettings | None = None,
) -> AsyncIterator[EmailWorker]:
    """Run an email worker that polls and retries fast, and stop it at the end of the block."""
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
    """Return all emails, oldest first, as (kind, status)."""
    return [
        (row["kind"], row["status"]) for row in await postgres.fetch("SELECT kind, status FROM letters ORDER BY id")
    ]


async def wait_until_queue_is_empty(postgres: asyncpg.Connection) -> list[tuple[str, str]]:
    """Wait until no email is queued and no job is left, and return all emails as (kind, status)."""

    async def is_empty() -> bool:
        return not await postgres.fetchval(
            "SELECT EXISTS (SELECT FROM letters WHERE status = 'QUEUED') OR EXISTS (SELECT FROM pgqueuer)"
        )

    await wait_until(is_empty, 40)
    return await list_email_statuses(postgres)


async def expire_claims(postgres: asyncpg.Connection) -> None:
    """Make the workers' claims of emails expire now."""
    await postgres.execute("UPDATE letters SET taken_until = clock_timestamp() WHERE taken_until IS NOT NULL")


async def wait_for_attempts(postgres: asyncpg.Connection, attempts: int) -> None:
    """Wait until an email has had this many failed attempts."""

    async def has_attempts() -> bool:
        return bool((await postgres.fetchval("SELECT max(attempts) FROM letters") or 0) >= attempts)

    await wait_until(has_attempts)


def get_text_and_html(message: EmailMessage) -> tuple[str, str]:
    """Return the plain text and the HTML of an email."""
    assert message.get_content_type() == "multipart/alternative"
    text, html = message.iter_parts()
    assert [part.get_content_type() for part in (text, html)] == ["text/plain", "text/html"]
    return text.get_content(), html.get_content()
