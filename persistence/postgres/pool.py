"""A connection pool whose `acquire` costs one `list.pop` when a connection is idle.

asyncpg's own pool takes twice as long as a short statement does.
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
    """No connection was released in time. The error says nothing about PostgreSQL's health."""


class PoolConnection(asyncpg.Connection):
    """A connection of a pool. `released_at` and `expires_at` are seconds on the event loop's clock."""

    begin_statement: str = "BEGIN"
    """The SQL that begins a transaction."""
    released_at: float = 0.0
    expires_at: float = inf
    was_on_replica: bool = False

    @property
    def has_open_transaction(self) -> bool:
        """Whether the connection is open and inside a transaction."""
        return not self.is_closed() and self.is_in_transaction()


class ConnectionPool:
    """Opens up to `max_size` connections on demand, and closes those that were idle for `max_idle` seconds.

    Counters since the start of the process: `statement_count`, `requests_queued` and `requests_wait_seconds` (callers that
    waited for a connection, and for how long), and `timeouts`.
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
            PoolTimeout: All connections were in use for `timeout` seconds.
            TimeoutError: Opening a connection took `timeout` seconds. Other errors of `connect` pass through.
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
                elif (released := await self._wait_in_queue()) is not None:
                    return released
                return await self._open_connection()
        except TimeoutError as error:
            self.timeouts += 1
            if is_full:
                raise PoolTimeout from error
            raise

    @property
    def in_use(self) -> int:
        """The number of connections that are acquired or being opened."""
        return self._size - len(self._idle)

    @property
    def idle(self) -> int:
        """The number of connections that are ready to be acquired."""
        return len(self._idle)

    @property
    def requests_waiting(self) -> int:
        """The number of callers that wait for a connection."""
        return sum(not waiter.done() for waiter in self._waiters)

    def release(self, connection: PoolConnection) -> None:
        """Return a connection to the pool."""
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
        """Release a connection whose statement was canceled, once PostgreSQL has ended the statement and its transaction."""
        reset_task = asyncio.get_running_loop().create_task(self._reset(connection))
        self._reset_tasks.add(reset_task)
        reset_task.add_done_callback(self._reset_tasks.discard)

    async def close(self) -> None:
        """Close idle connections now, and acquired ones when they are released."""
        self._is_closing = True
        idle, self._idle = self._idle, []
        self._size -= len(idle)
        await asyncio.gather(
            *self._reset_tasks,
            *(connection.close(timeout=CLOSE_TIMEOUT) for connection in idle),
            return_exceptions=True,
        )

    async def _wait_in_queue(self) -> PoolConnection | None:
        """Return a released connection, or `None` when the caller may open one."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[PoolConnection | None] = loop.create_future()
        self._waiters.append(waiter)
        self.requests_queued, started_at = self.requests_queued + 1, loop.time()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # a connection was handed over at the same moment
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
        """Hand the connection, or `None`, to the caller that has waited longest. Return whether there is one."""
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
                if connection.has_open_transaction:  # the canceled statement was the BEGIN
                    await connection.execute("ROLLBACK")
        except Exception:
            connection.terminate()
        finally:
            self.release(connection)
