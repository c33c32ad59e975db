"""Clients that hang up before they are answered."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from starlette.requests import Request

NOTICED_AFTER = 0.5  # seconds; what takes less is answered to whoever is still there


@contextmanager
def noticing_departure(request: Request, then: Callable[[], None]) -> Iterator[None]:
    """Calls `then` when the client hangs up. The request's body must have been read."""
    watching: set[asyncio.Task[None]] = set()

    async def watch() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass
        then()

    timer = asyncio.get_running_loop().call_later(NOTICED_AFTER, lambda: watching.add(asyncio.create_task(watch())))
    try:
        yield
    finally:
        timer.cancel()
        for task in watching:
            task.cancel()
