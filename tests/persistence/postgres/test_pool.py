"""Connections are lent for a statement each: never two at once, never a broken one, and never more than there may be."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from persistence.postgres.connection import build_asyncpg_dsn
from persistence.postgres.pool import ConnectionPool, PoolConnection, PoolTimeout

MAX_SIZE = 2
IDLE_SECONDS = 100.0
PID = "SELECT pg_backend_pid()"
IS_SLEEPING = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1"


class FlakyConnector:
    """Opens connections, unless it is told that it cannot."""

    def __init__(self, url: str) -> None:
        self._address = build_asyncpg_dsn(url)
        self.opened: list[PoolConnection] = []
        self.trouble: Exception | None = None
        self.admitted = asyncio.Event()
        self.admitted.set()

    async def __call__(self) -> PoolConnection:
        await self.admitted.wait()
        if self.trouble:
            raise self.trouble
        connection: PoolConnection = await asyncpg.connect(self._address, connection_class=PoolConnection)
        self.opened.append(connection)
        return connection


@pytest.fixture
async def connector(database_url: str) -> AsyncIterator[FlakyConnector]:
    opening = FlakyConnector(database_url)
    yield opening
    for connection in opening.opened:
        connection.terminate()


def create_pool(opening: FlakyConnector, wait_seconds: float = 30) -> ConnectionPool:
    return ConnectionPool(opening, MAX_SIZE, timeout=wait_seconds, max_idle=IDLE_SECONDS)


async def test_acquire_times_out(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    lent = [await lends.acquire() for _ in range(MAX_SIZE)]
    lends._timeout = 0.01
    with pytest.raises(PoolTimeout):
        await lends.acquire()
    for connection in lent:
        lends.release(connection)
    assert {await lends.acquire() for _ in range(MAX_SIZE)} == set(lent)
    assert len(connector.opened) == MAX_SIZE


async def test_connecting_times_out(connector: FlakyConnector) -> None:
    lends = create_pool(connector, wait_seconds=0.01)
    connector.admitted.clear()
    for _ in range(MAX_SIZE + 1):
        with pytest.raises(TimeoutError) as raised:
            await lends.acquire()
        assert not isinstance(raised.value, PoolTimeout)
    connector.admitted.set()
    lends._timeout = 30
    assert len({await lends.acquire() for _ in range(MAX_SIZE)}) == MAX_SIZE


async def test_failed_connect_frees_its_slot(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    connector.trouble = ConnectionRefusedError("nobody there")
    for _ in range(MAX_SIZE + 1):
        with pytest.raises(ConnectionRefusedError):
            await lends.acquire()
    connector.trouble = None
    assert len({await lends.acquire() for _ in range(MAX_SIZE)}) == MAX_SIZE


async def test_waiter_gets_the_slot_of_a_failed_connect(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    connector.admitted.clear()
    asked = [asyncio.create_task(lends.acquire()) for _ in range(MAX_SIZE + 1)]
    await asyncio.sleep(0)
    asked[0].cancel()
    connector.admitted.set()
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert len(set(done[1:])) == MAX_SIZE == len(connector.opened)


async def test_waiters_are_served_in_order(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    first, second = [await lends.acquire() for _ in range(MAX_SIZE)]
    waiting = [asyncio.create_task(lends.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    lends.release(second)
    lends.release(first)
    assert [await waiting[0], await waiting[1]] == [second, first]
    assert not waiting[2].done()
    lends.release(first)
    assert await waiting[2] is first


async def test_cancelled_waiter_is_skipped(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    first, _ = [await lends.acquire() for _ in range(MAX_SIZE)]
    gone, still_there = (asyncio.create_task(lends.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    lends.release(first)
    assert await still_there is first


async def test_connection_of_a_cancelled_waiter_goes_to_the_next(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    first, _ = [await lends.acquire() for _ in range(MAX_SIZE)]
    gone, still_there = (asyncio.create_task(lends.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    lends.release(first)
    gone.cancel()
    assert await still_there is first
    assert gone.cancelled()


async def test_broken_connection_is_not_reused(connector: FlakyConnector, postgres: asyncpg.Connection) -> None:
    lends = create_pool(connector)
    broken = await lends.acquire()
    pid = await broken.fetchval(PID)
    lends.release(broken)
    await postgres.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    while not broken.is_closed():
        await asyncio.sleep(0.001)
    whole = [await lends.acquire() for _ in range(MAX_SIZE)]
    assert broken not in whole
    assert await whole[0].fetchval(PID) != pid


async def test_broken_connection_frees_a_slot_for_waiters(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    broken, _ = [await lends.acquire() for _ in range(MAX_SIZE)]
    waiting = asyncio.create_task(lends.acquire())
    await asyncio.sleep(0)
    broken.terminate()
    lends.release(broken)
    assert await (await waiting).fetchval("SELECT 1") == 1
    assert len(connector.opened) == MAX_SIZE + 1


async def test_connection_is_reused_after_its_cancelled_statement_ends(
    connector: FlakyConnector, postgres: asyncpg.Connection
) -> None:
    lends = create_pool(connector)
    lent = await lends.acquire()
    pid = await lent.fetchval(PID)
    statement = asyncio.create_task(lent.fetch("SELECT pg_sleep(60)"))
    while not await postgres.fetchval(IS_SLEEPING, pid):
        await asyncio.sleep(0.001)
    statement.cancel()
    await asyncio.gather(statement, return_exceptions=True)
    lends.release_after_reset(lent)
    other = await lends.acquire()
    assert other is not lent
    again = await lends.acquire()
    assert again is lent
    assert await again.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("steps", [["BEGIN"], ["BEGIN", "SELECT 1"], ["BEGIN", "SELECT 1 / 0"]])
async def test_connection_cancelled_in_a_transaction_is_reset(connector: FlakyConnector, steps: list[str]) -> None:
    lends = create_pool(connector)
    lent, _ = [await lends.acquire() for _ in range(MAX_SIZE)]
    for number, step in enumerate(steps, 1):
        running = asyncio.create_task(lent.execute(step))
        if number == len(steps) == 1:
            await asyncio.sleep(0)  # it has been sent, and no more
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    lends.release_after_reset(lent)
    again = await lends.acquire()
    assert again is lent
    assert not again.is_in_transaction()
    assert await again.fetchval("SELECT 1") == 1


async def test_idle_connections_are_closed(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    busy, idle = [await lends.acquire() for _ in range(MAX_SIZE)]
    lends.release(idle)
    lends.release(busy)
    idle.released_at -= IDLE_SECONDS + 1
    assert await lends.acquire() is busy
    lends.release(busy)
    assert idle.is_closed()
    assert not busy.is_closed()
    assert idle not in [await lends.acquire() for _ in range(MAX_SIZE)]


async def test_closed_pool_rejects_acquire(connector: FlakyConnector) -> None:
    lends = create_pool(connector)
    lent, idle = [await lends.acquire() for _ in range(MAX_SIZE)]
    lends.release(idle)
    await lends.close()
    assert idle.is_closed()
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await lends.acquire()
    assert await lent.fetchval("SELECT 1") == 1
    lends.release(lent)
    assert lent.is_closed()
