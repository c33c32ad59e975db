"""Set up metrics and tracing as configured; their libraries are loaded only if needed."""

import os
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from socket import AF_INET, AF_INET6, create_server
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from server.runtime import ConfigurationError
from server.settings import Settings

if TYPE_CHECKING:
    from domain.shop import Shop
    from graph.execution.documents import Documents
    from server.observability.metrics import Metrics
    from server.observability.tracing import Tracing

MULTIPROC_DIR = "PROMETHEUS_MULTIPROC_DIR"
"""The variable that names prometheus-client's folder for several processes; it is read at import."""


def check_metrics_address(settings: Settings) -> None:
    """Check that metrics can be served at the configured address.

    Raises:
        ConfigurationError: the address is in use, or not available.
    """
    host, port = settings.metrics_host, settings.metrics_port
    if not port:
        return
    if port == settings.port:
        raise ConfigurationError(f"METRICS_PORT is the server's own PORT, {port}: choose another one.")
    try:
        create_server((host, port), family=AF_INET6 if ":" in host else AF_INET).close()
    except OSError as error:
        raise ConfigurationError(
            f"Cannot serve metrics at {host}:{port}: {error.strerror}. Choose others with METRICS_HOST and METRICS_PORT, "
            "or disable metrics with METRICS_PORT=0."
        ) from error


@contextmanager
def collect_process_metrics(settings: Settings, *, is_multiprocess: bool) -> Iterator[None]:
    """Serve the metrics of all processes started in the block; a single process serves its own.

    Raises:
        ConfigurationError: the folder for metrics of several processes cannot be created.
    """
    os.environ.pop(MULTIPROC_DIR, None)
    if not (settings.metrics_port and is_multiprocess):
        yield
        return
    try:
        folder = TemporaryDirectory(prefix="bookstore-metrics-")
    except OSError as error:
        raise ConfigurationError(
            "METRICS_PORT needs a folder for the metrics of several processes: set TMPDIR to a writable one."
        ) from error
    from server.observability.metrics_endpoint import serve_multiprocess_metrics

    with folder as name:
        os.environ[MULTIPROC_DIR] = name
        with serve_multiprocess_metrics(settings, Path(name)):
            yield


def create_metrics(
    settings: Settings, shop: "Shop", documents: "Documents | None" = None, path: str = ""
) -> "Metrics | None":
    """Return the metrics of this process and of requests to `path`, or `None` without METRICS_PORT."""
    if not settings.metrics_port:
        return None
    from server.observability.metrics import Metrics

    return Metrics(shop, documents, path)


def create_tracing(settings: Settings) -> "Tracing | None":
    """Return the tracing of this process, or `None` without OTEL_EXPORTER_OTLP_ENDPOINT."""
    if not settings.otel_exporter_otlp_endpoint:
        return None
    from server.observability.tracing import Tracing

    return Tracing(settings)


@asynccontextmanager
async def expose_metrics(settings: Settings, metrics: "Metrics | None") -> AsyncIterator[None]:
    """Gather and serve metrics during the block; the supervisor serves those of its workers."""
    if metrics is None:
        yield
        return
    from server.observability.metrics_endpoint import remove_metric_files_on_exit, serve_metrics

    folder = os.environ.get(MULTIPROC_DIR)
    with remove_metric_files_on_exit(Path(folder)) if folder else serve_metrics(settings, metrics.registry):
        async with metrics.run_gathering():
            yield
