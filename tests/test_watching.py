"""A comparison that cannot go on ends, and says why."""

import os
import threading
from multiprocessing.connection import Connection

import pytest
from starlette.applications import Starlette

from benchmarks.watching import all_sent, at_most, collector_elsewhere
from server.app import create_app
from server.settings import Settings
from tests.exposition import free_port


def ends(_: Connection) -> None:
    os._exit(3)


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire()


def test_a_collector_that_ends_before_it_begins() -> None:
    with pytest.raises(RuntimeError, match="has ended with 3"), collector_elsewhere(ends):
        pass


def test_what_would_wait_for_ever(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TimeoutError, match=r"0\.1 seconds: it\."), at_most(0.1, "it"):
        wait_for_a_lock()
    assert "in wait_for_a_lock" in capfd.readouterr().err


async def test_a_collector_that_is_away(settings: Settings) -> None:
    app = traced(settings, f"http://127.0.0.1:{free_port()}")
    with app.state.tracing.span("unheard of"):
        pass
    with pytest.raises(RuntimeError, match="Failed to export"), all_sent():
        app.state.tracing.flush()


async def test_one_that_is_there(settings: Settings) -> None:
    with collector_elsewhere() as address:
        app = traced(settings, address)
        with app.state.tracing.span("heard"):
            pass
        with all_sent():
            app.state.tracing.flush()


def traced(settings: Settings, address: str) -> Starlette:
    return create_app(settings.model_copy(update={"otel_exporter_otlp_endpoint": address}))
