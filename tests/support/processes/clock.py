"""The event loop's clock, put forward: whoever waits with a limit has waited so long, and no test does."""

import asyncio


def advance_clock(seconds: float) -> None:
    """For good: a clock that is put back would have others wait longer."""
    loop = asyncio.get_running_loop()
    before = loop.time
    loop.time = lambda: before() + seconds  # type: ignore[method-assign]
