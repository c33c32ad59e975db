"""Limits how long an execution may take. A fast execution pays for a timer only."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

EXECUTION_TIMEOUT = 10  # seconds
DISCONNECT_CHECK_DELAY = 0.5  # seconds; before that, a disconnect is not noticed
Disconnect = Callable[[], Awaitable[None]]
"""Returns when the client has disconnected."""


class Deadline:
    """Raises `TimeoutError` in its block after `EXECUTION_TIMEOUT`, or when `wait_disconnected` returns."""

    __slots__ = ("_disconnect_task", "_started_at", "_timeout", "_timer", "_wait_disconnected", "is_disconnected")

    def __init__(self, wait_disconnected: Disconnect | None) -> None:
        self.is_disconnected = False
        self._wait_disconnected = wait_disconnected
        self._disconnect_task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        loop = asyncio.get_running_loop()
        self._started_at = loop.time()
        self._timer = loop.call_later(DISCONNECT_CHECK_DELAY, self._arm)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._disconnect_task is not None:
            self._disconnect_task.cancel()
        await self._timeout.__aexit__(kind, error, traceback)

    def _arm(self) -> None:
        self._timeout.reschedule(self._started_at + EXECUTION_TIMEOUT)
        if self._wait_disconnected is not None:
            self._disconnect_task = asyncio.get_running_loop().create_task(
                self._watch_disconnect(self._wait_disconnected)
            )

    async def _watch_disconnect(self, wait_disconnected: Disconnect) -> None:
        await wait_disconnected()
        if not self._timeout.expired():
            self.is_disconnected = True
            self._timeout.reschedule(0)
