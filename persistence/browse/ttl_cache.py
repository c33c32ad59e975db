"""A cache for counts and facets: each process computes a value at most once per second."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

T = TypeVar("T")

TTL = 1.0  # seconds
MAX_ENTRIES = 1_000


class SingleFlightCache:
    """A cache with a TTL of one second. Concurrent callers of a key share one computation."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._entries: OrderedDict[Hashable, tuple[float, asyncio.Future[Any]]] = OrderedDict()

    def clear(self) -> None:
        """Remove all entries."""
        self._entries.clear()

    def peek(self, key: Hashable) -> Any:
        """Return the cached value of a key, or `None`."""
        started, future = self._entries.get(key, (float("-inf"), None))
        if future is None or not future.done() or self._clock() - started >= TTL or _has_failed(future):
            return None
        return future.result()

    async def get(self, key: Hashable, load: Callable[[], Awaitable[T]]) -> T:
        """Return the cached value of a key, or the result of `load`."""
        now = self._clock()
        started, future = self._entries.get(key, (float("-inf"), None))
        if future is None or now - started >= TTL or _has_failed(future):
            future = asyncio.ensure_future(load())
            self._entries[key] = (now, future)
            self._entries.move_to_end(key)
            if len(self._entries) > MAX_ENTRIES:
                self._entries.popitem(last=False)
        return cast(T, await asyncio.shield(future))  # a cancelled caller does not cancel the computation for others


def _has_failed(future: asyncio.Future[Any]) -> bool:
    return future.done() and (future.cancelled() or future.exception() is not None)
