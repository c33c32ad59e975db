"""One process migrates at a time: it holds a lock, for as long as the connection is open that the lock was taken on."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg

from persistence.hosts import connect_to_one

LOCK = 0x626F6F6B73  # "books"
LONGEST_WAIT = 600  # seconds for somebody else's migration
BETWEEN = 0.2  # seconds
LONGEST_SILENCE = 30  # seconds


class LockLost(Exception):
    """Somebody else may be migrating by now."""


@asynccontextmanager
async def alone(url: str) -> AsyncIterator[None]:
    """Holds the lock in another transaction, which outlives those of the revisions and does not mind a pooler.

    It asks again and again: who waits in a statement keeps a snapshot, and an index that is built concurrently waits for
    that. When the connection is cut the block is cancelled, and `LockLost` raised.
    """
    connection = await connect_to_one(url, asyncpg.Connection, within=5)
    try:
        await connection.execute("BEGIN; SET LOCAL idle_in_transaction_session_timeout = 0")
        async with asyncio.timeout(LONGEST_WAIT):
            while not await _is_ours(connection):  # noqa: ASYNC110
                await asyncio.sleep(BETWEEN)
        async with _while_open(connection):
            yield
    finally:
        await connection.close()


async def _is_ours(connection: asyncpg.Connection) -> bool:
    locked: bool = await connection.fetchval(f"SELECT pg_try_advisory_xact_lock({LOCK})")
    await connection.execute("SELECT")  # in one message, which ends the statement before and its snapshot
    return locked


@asynccontextmanager
async def _while_open(connection: asyncpg.Connection) -> AsyncIterator[None]:
    async def watch() -> None:
        await _until_cut(connection)
        block.reschedule(0)

    try:
        async with asyncio.timeout(None) as block:
            watching = asyncio.create_task(watch())
            try:
                yield
            finally:
                watching.cancel()
                await asyncio.wait([watching])
    except TimeoutError as error:
        if not block.expired():
            raise
        connection.terminate()
        raise LockLost from error


async def _until_cut(connection: asyncpg.Connection) -> None:
    """Nor will a firewall take it for one that nobody needs."""
    with contextlib.suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        while True:
            await asyncio.sleep(BETWEEN)
            await connection.execute("SELECT", timeout=LONGEST_SILENCE)
