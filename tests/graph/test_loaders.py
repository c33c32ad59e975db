"""Loaders: one batch for several fields, and what cancelling one of them does."""

import asyncio

import pytest

from graph.kit.loader import Loader


async def test_cancelled_waiter_does_not_cancel_the_batch() -> None:
    """As graphql-core cancels the fields beside one that failed."""
    is_requested, is_released = asyncio.Event(), asyncio.Event()

    async def double(keys: list[int]) -> list[int]:
        is_requested.set()
        await is_released.wait()
        return [2 * key for key in keys]

    loader = Loader(double, set())
    cancelled, waiting = asyncio.create_task(loader.load(1)), asyncio.create_task(loader.load(1))
    await is_requested.wait()
    cancelled.cancel()
    with pytest.raises(asyncio.CancelledError):
        await cancelled
    is_released.set()
    assert await waiting == 2
