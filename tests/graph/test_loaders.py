"""What several fields wait for together."""

import asyncio

import pytest

from graph.kit.loader import Loader


async def test_cancelled_waiter_does_not_cancel_the_batch() -> None:
    """As graphql-core gives up the fields beside one that failed."""
    asked, answered = asyncio.Event(), asyncio.Event()

    async def double(keys: list[int]) -> list[int]:
        asked.set()
        await answered.wait()
        return [2 * key for key in keys]

    loader = Loader(double, set())
    impatient, patient = asyncio.create_task(loader.load(1)), asyncio.create_task(loader.load(1))
    await asked.wait()
    impatient.cancel()
    with pytest.raises(asyncio.CancelledError):
        await impatient
    answered.set()
    assert await patient == 2
