"""Letters in tests: a poster at work, what became of them, and their two parts."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from email.message import EmailMessage

import asyncpg

from domain.posting import Patience
from domain.shop import Shop
from server.post.desk import desk_of
from server.post.poster import Pace, Poster
from server.settings import Settings
from tests.smtp import Mailbox

QUICK = Pace(look=0.5, reconnect=0.1, again=0.2, grace=0)
HASTY = Patience(dt.timedelta(milliseconds=50), dt.timedelta(milliseconds=200), attempts=1000)
GIVES_UP = Patience(dt.timedelta(milliseconds=10), dt.timedelta(milliseconds=20), attempts=4)


def at(mailbox: Mailbox, settings: Settings) -> Settings:
    return settings.model_copy(update={"smtp_url": mailbox.url})


@asynccontextmanager
async def posting(
    shop: Shop, settings: Settings, patience: Patience = HASTY, pace: Pace | None = None
) -> AsyncIterator[Poster]:
    """A poster of the shop's own kind, in a hurry."""
    poster = Poster(shop, replace(desk_of(settings), patience=patience), pace or QUICK)
    at_work = asyncio.create_task(poster.run())
    try:
        yield poster
    finally:
        poster.stop()
        await at_work


async def fates(postgres: asyncpg.Connection) -> list[tuple[str, str]]:
    """Kinds and statuses of all letters, in the order they were written."""
    return [
        (row["kind"], row["status"]) for row in await postgres.fetch("SELECT kind, status FROM letters ORDER BY id")
    ]


async def until_settled(postgres: asyncpg.Connection) -> list[tuple[str, str]]:
    """Comes back when no letter waits to be posted and no job is left in the queue."""
    async with asyncio.timeout(40):
        while await postgres.fetchval(
            "SELECT EXISTS (SELECT FROM letters WHERE status = 'QUEUED') OR EXISTS (SELECT FROM pgqueuer)"
        ):
            await asyncio.sleep(0.02)
    return await fates(postgres)


async def let_leases_run_out(postgres: asyncpg.Connection) -> None:
    """As if their time had passed."""
    await postgres.execute("UPDATE letters SET taken_until = clock_timestamp() WHERE taken_until IS NOT NULL")


async def until_tried(postgres: asyncpg.Connection, times: int) -> None:
    """Comes back when some letter has been tried this often, in vain."""
    for _ in range(1000):  # looks, whatever the event loop's clock says meanwhile
        if (await postgres.fetchval("SELECT max(attempts) FROM letters") or 0) >= times:
            return
        await asyncio.sleep(0.02)
    raise TimeoutError


def parts(letter: EmailMessage) -> tuple[str, str]:
    """The plain text and the HTML."""
    assert letter.get_content_type() == "multipart/alternative"
    text, html = letter.iter_parts()
    assert [part.get_content_type() for part in (text, html)] == ["text/plain", "text/html"]
    return text.get_content(), html.get_content()
