"""What is begun is put in order, also when the program is told to stop meanwhile."""

import contextlib
import signal
import sys
from collections.abc import Iterator
from types import FrameType


@contextlib.contextmanager
def tidily() -> Iterator[None]:
    """SIGTERM leaves the block as an exception would: atexit does not run on it; unwinding `with` and `finally` does."""
    previous = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)
