"""Who watches, if anybody: where Prometheus may ask, where traces go. What that takes is loaded only then."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from domain.shop import Shop
from server.runtime import ConfigurationError
from server.settings import Settings

if TYPE_CHECKING:
    from graph.execution.documents import Documents
    from server.observability.metrics import Metrics
    from server.observability.tracing import Tracing

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""Where prometheus-client keeps what processes count, each in files of its own; it looks for this name when it is imported."""


def check_metrics_address(settings: Settings) -> None:
    """Raises `Misconfigured` where nothing can be told at it."""
    host, port = settings.metrics_host, settings.metrics_port
    if not port:
        return
    if port == settings.port:
        raise ConfigurationError(f"METRICS_PORT is the port of the shop itself, {port}: choose another one.")
    try:
        create_server((host, port), family=AF_INET6 if ":" in host else AF_INET).close()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot tell metrics at {host}:{port}: {error.strerror}. Choose others with METRICS_HOST and METRICS_PORT, "
            "or none with METRICS_PORT=0."
        ) from error


@contextmanager
def collect_process_metrics(settings: Settings, *, is_multiprocess: bool) -> Iterator[None]:
    """One process tells of itself; of `several` that are started in the block, this one tells."""
    os.environ.pop(MULTIPROC_DIR, None)
    if not (settings.metrics_port and is_multiprocess):
        yield
        return
    try:
        folder = TemporaryDirectory(prefix="bookstore-metrics-")
    except OSError as error:
        raise ConfigurationError(
            "METRICS_PORT needs a folder for what several processes count: set TMPDIR to one that can be written."
        ) from error
    from server.observability.metrics_endpoint import serve_multiprocess_metrics

    with folder as name:
        os.environ[MULTIPROC_DIR] = name
        with serve_multiprocess_metrics(settings, Path(name)):
            yield


def create_metrics(
    settings: Settings, shop: Shop, documents: "Documents | None" = None, path: str = ""
) -> "Metrics | None":
    """What is counted in this process, of requests for a path among others."""
    if not settings.metrics_port:
        return None
    from server.observability.metrics import Metrics

    return Metrics(shop, documents, path)


def create_tracing(settings: Settings) -> "Tracing | None":
    """What traces in this process."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    from server.observability.tracing import Tracing

    return Tracing(settings)


@asynccontextmanager
async def expose_metrics(settings: Settings, metrics: "Metrics | None") -> AsyncIterator[None]:
    """In the block it is told to whoever asks, unless whoever started this process tells it."""
    if metrics is None:
        yield
        return
    from server.observability.metrics_endpoint import remove_metric_files_on_exit, serve_metrics

    folder = os.environ.get(MULTIPROC_DIR)
    with remove_metric_files_on_exit(Path(folder)) if folder else serve_metrics(settings, metrics.registry):
        async with metrics.run_gathering():
            yield
