"""Moves the event loop's clock forward, so that timeouts expire without waiting."""

import asyncio


def advance_clock(seconds: float) -> None:
    """Move the clock forward for the rest of the run: moving it back would lengthen the waits of other tests."""
    loop = asyncio.get_running_loop()
    original_time = loop.time
    loop.time = lambda: original_time() + seconds  # type: ignore[method-assign]
