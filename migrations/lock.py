"""One process migrates at a time: it holds a lock, for as long as the connection is open that the lock was taken on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from persistence.postgres.multihost import connect_any

LOCK_KEY = 0x626F6F6B73  # "books"
LOCK_WAIT_TIMEOUT = 600  # seconds for somebody else's migration
POLL_INTERVAL = 0.2  # seconds
KEEPALIVE_TIMEOUT = 30  # seconds


class LockLost(Exception):
    """Somebody else may be migrating by now."""


@asynccontextmanager
async def migration_lock(url: str) -> AsyncIterator[None]:
    """Holds the lock in another transaction, which outlives those of the revisions and does not mind a pooler.

    It asks again and again: who waits in a statement keeps a snapshot, and an index that is built concurrently waits for
    that. When the connection is cut the block is cancelled, and `LockLost` raised.
    """
    connection = await connect_any(url, asyncpg.Connection, timeout=5)
    try:
        await connection.execute("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0")
        async with asyncio.timeout(LOCK_WAIT_TIMEOUT):
            while not await _try_lock(connection):  # noqa: ASYNC110
                await asyncio.sleep(POLL_INTERVAL)
        async with _cancel_on_disconnect(connection):
            yield
    finally:
        await connection.close()


async def _try_lock(connection: asyncpg.Connection) -> bool:
    acquired: bool = await connection.fetchval(f"SELECT pg_try_advisory_xact_lock({LOCK_KEY})")
    await connection.execute("SELECT")  # in one message, which ends the statement before and its snapshot
    return acquired


@asynccontextmanager
async def _cancel_on_disconnect(connection: asyncpg.Connection) -> AsyncIterator[None]:
    async def watch() -> None:
        await _wait_until_closed(connection)
        scope.reschedule(0)

    try:
        async with asyncio.timeout(None) as scope:
            watcher = asyncio.create_task(watch())
            try:
                yield
            finally:
                watcher.cancel()
                await asyncio.wait([watcher])
    except TimeoutError as error:
        if not scope.expired():
            raise
        connection.terminate()
        raise LockLost from error


async def _wait_until_closed(connection: asyncpg.Connection) -> None:
    """Nor will a firewall take it for one that nobody needs."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            await connection.execute("SELECT", timeout=KEEPALIVE_TIMEOUT)
