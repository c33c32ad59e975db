"""Waiting for something to come true, never for ever."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import httpx2

from cluster.processes import Broken, Processes

T = TypeVar("T")
EVERY = 0.1  # seconds between looks
NOT_YET = (httpx2.HTTPError, OSError)


async def until(processes: Processes, what: str, seconds: float, look: Callable[[], Awaitable[T | None]]) -> T:
    """The first thing that `look` finds. Raises `Broken` when it does not in time, or a part has ended meanwhile."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                processes.check()
                try:
                    found = await look()
                except NOT_YET:
                    found = None
                if found is not None:
                    return found
                await asyncio.sleep(EVERY)
    except TimeoutError:
        raise Broken(
            f"{what} did not happen within {seconds:.0f} seconds. `--logs DIR` keeps what was logged."
        ) from None


async def ask(url: str, **options: Any) -> httpx2.Response:
    """GET, or POST of what is to be sent as `json`."""
    async with httpx2.AsyncClient(timeout=options.pop("timeout", 3), trust_env=False) as client:
        return await client.request("POST" if "json" in options else "GET", url, **options)


async def ready(url: str) -> bool | None:
    return (await ask(url)).status_code == 200 or None
