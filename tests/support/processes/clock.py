"""The event loop's clock, moved forward: timeouts expire, and no test waits for them."""

import asyncio


def advance_clock(seconds: float) -> None:
    """Move the clock forward for the rest of the run: moving it back would lengthen the waits of other tests."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]
