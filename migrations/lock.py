"""Let one process migrate at a time, with an advisory lock on a connection of its own."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from persistence.postgres.multihost import connect_any

LOCK_KEY = 0x626F6F6B73  # "books"
LOCK_WAIT_TIMEOUT = 600  # seconds to wait for the migration of another process
POLL_INTERVAL = 0.2  # seconds
KEEPALIVE_TIMEOUT = 30  # seconds


class LockLost(Exception):
    """The lock's connection was lost, so another process may be migrating."""


@asynccontextmanager
async def migration_lock(url: str) -> AsyncIterator[None]:
    """Hold the lock during the block, in a separate transaction, which works through a pooler, too.

    The lock is polled, because a waiting statement would keep a snapshot, and concurrent index builds wait for those.

    Raises:
        LockLost: the connection was lost; the block is cancelled.
        TimeoutError: another process holds the lock for `LOCK_WAIT_TIMEOUT` seconds.
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
    await connection.execute("SELECT")  # ends the previous statement's snapshot
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
    """Poll the connection until it is lost; the statements also keep firewalls from closing it."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        while True:
            await asyncio.sleep(POLL_INTERVAL)
            await connection.execute("SELECT", timeout=KEEPALIVE_TIMEOUT)
