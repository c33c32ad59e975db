"""Counts and facets that may be a second old: each process counts the same thing once a second at most."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")

TTL = 1.0  # seconds
MAX_ENTRIES = 1_000


class SingleFlightCache:
    """Callers who ask while a count is under way wait for that one."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[Hashable, tuple[float, asyncio.Future[Any]]] = OrderedDict()

    def clear(self) -> None:
        self._entries.clear()

    def peek(self, key: Hashable) -> Any:
        """What was counted within the last second, or `None`."""
        started, future = self._entries.get(key, (float("-inf"), None))
        if future is None or not future.done() or self._clock() - started >= TTL or _has_failed(future):
            return None
        return future.result()

    async def get(self, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        now = self._clock()
        started, future = self._entries.get(key, (float("-inf"), None))
        if future is None or now - started >= TTL or _has_failed(future):
            future = asyncio.ensure_future(load())
            self._entries[key] = (now, future)
            self._entries.move_to_end(key)
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
        return cast(T, await asyncio.shield(future))  # one caller who leaves does not take the count from the others


def _has_failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
