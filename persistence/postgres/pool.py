"""A connection pool for single statements and transactions.

asyncpg's own pool costs twice as much as a short statement; acquiring from this one costs a list's `pop`.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf

import asyncpg

RESET_TIMEOUT = 2  # seconds
CLOSE_TIMEOUT = 2  # seconds


class ConnectionLost(Exception):
    """The connection was lost during a statement."""


class PoolTimeout(TimeoutError):
    """No connection was released in time. This says nothing about PostgreSQL itself."""


class PoolConnection(asyncpg.Connection):
    """A pooled connection. `released_at` and `expires_at` are times of the event loop's clock, in seconds."""

    begin_statement: str = "BEGIN"
    released_at: float = 0.0
    expires_at: float = inf
    was_on_replica: bool = False

    @property
    def has_open_transaction(self) -> bool:
        """Whether the connection is open and inside a transaction."""
        return not self.is_closed() and self.is_in_transaction()


class ConnectionPool:
    """Opens up to `max_size` connections on demand, and closes those that were idle for `max_idle` seconds.

    Counters since the process started: `statement_count`, `requests_queued` (acquisitions that waited),
    `requests_wait_seconds` and `timeouts`.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[PoolConnection]], max_size: int, *, timeout: float, max_idle: float
    ) -> None:
        self.statement_count, self.requests_queued, self.requests_wait_seconds, self.timeouts = 0, 0, 0.0, 0
        self._connect, self.max_size = connect, max_size
        self._timeout, self._max_idle = timeout, max_idle
        self._idle: list[PoolConnection] = []
        self._size = 0
        self._waiters: deque[asyncio.Future[PoolConnection | None]] = deque()
        self._reset_tasks: set[asyncio.Task[None]] = set()
        self._is_closing = False

    async def acquire(self) -> PoolConnection:
        """Return a connection, which the caller must release.

        Raises:
            PoolTimeout: No connection was released within `timeout` seconds.
            TimeoutError: Opening a connection took as long.
            Exception: Whatever the driver raises when it cannot connect.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._size -= 1
        if self._is_closing:
            raise asyncpg.InterfaceError("the database is closed")
        is_full = self._size >= self.max_size
        try:
            async with asyncio.timeout(self._timeout):
                if not is_full:
                    self._size += 1
                elif (handed_over := await self._wait_in_queue()) is not None:
                    return handed_over
                return await self._open_connection()
        except TimeoutError as error:
            self.timeouts += 1
            if is_full:
                raise PoolTimeout from error
            raise

    @property
    def in_use(self) -> int:
        """The number of connections in use or being opened."""
        return self._size - len(self._idle)

    @property
    def idle(self) -> int:
        """The number of open connections that are not in use."""
        return len(self._idle)

    @property
    def requests_waiting(self) -> int:
        """The number of acquisitions that wait for a connection."""
        return sum(not waiter.done() for waiter in self._waiters)

    def release(self, connection: PoolConnection) -> None:
        """Return a connection to the pool, or hand it to the acquisition that waited longest."""
        if self._is_closing or connection.is_closed():
            connection.terminate()
            self._size -= 1
            self._hand_to_waiter(None)
        elif not self._hand_to_waiter(connection):
            connection.released_at = asyncio.get_running_loop().time()
            self._idle.append(connection)
            if self._idle[0].released_at < connection.released_at - self._max_idle:
                self._idle.pop(0).terminate()
                self._size -= 1

    def release_after_reset(self, connection: PoolConnection) -> None:
        """Release a connection whose statement was cancelled, once PostgreSQL has ended its statement and transaction."""
        reset_task = asyncio.get_running_loop().create_task(self._reset(connection))
        self._reset_tasks.add(reset_task)
        reset_task.add_done_callback(self._reset_tasks.discard)

    async def close(self) -> None:
        """Close the idle connections; those in use are closed on release."""
        self._is_closing = True
        idle, self._idle = self._idle, []
        self._size -= len(idle)
        await asyncio.gather(
            *self._reset_tasks, *(it.close(timeout=CLOSE_TIMEOUT) for it in idle), return_exceptions=True
        )

    async def _wait_in_queue(self) -> PoolConnection | None:
        """Return a connection, or `None` for the right to open one."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[PoolConnection | None] = loop.create_future()
        self._waiters.append(waiter)
        self.requests_queued, started_at = self.requests_queued + 1, loop.time()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # the result arrived with the cancellation
                self._hand_back(waiter.result())
            raise
        finally:
            self.requests_wait_seconds += loop.time() - started_at

    async def _open_connection(self) -> PoolConnection:
        try:
            return await self._connect()
        except BaseException:
            self._hand_back(None)
            raise

    def _hand_back(self, connection: PoolConnection | None) -> None:
        if connection is not None:
            self.release(connection)
        else:
            self._size -= 1
            self._hand_to_waiter(None)

    def _hand_to_waiter(self, connection: PoolConnection | None) -> bool:
        """Hand the connection, or the right to open one, to the longest waiter; return whether there was one."""
        while self._waiters:
            waiter = self._waiters.popleft()
            if not waiter.done():
                self._size += connection is None
                waiter.set_result(connection)
                return True
        return False

    async def _reset(self, connection: PoolConnection) -> None:
        try:
            async with asyncio.timeout(RESET_TIMEOUT):
                await connection.execute("ROLLBACK" if connection.has_open_transaction else "SELECT 1")
                if connection.has_open_transaction:  # the cancelled statement was the BEGIN
                    await connection.execute("ROLLBACK")
        except Exception:
            connection.terminate()
        finally:
            self.release(connection)
