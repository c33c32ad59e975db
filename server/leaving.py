"""What is begun is put in order, also when the program is told to stop meanwhile."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack
from types import FrameType
from typing import TypeVar

T = TypeVar("T")


@contextlib.contextmanager
def tidily() -> Iterator[None]:
    """SIGTERM leaves the block as an exception would: atexit does not run on it; unwinding `with` and `finally` does."""
    previous = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def put_away(resource: AbstractContextManager[T]) -> Iterator[T]:
    """One whose end takes a while: SIGTERM that comes during it is obeyed afterwards."""
    with ExitStack() as stack:
        found = stack.enter_context(resource)
        try:
            yield found
        finally:
            with _afterwards():
                stack.close()


@contextlib.contextmanager
def _afterwards() -> Iterator[None]:
    told: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: told.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
    if told:
        signal.raise_signal(signal.SIGTERM)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
