"""Where Prometheus asks: an address of its own, which tells of all processes that serve here and of what is in the database."""

import asyncio
import os
import socket
import threading
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from multiprocessing import parent_process
from pathlib import Path
from typing import Any
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

import psutil
import structlog
from prometheus_client import CollectorRegistry, Metric, make_wsgi_app
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
from prometheus_client.registry import Collector

from persistence.figures import Figures, find_figures
from server.settings import Settings

log = structlog.get_logger()

FRESH = 5.0  # seconds for which the database is not asked again
PATIENCE = 10  # seconds for a request


@contextmanager
def scraped(settings: Settings, registry: CollectorRegistry) -> Iterator[None]:
    """Tells whoever asks what is in the registry and in the database, which is asked past a pooler."""
    registry.register(InDatabase(settings.database_direct_url or str(settings.database_url)))
    server = _server(settings.metrics_host, settings.metrics_port, registry)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def several_scraped(settings: Settings, folder: Path) -> Iterator[None]:
    """The same for processes that leave what they count in a folder."""
    registry = CollectorRegistry()
    registry.register(Together(folder))
    with scraped(settings, registry):
        yield


@contextmanager
def counting_in(folder: Path) -> Iterator[None]:
    """Whoever has made the folder removes it. When they were killed, each process removes what it has left there, and the last all."""
    try:
        yield
    finally:
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            for file in folder.glob("*.db"):
                if (pid := _writer(file)) == os.getpid() or not psutil.pid_exists(pid):
                    file.unlink(missing_ok=True)
            with suppress(OSError):  # somebody still counts
                folder.rmdir()


class Together(MultiProcessCollector):
    """What all processes have counted; of those that have ended, their gauges are forgotten."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]  # as all of its module
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        for pid in set(map(_writer, self._folder.glob("gauge_live*.db"))):
            if not psutil.pid_exists(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        collected: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return collected


def _writer(file: Path) -> int:
    """The process whose numbers are in it."""
    return int(file.stem.rpartition("_")[2])


class InDatabase(Collector):
    """Asked when somebody wants to know. Each replica tells the same."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._asked_at = float("-inf")
        self._figures: Figures | None = None

    def collect(self) -> Iterator[Metric]:
        figures = self._recent()
        yield _gauge("database_up", "Whether it could be asked for what follows.", figures is not None)
        if figures is None:
            return
        yield _gauge("database_writable", "Whether it takes writes.", figures.takes_writes)
        for name, what in WAITING.items():
            waiting = getattr(figures, name)
            yield _gauge(name, f"{what}, 100,000 at most.", waiting.count)
            yield _gauge(f"{name}_oldest_seconds", "For how long the first of them has waited.", waiting.seconds)
        orders = GaugeMetricFamily(
            "bookstore_orders", "Placed within a day, the latest 100,000, by status.", labels=["status"]
        )
        for status, count in figures.orders.items():
            orders.add_metric([status], count)
        yield orders

    def _recent(self) -> Figures | None:
        with self._lock:
            if time.monotonic() - self._asked_at > FRESH:
                self._figures = self._found()
                self._asked_at = time.monotonic()
            return self._figures

    def _found(self) -> Figures | None:
        try:
            return asyncio.run(find_figures(self._url))
        except Exception as error:  # whatever it is, the rest can be told
            log.warning("figures_unknown", reason=repr(error.__cause__ or error))
            return None


WAITING = {
    "queued_letters": "Letters that wait to be sent",
    "failed_letters": "Letters that were given up",
    "pending_orders": "Orders whose payment is not settled",
    "due_refunds": "Refunds that are owed",
}


def _gauge(name: str, what: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"bookstore_{name}", what, value)


class _Handler(WSGIRequestHandler):
    timeout = PATIENCE

    def log_message(self, *_: Any) -> None:
        """Who asks every few seconds is not worth a line."""


def _server(host: str, port: int, registry: CollectorRegistry) -> WSGIServer:
    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return make_server(host, port, make_wsgi_app(registry), Server, _Handler)
