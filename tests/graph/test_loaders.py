"""Loaders: one batch for several fields, and the cancellation of one of them."""

import asyncio

import pytest

from graph.kit.loader import Loader


async def test_cancelled_waiter_does_not_cancel_the_batch() -> None:
    """graphql-core cancels the siblings of a field that failed."""
    is_requested, is_released = asyncio.Event(), asyncio.Event()

    async def double(keys: list[int]) -> list[int]:
        is_requested.set()
        await is_released.wait()
        return [2 * key for key in keys]

    loader = Loader(double, set())
    cancelled_load, other_load = asyncio.create_task(loader.load(1)), asyncio.create_task(loader.load(1))
    await is_requested.wait()
    cancelled_load.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled_load
    is_released.set()
    assert await other_load == 2
