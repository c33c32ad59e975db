"""A comparison that cannot go on ends, and says why."""

import os
import threading
from multiprocessing.connection import Connection

import pytest
from starlette.applications import Starlette

from benchmarks.watching import all_sent, at_most, collector_elsewhere
from server.app import create_app
from server.settings import Settings
from tests.support.observability.prometheus import free_port


def exit_at_once(_: Connection) -> None:
    os._exit(3)


def wait_for_a_lock() -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire()


def test_collector_that_exits_at_startup() -> None:
    with pytest.raises(RuntimeError, match="has ended with 3"), collector_elsewhere(exit_at_once):
        pass


def test_timeout_dumps_the_stack(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TimeoutError, match=r"0\.1 seconds: it\."), at_most(0.1, "it"):
        wait_for_a_lock()
    assert "in wait_for_a_lock" in capfd.readouterr().err


async def test_unreachable_collector(settings: Settings) -> None:
    app = create_traced_app(settings, f"http://127.0.0.1:{free_port()}")
    with app.state.tracing.span("unheard of"):
        pass
    with pytest.raises(RuntimeError, match="Failed to export"), all_sent():
        app.state.tracing.flush()


async def test_reachable_collector(settings: Settings) -> None:
    with collector_elsewhere() as address:
        app = create_traced_app(settings, address)
        with app.state.tracing.span("heard"):
            pass
        with all_sent():
            app.state.tracing.flush()


def create_traced_app(settings: Settings, address: str) -> Starlette:
    return create_app(settings.model_copy(update={"otel_exporter_otlp_endpoint": address}))
