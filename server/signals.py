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
def sigterm_as_exit() -> Iterator[None]:
    """SIGTERM leaves the block as an exception would: atexit does not run on it; unwinding `with` and `finally` does."""
    previous = signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def defer_sigterm_on_exit(resource: AbstractContextManager[T]) -> Iterator[T]:
    """One whose end takes a while: SIGTERM that comes during it is obeyed afterwards."""
    with ExitStack() as stack:
        entered = stack.enter_context(resource)
        try:
            yield entered
        finally:
            with _defer_sigterm():
                stack.close()


@contextlib.contextmanager
def _defer_sigterm() -> Iterator[None]:
    received: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: received.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)
    if received:
        signal.raise_signal(signal.SIGTERM)


def _exit_on_signal(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
