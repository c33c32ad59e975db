"""`just bench observe` stops with a reason when it cannot continue."""

import os
import threading
from multiprocessing.connection import Connection

import pytest
from starlette.applications import Starlette

from server.app import create_app
from server.settings import Settings
from tests.support.processes.ports import find_free_port
from tools.bench.observe import limit_time, require_export, start_collector


def exit_immediately(_: Connection) -> None:
    os._exit(3)


def wait_for_lock() -> None:
    lock = threading.Lock()
    with lock:
        lock.acquire()


def test_a_collector_that_exits_before_it_is_ready() -> None:
    with pytest.raises(RuntimeError, match="exited with 3"), start_collector(exit_immediately):
        pass


def test_a_block_that_takes_too_long(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(TimeoutError, match=r"0\.1 seconds: it\."), limit_time(0.1, "it"):
        wait_for_lock()
    assert "in wait_for_lock" in capfd.readouterr().err


async def test_a_collector_that_is_not_reachable(settings: Settings) -> None:
    app = create_traced_app(settings, f"http://127.0.0.1:{find_free_port()}")
    with app.state.tracing.span("lost"):
        pass
    with pytest.raises(RuntimeError, match="Failed to export"), require_export():
        app.state.tracing.flush()


async def test_a_collector_that_is_ready(settings: Settings) -> None:
    with start_collector() as url:
        app = create_traced_app(settings, url)
        with app.state.tracing.span("received"):
            pass
        with require_export():
            app.state.tracing.flush()


def create_traced_app(settings: Settings, url: str) -> Starlette:
    return create_app(settings.model_copy(update={"otel_exporter_otlp_endpoint": url}))
