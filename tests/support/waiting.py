"""Waits for conditions that another task or process fulfills."""

import asyncio
import inspect
import time
from collections.abc import Callable
from typing import Any

INTERVAL = 0.02  # seconds between two checks


async def wait_until(condition: Callable[[], Any], timeout: float = 30) -> Any:
    """Call `condition`, a function or a coroutine function, until it returns a true value, and return that.

    `timeout` counts seconds of the system's monotonic clock, so `advance_clock` does not shorten it.

    Raises:
        TimeoutError: The condition is still false after `timeout` seconds.
    """
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if inspect.isawaitable(value):
            value = await value
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{condition} is still false after {timeout} seconds.")
        await asyncio.sleep(INTERVAL)
