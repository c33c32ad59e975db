"""Loads rows in batches: what several fields of a request need becomes one statement."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from typing import Any, Generic, TypeVar

from aiodataloader import DataLoader

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH_SIZE = 1_000  # keys in one statement


class Loader(Generic[K, V]):
    """Loads the values of keys that are requested at the same time with one statement, and each key once.

    It wraps a DataLoader of lists of keys, so that a list of rows costs one future and not one for each row.
    """

    def __init__(self, fetch: Callable[[list[K]], Awaitable[list[V]]], pending_tasks: set[asyncio.Task[Any]]) -> None:
        """Name what fetches the values of keys, in their order, and the set that holds the tasks in progress."""
        self._fetch = fetch
        self._pending_tasks = pending_tasks
        self._cache: dict[K, V] = {}
        self._key_lists: DataLoader[tuple[K, ...], list[V]] = DataLoader(self._load_key_lists)

    async def load(self, key: K) -> V:
        """Load the value of one key."""
        [value] = await self.load_all((key,))
        return value

    async def load_all(self, keys: Sequence[K]) -> list[V]:
        """Load the values, in the order of the keys. Cancelling the call does not cancel the batch for other callers."""
        return await asyncio.shield(self._key_lists.load(tuple(keys)))

    def get_cached(self, keys: Iterable[K | None]) -> list[V | None] | None:
        """Return the values, in the order of the keys, or `None` when any key is not loaded yet.

        The value of a key that is `None` is `None`.
        """
        cache = self._cache
        try:
            return [None if key is None else cache[key] for key in keys]
        except KeyError:
            return None

    async def _load_key_lists(self, key_lists: list[tuple[K, ...]]) -> list[list[V]]:
        batch = asyncio.current_task()  # DataLoader runs each batch in a task of its own
        assert batch is not None
        self._pending_tasks.add(batch)
        try:
            missing = list(dict.fromkeys(key for keys in key_lists for key in keys if key not in self._cache))
            for start in range(0, len(missing), MAX_BATCH_SIZE):
                chunk = missing[start : start + MAX_BATCH_SIZE]
                self._cache.update(zip(chunk, await self._fetch(chunk), strict=True))
        finally:
            self._pending_tasks.discard(batch)
        return [[self._cache[key] for key in keys] for keys in key_lists]
