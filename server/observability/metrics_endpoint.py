"""Serve the metrics of all local processes and of the database, on an address of their own."""

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

from persistence.backlog import Backlog, QueueDepth, measure_backlog
from server.settings import Settings

log = structlog.get_logger()

CACHE_TTL = 5.0  # seconds between queries of the database
REQUEST_TIMEOUT = 10  # seconds


@contextmanager
def serve_metrics(settings: Settings, registry: CollectorRegistry) -> Iterator[None]:
    """Serve the registry and the database's backlog; queries bypass a pooler."""
    registry.register(DatabaseCollector(settings.database_direct_url or str(settings.database_url)))
    server = _create_server(settings.metrics_host, settings.metrics_port, registry)
    thread = threading.Thread(target=server.serve_forever, name="metrics", daemon=True)
    thread.start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def serve_multiprocess_metrics(settings: Settings, folder: Path) -> Iterator[None]:
    """Serve the metrics that several processes write to a folder."""
    registry = CollectorRegistry()
    registry.register(LiveMultiProcessCollector(folder))
    with serve_metrics(settings, registry):
        yield


@contextmanager
def remove_metric_files_on_exit(folder: Path) -> Iterator[None]:
    """Remove this process's metric files if the supervisor, which owns the folder, was killed; the last process removes it."""
    try:
        yield
    finally:
        parent = parent_process()
        if parent is not None and not parent.is_alive():
            for file in folder.glob("*.db"):
                if (pid := _get_writer_pid(file)) == os.getpid() or not psutil.pid_exists(pid):
                    file.unlink(missing_ok=True)
            with suppress(OSError):  # another process still uses it
                folder.rmdir()


class LiveMultiProcessCollector(MultiProcessCollector):
    """Collects the metrics of all processes, without the gauges of those that have ended."""

    def __init__(self, folder: Path) -> None:
        super().__init__(None, str(folder))  # type: ignore[no-untyped-call]  # as all of its module
        self._folder = folder

    def collect(self) -> Iterable[Metric]:
        """Return the metrics of all processes."""
        for pid in set(map(_get_writer_pid, self._folder.glob("gauge_live*.db"))):
            if not psutil.pid_exists(pid):
                mark_process_dead(pid, str(self._folder))  # type: ignore[no-untyped-call]
        collected: Iterable[Metric] = super().collect()  # type: ignore[no-untyped-call]
        return collected


def _get_writer_pid(file: Path) -> int:
    """Return the id of the process that writes a file."""
    return int(file.stem.rpartition("_")[2])


class DatabaseCollector(Collector):
    """Collects the backlog from the database when metrics are scraped. Each server reports the same values."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._lock = threading.Lock()
        self._fetched_at = float("-inf")
        self._backlog: Backlog | None = None

    def collect(self) -> Iterator[Metric]:
        """Yield the gauges, or only `database_up` if the database does not respond."""
        backlog = self._get_backlog()
        yield _create_gauge("database_up", "Whether the database answered the backlog query.", backlog is not None)
        if backlog is None:
            return
        yield _create_gauge("database_writable", "Whether the database accepts writes.", backlog.is_writable)
        for name, (attribute, description) in BACKLOG_METRICS.items():
            queue: QueueDepth = getattr(backlog, attribute)
            yield _create_gauge(name, f"{description}, at most 100,000.", queue.count)
            yield _create_gauge(f"{name}_oldest_seconds", "Age of the oldest, in seconds.", queue.oldest_age_seconds)
        orders = GaugeMetricFamily(
            "bookstore_orders", "Orders of the last day by status, at most the latest 100,000.", labels=["status"]
        )
        for status, count in backlog.recent_orders.items():
            orders.add_metric([status], count)
        yield orders

    def _get_backlog(self) -> Backlog | None:
        with self._lock:
            if time.monotonic() - self._fetched_at > CACHE_TTL:
                self._backlog = self._fetch_backlog()
                self._fetched_at = time.monotonic()
            return self._backlog

    def _fetch_backlog(self) -> Backlog | None:
        try:
            return asyncio.run(measure_backlog(self._url))
        except Exception as error:  # the other metrics are still served
            log.warning("backlog_unavailable", reason=repr(error.__cause__ or error))
            return None


BACKLOG_METRICS = {
    "queued_letters": ("queued_emails", "Emails waiting to be sent"),
    "failed_letters": ("failed_emails", "Emails that failed permanently"),
    "pending_orders": ("pending_orders", "Orders with an unfinished payment"),
    "due_refunds": ("due_refunds", "Refunds due"),
}


def _create_gauge(name: str, description: str, value: float) -> GaugeMetricFamily:
    return GaugeMetricFamily(f"bookstore_{name}", description, value)


class _QuietHandler(WSGIRequestHandler):
    timeout = REQUEST_TIMEOUT

    def log_message(self, *_: Any) -> None:
        """Log nothing: scrapes are too frequent."""


def _create_server(host: str, port: int, registry: CollectorRegistry) -> WSGIServer:
    class Server(ThreadingWSGIServer):
        address_family = socket.AF_INET6 if ":" in host else socket.AF_INET

    return make_server(host, port, make_wsgi_app(registry), Server, _QuietHandler)
