"""Resources are closed completely on SIGTERM."""

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from server.signals import defer_sigterm_on_exit, sigterm_as_exit

SIGTERM_EXIT_CODE = 128 + signal.SIGTERM


def send_sigterm() -> None:
    signal.raise_signal(signal.SIGTERM)


@contextmanager
def resource(done: list[str], *, is_interrupted: bool = False) -> Iterator[None]:
    try:
        yield
    finally:
        if is_interrupted:
            send_sigterm()
        done.append("in order")


def test_sigterm_runs_cleanup() -> None:
    done: list[str] = []
    with pytest.raises(SystemExit) as left, sigterm_as_exit(), resource(done):
        send_sigterm()

    assert (left.value.code, done) == (SIGTERM_EXIT_CODE, ["in order"])


def test_cleanup_runs_to_its_end() -> None:
    done: list[str] = []
    with (
        pytest.raises(SystemExit) as left,
        sigterm_as_exit(),
        defer_sigterm_on_exit(resource(done, is_interrupted=True)),
    ):
        pass

    assert (left.value.code, done) == (SIGTERM_EXIT_CODE, ["in order"])


def test_second_sigterm_does_not_interrupt_cleanup() -> None:
    done: list[str] = []
    with (
        pytest.raises(SystemExit) as left,
        sigterm_as_exit(),
        defer_sigterm_on_exit(resource(done, is_interrupted=True)),
    ):
        send_sigterm()

    assert (left.value.code, done) == (SIGTERM_EXIT_CODE, ["in order"])


def test_signal_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_exit(), defer_sigterm_on_exit(sigterm_as_exit()):
        pass

    assert signal.getsignal(signal.SIGTERM) is before
