"""How long an answer may take. For one that comes at once nothing is set up but a timer."""

import asyncio
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self

TIMEOUT = 10  # seconds
AT_ONCE = 0.5  # seconds; whoever has hung up before is answered as if they had not
Departure = Callable[[], Awaitable[None]]
"""Returns when the client has hung up."""


class Patience:
    """Ends what takes longer than `TIMEOUT` with `TimeoutError`; sooner, if the client may leave and does."""

    __slots__ = ("_begun", "_deadline", "_departure", "_timer", "_watch", "is_abandoned")

    def __init__(self, departure: Departure | None) -> None:
        self.is_abandoned = False
        self._departure = departure
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._deadline = asyncio.timeout(None)
        await self._deadline.__aenter__()
        loop = asyncio.get_running_loop()
        self._begun = loop.time()
        self._timer = loop.call_later(AT_ONCE, self._watch_out)
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._timer.cancel()
        if self._watch is not None:
            self._watch.cancel()
        await self._deadline.__aexit__(kind, error, traceback)

    def _watch_out(self) -> None:
        self._deadline.reschedule(self._begun + TIMEOUT)
        if self._departure is not None:
            self._watch = asyncio.get_running_loop().create_task(self._watch_for(self._departure))

    async def _watch_for(self, departure: Departure) -> None:
        await departure()
        if not self._deadline.expired():
            self.is_abandoned = True
            self._deadline.reschedule(0)
