"""Waiting with a limit for what has mostly come already: the limit is set only where there is something to wait for."""

import asyncio
from collections.abc import Awaitable, Generator
from types import coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def within(seconds: float, awaited: Awaitable[T]) -> T:
    """Raises `TimeoutError` when it takes longer."""
    steps = awaited.__await__()
    try:
        pause = next(steps)
    except StopIteration as end:
        result: T = end.value
        return result
    async with asyncio.timeout(seconds):
        return await _rest(steps, pause)


@coroutine
def _rest(steps: Generator[Any, Any, T], pause: Any) -> Generator[Any, Any, T]:
    """Goes on from a pause: hands each one on, and hands back what ends it."""
    try:
        while True:
            try:
                ended = yield pause
            except GeneratorExit:
                steps.close()
                raise
            except BaseException as error:
                pause = steps.throw(error)
            else:
                pause = steps.send(ended)
    except StopIteration as end:
        result: T = end.value
        return result
