"""Connections lent for a statement or a transaction each. asyncpg's own pool costs twice what a short statement does; this costs a list's `pop`."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from math import inf

import asyncpg

CHECK_TIMEOUT = 2  # seconds
CLOSE_TIMEOUT = 2  # seconds


class ConnectionLost(Exception):
    """In the middle of a statement."""


class NoneFree(TimeoutError):
    """Others kept theirs for as long as somebody waits: it tells nothing about PostgreSQL."""


class LentConnection(asyncpg.Connection):
    """`used_at`, when it was last given back, and `good_until` are on the loop's clock; `begin` begins a transaction."""

    begin: str = "BEGIN"
    used_at: float = 0.0
    good_until: float = inf
    was_at_standby: bool = False

    @property
    def has_open_transaction(self) -> bool:
        return not self.is_closed() and self.is_in_transaction()


class Lender:
    """Opens connections as they are needed, `most` at a time, and closes those that nobody has needed for `idle_seconds`.

    For whoever watches it counts, since the process began: the `statements` that borrowers sent, how often and for how long somebody
    had to wait until another gave one back, and how often nobody did in time.
    """

    def __init__(
        self, connect: Callable[[], Awaitable[LentConnection]], most: int, *, wait_seconds: float, idle_seconds: float
    ) -> None:
        self.statements, self.waits, self.waited_seconds, self.in_vain = 0, 0, 0.0, 0
        self._connect, self.most = connect, most
        self._wait_seconds, self._idle_seconds = wait_seconds, idle_seconds
        self._idle: list[LentConnection] = []
        self._open = 0
        self._waiting: deque[asyncio.Future[LentConnection | None]] = deque()
        self._checks: set[asyncio.Task[None]] = set()
        self._closing = False

    async def borrow(self) -> LentConnection:
        """Whoever borrows must give back.

        Raises `NoneFree` after `wait_seconds` of waiting for others, `TimeoutError` when opening one took as long, or whatever
        hinders it from connecting.
        """
        while self._idle:
            connection = self._idle.pop()
            if not connection.is_closed():
                return connection
            self._open -= 1
        if self._closing:
            raise asyncpg.InterfaceError("the database is closed")
        is_full = self._open >= self.most
        try:
            async with asyncio.timeout(self._wait_seconds):
                if not is_full:
                    self._open += 1
                elif (handed := await self._turn()) is not None:
                    return handed
                return await self._opened()
        except TimeoutError as error:
            self.in_vain += 1
            if is_full:
                raise NoneFree from error
            raise

    @property
    def in_use(self) -> int:
        """Those that are lent or being opened."""
        return self._open - len(self._idle)

    @property
    def idle(self) -> int:
        return len(self._idle)

    @property
    def waiting(self) -> int:
        return sum(not waiter.done() for waiter in self._waiting)

    def give_back(self, connection: LentConnection) -> None:
        if self._closing or connection.is_closed():
            connection.terminate()
            self._open -= 1
            self._pass_on(None)
        elif not self._pass_on(connection):
            connection.used_at = asyncio.get_running_loop().time()
            self._idle.append(connection)
            if self._idle[0].used_at < connection.used_at - self._idle_seconds:
                self._idle.pop(0).terminate()
                self._open -= 1

    def give_back_checked(self, connection: LentConnection) -> None:
        """One whose statement was given up: it is lent again when PostgreSQL has let go of that, outside of any transaction."""
        check = asyncio.get_running_loop().create_task(self._check(connection))
        self._checks.add(check)
        check.add_done_callback(self._checks.discard)

    async def close(self) -> None:
        """Those that are still lent are closed when they are given back."""
        self._closing = True
        idle, self._idle = self._idle, []
        self._open -= len(idle)
        await asyncio.gather(*self._checks, *(it.close(timeout=CLOSE_TIMEOUT) for it in idle), return_exceptions=True)

    async def _turn(self) -> LentConnection | None:
        """A connection, or with `None` the right to open one."""
        loop = asyncio.get_running_loop()
        waiter: asyncio.Future[LentConnection | None] = loop.create_future()
        self._waiting.append(waiter)
        self.waits, since = self.waits + 1, loop.time()
        try:
            return await waiter
        except asyncio.CancelledError:
            if not waiter.cancelled():  # it came at the very moment
                self._hand_on(waiter.result())
            raise
        finally:
            self.waited_seconds += loop.time() - since

    async def _opened(self) -> LentConnection:
        try:
            return await self._connect()
        except BaseException:
            self._hand_on(None)
            raise

    def _hand_on(self, connection: LentConnection | None) -> None:
        if connection is not None:
            self.give_back(connection)
        else:
            self._open -= 1
            self._pass_on(None)

    def _pass_on(self, connection: LentConnection | None) -> bool:
        """To whoever has waited longest."""
        while self._waiting:
            waiter = self._waiting.popleft()
            if not waiter.done():
                self._open += connection is None
                waiter.set_result(connection)
                return True
        return False

    async def _check(self, connection: LentConnection) -> None:
        try:
            async with asyncio.timeout(CHECK_TIMEOUT):
                await connection.execute("ROLLBACK" if connection.has_open_transaction else "SELECT 1")
                if connection.has_open_transaction:  # what was given up was the BEGIN
                    await connection.execute("ROLLBACK")
        except Exception:
            connection.terminate()
        finally:
            self.give_back(connection)
