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
def resource(events: list[str], *, is_interrupted: bool = False) -> Iterator[None]:
    try:
        yield
    finally:
        if is_interrupted:
            send_sigterm()
        events.append("closed")


def test_sigterm_runs_cleanup() -> None:
    events: list[str] = []
    with pytest.raises(SystemExit) as exit_info, sigterm_as_exit(), resource(events):
        send_sigterm()

    assert (exit_info.value.code, events) == (SIGTERM_EXIT_CODE, ["closed"])


def test_cleanup_runs_to_its_end() -> None:
    events: list[str] = []
    with (
        pytest.raises(SystemExit) as exit_info,
        sigterm_as_exit(),
        defer_sigterm_on_exit(resource(events, is_interrupted=True)),
    ):
        pass

    assert (exit_info.value.code, events) == (SIGTERM_EXIT_CODE, ["closed"])


def test_second_sigterm_does_not_interrupt_cleanup() -> None:
    events: list[str] = []
    with (
        pytest.raises(SystemExit) as exit_info,
        sigterm_as_exit(),
        defer_sigterm_on_exit(resource(events, is_interrupted=True)),
    ):
        send_sigterm()

    assert (exit_info.value.code, events) == (SIGTERM_EXIT_CODE, ["closed"])


def test_signal_handler_is_restored() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with sigterm_as_exit(), defer_sigterm_on_exit(sigterm_as_exit()):
        pass

    assert signal.getsignal(signal.SIGTERM) is before
