"""A pool never lends a connection twice, never lends a broken connection, and never opens more than `max_size`."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from persistence.postgres.connection import build_asyncpg_dsn
from persistence.postgres.pool import ConnectionPool, PoolConnection, PoolTimeout

MAX_SIZE = 2
MAX_IDLE = 100.0
SELECT_PID = "SELECT pg_backend_pid()"
IS_SLEEPING = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1"


class FlakyConnector:
    """Opens connections; tests can make it fail or wait."""

    def __init__(self, url: str) -> None:
        self._dsn = build_asyncpg_dsn(url)
        self.opened: list[PoolConnection] = []
        self.error: Exception | None = None
        self.may_connect = asyncio.Event()
        self.may_connect.set()

    async def __call__(self) -> PoolConnection:
        await self.may_connect.wait()
        if self.error:
            raise self.error
        connection: PoolConnection = await asyncpg.connect(self._dsn, connection_class=PoolConnection)
        self.opened.append(connection)
        return connection


@pytest.fixture
async def connector(database_url: str) -> AsyncIterator[FlakyConnector]:
    connector = FlakyConnector(database_url)
    yield connector
    for connection in connector.opened:
        connection.terminate()


def create_pool(connector: FlakyConnector, timeout: float = 30) -> ConnectionPool:
    return ConnectionPool(connector, MAX_SIZE, timeout=timeout, max_idle=MAX_IDLE)


async def test_acquire_times_out(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    connections = [await pool.acquire() for _ in range(MAX_SIZE)]
    pool._timeout = 0.01
    with pytest.raises(PoolTimeout):
        await pool.acquire()
    for connection in connections:
        pool.release(connection)
    assert {await pool.acquire() for _ in range(MAX_SIZE)} == set(connections)
    assert len(connector.opened) == MAX_SIZE


async def test_connecting_times_out(connector: FlakyConnector) -> None:
    pool = create_pool(connector, timeout=0.01)
    connector.may_connect.clear()
    for _ in range(MAX_SIZE + 1):
        with pytest.raises(TimeoutError) as error_info:
            await pool.acquire()
        assert not isinstance(error_info.value, PoolTimeout)
    connector.may_connect.set()
    pool._timeout = 30
    assert len({await pool.acquire() for _ in range(MAX_SIZE)}) == MAX_SIZE


async def test_failed_connect_frees_its_slot(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    connector.error = ConnectionRefusedError("connection refused")
    for _ in range(MAX_SIZE + 1):
        with pytest.raises(ConnectionRefusedError):
            await pool.acquire()
    connector.error = None
    assert len({await pool.acquire() for _ in range(MAX_SIZE)}) == MAX_SIZE


async def test_waiter_gets_the_slot_of_a_failed_connect(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    connector.may_connect.clear()
    tasks = [asyncio.create_task(pool.acquire()) for _ in range(MAX_SIZE + 1)]
    await asyncio.sleep(0)
    tasks[0].cancel()
    connector.may_connect.set()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[0], asyncio.CancelledError)
    assert len(set(results[1:])) == MAX_SIZE == len(connector.opened)


async def test_waiters_are_served_in_order(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    first, second = [await pool.acquire() for _ in range(MAX_SIZE)]
    waiters = [asyncio.create_task(pool.acquire()) for _ in range(3)]
    await asyncio.sleep(0)
    pool.release(second)
    pool.release(first)
    assert [await waiters[0], await waiters[1]] == [second, first]
    assert not waiters[2].done()
    pool.release(first)
    assert await waiters[2] is first


async def test_cancelled_waiter_is_skipped(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    first, _ = [await pool.acquire() for _ in range(MAX_SIZE)]
    cancelled, remaining = (asyncio.create_task(pool.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.sleep(0)
    pool.release(first)
    assert await remaining is first


async def test_connection_of_a_cancelled_waiter_is_given_to_the_next_waiter(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    first, _ = [await pool.acquire() for _ in range(MAX_SIZE)]
    cancelled, remaining = (asyncio.create_task(pool.acquire()) for _ in range(2))
    await asyncio.sleep(0)
    pool.release(first)
    cancelled.cancel()
    assert await remaining is first
    assert cancelled.cancelled()


async def test_broken_connection_is_not_reused(connector: FlakyConnector, postgres: asyncpg.Connection) -> None:
    pool = create_pool(connector)
    broken_connection = await pool.acquire()
    pid = await broken_connection.fetchval(SELECT_PID)
    pool.release(broken_connection)
    await postgres.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    while not broken_connection.is_closed():
        await asyncio.sleep(0.001)
    replacements = [await pool.acquire() for _ in range(MAX_SIZE)]
    assert broken_connection not in replacements
    assert await replacements[0].fetchval(SELECT_PID) != pid


async def test_broken_connection_frees_a_slot_for_waiters(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    broken_connection, _ = [await pool.acquire() for _ in range(MAX_SIZE)]
    waiter = asyncio.create_task(pool.acquire())
    await asyncio.sleep(0)
    broken_connection.terminate()
    pool.release(broken_connection)
    assert await (await waiter).fetchval("SELECT 1") == 1
    assert len(connector.opened) == MAX_SIZE + 1


async def test_connection_is_reused_after_its_cancelled_statement_ends(
    connector: FlakyConnector, postgres: asyncpg.Connection
) -> None:
    pool = create_pool(connector)
    connection = await pool.acquire()
    pid = await connection.fetchval(SELECT_PID)
    statement = asyncio.create_task(connection.fetch("SELECT pg_sleep(60)"))
    while not await postgres.fetchval(IS_SLEEPING, pid):
        await asyncio.sleep(0.001)
    statement.cancel()
    await asyncio.gather(statement, return_exceptions=True)
    pool.release_after_reset(connection)
    other = await pool.acquire()
    assert other is not connection
    acquired = await pool.acquire()
    assert acquired is connection
    assert await acquired.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("steps", [["BEGIN"], ["BEGIN", "SELECT 1"], ["BEGIN", "SELECT 1 / 0"]])
async def test_connection_cancelled_in_a_transaction_is_reset(connector: FlakyConnector, steps: list[str]) -> None:
    pool = create_pool(connector)
    connection, _ = [await pool.acquire() for _ in range(MAX_SIZE)]
    for number, step in enumerate(steps, 1):
        task = asyncio.create_task(connection.execute(step))
        if number == len(steps) == 1:
            await asyncio.sleep(0)  # the statement was sent, and no response was read
            task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    pool.release_after_reset(connection)
    acquired = await pool.acquire()
    assert acquired is connection
    assert not acquired.is_in_transaction()
    assert await acquired.fetchval("SELECT 1") == 1


async def test_idle_connections_are_closed(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    busy_connection, idle_connection = [await pool.acquire() for _ in range(MAX_SIZE)]
    pool.release(idle_connection)
    pool.release(busy_connection)
    idle_connection.released_at -= MAX_IDLE + 1
    assert await pool.acquire() is busy_connection
    pool.release(busy_connection)
    assert idle_connection.is_closed()
    assert not busy_connection.is_closed()
    assert idle_connection not in [await pool.acquire() for _ in range(MAX_SIZE)]


async def test_closed_pool_rejects_acquire(connector: FlakyConnector) -> None:
    pool = create_pool(connector)
    connection, idle_connection = [await pool.acquire() for _ in range(MAX_SIZE)]
    pool.release(idle_connection)
    await pool.close()
    assert idle_connection.is_closed()
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await pool.acquire()
    assert await connection.fetchval("SELECT 1") == 1
    pool.release(connection)
    assert connection.is_closed()
