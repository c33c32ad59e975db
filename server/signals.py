"""Close resources on SIGTERM, too."""

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
    """Turn SIGTERM into `SystemExit` within the block, so that `with` and `finally` run; `atexit` would not suffice."""
    previous = signal.signal(signal.SIGTERM, _exit_on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


@contextlib.contextmanager
def defer_sigterm_on_exit(resource: AbstractContextManager[T]) -> Iterator[T]:
    """Enter `resource`; defer a SIGTERM received while it is closing."""
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
