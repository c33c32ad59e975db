"""Races made certain: a third connection holds a lock until everybody waits for it."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg

BOOKS = "SELECT FROM books WHERE id = ANY($1::uuid[]) ORDER BY id FOR UPDATE"
ORDERS = "SELECT FROM orders WHERE user_id = $1 FOR UPDATE"
PAYMENTS = "LOCK TABLE mock_payments IN ACCESS EXCLUSIVE MODE"

_WAITING = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
_LEFT = "SELECT count(*) FROM pg_stat_activity WHERE pid = ANY($1::int[])"


@asynccontextmanager
async def holding(database_url: str, statement: str, *arguments: Any) -> AsyncIterator[asyncpg.Connection]:
    """Holds what the statement locks. Leaving commits what was done through the connection meanwhile."""
    connection = await asyncpg.connect(database_url)
    try:
        async with connection.transaction():
            await connection.execute(statement, *arguments)
            yield connection
    finally:
        await connection.close()


async def until_waiting(postgres: asyncpg.Connection, count: int) -> list[int]:
    """Comes back when this many connections wait for a lock, and names them."""
    async with asyncio.timeout(20):
        while len(waiting := await postgres.fetch(_WAITING)) < count:
            await asyncio.sleep(0.01)
    return [record["pid"] for record in waiting]


async def until_gone(postgres: asyncpg.Connection, connections: list[int]) -> None:
    """Comes back when PostgreSQL has noticed that nobody is at the other end of these any more."""
    async with asyncio.timeout(20):
        while await postgres.fetchval(_LEFT, connections):
            await asyncio.sleep(0.01)
