"""Whoever is told to stop puts in order what was begun, to its end."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.leaving import put_away, tidily

STOPPED = 128 + signal.SIGTERM


def stop() -> None:
    signal.raise_signal(signal.SIGTERM)


@contextmanager
def begun(done: list[str], *, is_interrupted: bool = False) -> Iterator[None]:
    try:
        yield
    finally:
        if is_interrupted:
            stop()
        done.append("in order")


def test_what_was_begun_is_put_in_order() -> None:
    done: list[str] = []
    with pytest.raises(SystemExit) as left, tidily(), begun(done):
        stop()

    assert (left.value.code, done) == (STOPPED, ["in order"])


def test_to_its_end() -> None:
    done: list[str] = []
    with pytest.raises(SystemExit) as left, tidily(), put_away(begun(done, is_interrupted=True)):
        pass

    assert (left.value.code, done) == (STOPPED, ["in order"])


def test_also_where_it_is_told_twice() -> None:
    done: list[str] = []
    with pytest.raises(SystemExit) as left, tidily(), put_away(begun(done, is_interrupted=True)):
        stop()

    assert (left.value.code, done) == (STOPPED, ["in order"])


def test_the_signal_is_as_it_was_afterwards() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with tidily(), put_away(tidily()):
        pass

    assert signal.getsignal(signal.SIGTERM) is before
