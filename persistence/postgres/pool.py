"""Connections lent for a statement or a transaction each. asyncpg's own pool costs twice what a short statement does; this costs a list's `pop`."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf

import asyncpg

RESET_TIMEOUT = 2  # seconds
CLOSE_TIMEOUT = 2  # seconds


class ConnectionLost(Exception):
    """In the middle of a statement."""


class PoolTimeout(TimeoutError):
    """Others kept theirs for as long as somebody waits: it tells nothing about PostgreSQL."""


class PoolConnection(asyncpg.Connection):
    """`used_at`, when it was last given back, and `good_until` are on the loop's clock; `begin` begins a transaction."""

    begin_statement: str = "BEGIN"
    released_at: float = 0.0
    expires_at: float = inf
    was_on_replica: bool = False

    @property
    def has_open_transaction(self) -> bool:
        return not self.is_closed() and self.is_in_transaction()


class ConnectionPool:
    """Opens connections as they are needed, `most` at a time, and closes those that nobody has needed for `idle_seconds`.

    For whoever watches it counts, since the process began: the `statements` that borrowers sent, how often and for how long somebody
    had to wait until another gave one back, and how often nobody did in time.
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
        """Whoever borrows must give back.

        Raises `NoneFree` after `wait_seconds` of waiting for others, `TimeoutError` when opening one took as long, or whatever
        hinders it from connecting.
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
        """Those that are lent or being opened."""
        return self._size - len(self._idle)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def requests_waiting(self) -> int:
        return sum(not waiter.done() for waiter in self._waiters)

    def release(self, connection: PoolConnection) -> None:
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
        """One whose statement was given up: it is lent again when PostgreSQL has let go of that, outside of any transaction."""
        reset_task = asyncio.get_running_loop().create_task(self._reset(connection))
        self._reset_tasks.add(reset_task)
        reset_task.add_done_callback(self._reset_tasks.discard)

    async def close(self) -> None:
        """Those that are still lent are closed when they are given back."""
        self._is_closing = True
        idle, self._idle = self._idle, []
        self._size -= len(idle)
        await asyncio.gather(
            *self._reset_tasks, *(it.close(timeout=CLOSE_TIMEOUT) for it in idle), return_exceptions=True
        )

    async def _wait_in_queue(self) -> PoolConnection | None:
        """A connection, or with `None` the right to open one."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[PoolConnection | None] = loop.create_future()
        self._waiters.append(waiter)
        self.requests_queued, started_at = self.requests_queued + 1, loop.time()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it came at the very moment
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
        """To whoever has waited longest."""
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
                if connection.has_open_transaction:  # what was given up was the BEGIN
                    await connection.execute("ROLLBACK")
        except Exception:
            connection.terminate()
        finally:
            self.release(connection)
