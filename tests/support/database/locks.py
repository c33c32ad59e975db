"""Races made certain: a third connection holds a lock until everybody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

LOCK_BOOKS = "SELECT FROM books WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
LOCK_ORDERS = "SELECT FROM orders WHERE user_id = $1 FOR UPDATE"
LOCK_PAYMENTS = "LOCK TABLE mock_payments IN ACCESS EXCLUSIVE MODE"

_BLOCKED_PIDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
_COUNT_CONNECTED = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::int[])"


@asynccontextmanager
async def hold_lock(database_url: str, statement: str, *arguments: Any) -> AsyncIterator[asyncpg.Connection]:
    """Holds what the statement locks. Leaving commits what was done through the connection meanwhile."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(statement, *arguments)
            yield connection
    finally:
        await connection.close()


async def wait_for_blocked(postgres: asyncpg.Connection, count: int) -> list[int]:
    """Comes back when this many connections wait for a lock, and names them."""
    async with asyncio.timeout(20):
        while len(blocked := await postgres.fetch(_BLOCKED_PIDS)) < count:
            await asyncio.sleep(0.01)
    return [record["pid"] for record in blocked]


async def wait_until_disconnected(postgres: asyncpg.Connection, pids: list[int]) -> None:
    """Comes back when PostgreSQL has noticed that nobody is at the other end of these any more."""
    async with asyncio.timeout(20):
        while await postgres.fetchval(_COUNT_CONNECTED, pids):
            await asyncio.sleep(0.01)
