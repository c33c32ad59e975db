"""Deterministic races: an extra connection holds a lock until the others wait for it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

from tests.support.waiting import wait_until

LOCK_BOOKS = "SELECT FROM books WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
LOCK_ORDERS = "SELECT FROM orders WHERE user_id = $1 FOR UPDATE"
LOCK_PAYMENTS = "LOCK TABLE mock_payments IN ACCESS EXCLUSIVE MODE"

_BLOCKED_PIDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
_COUNT_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::int[])"


@asynccontextmanager
async def hold_lock(database_url: str, statement: str, *arguments: Any) -> AsyncIterator[asyncpg.Connection]:
    """Hold the locks that the statement takes, and yield the connection; leaving the block commits its changes."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(statement, *arguments)
            yield connection
    finally:
        await connection.close()


async def wait_for_blocked(postgres: asyncpg.Connection, count: int) -> list[int]:
    """Wait until this many connections wait for a lock, and return their process ids."""

    async def list_blocked() -> list[int]:
        pids = [record["pid"] for record in await postgres.fetch(_BLOCKED_PIDS)]
        return pids if len(pids) >= count else []

    pids: list[int] = await wait_until(list_blocked, 20)
    return pids


async def wait_until_disconnected(postgres: asyncpg.Connection, pids: list[int]) -> None:
    """Wait until PostgreSQL has ended the sessions with these process ids."""

    async def are_disconnected() -> bool:
        return not await postgres.fetchval(_COUNT_CONNECTED, pids)

    await wait_until(are_disconnected, 20)
