"""What metrics and traces cost a request: servers without and with them take turns in one process. Five minutes."""

import argparse
import asyncio
import contextlib
import faulthandler
import logging
import multiprocessing
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AsyncExitStack, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import orjson
import uvloop
from starlette.types import ASGIApp, Message, Scope

from server.app import create_app
from server.database.embedded import run_embedded_postgres
from server.database.migrations import migrate
from server.demo import load_demo
from server.http.endpoint import ENDPOINT
from server.observability.setup import MULTIPROC_DIR
from server.settings import Environment, Settings
from tests.support.observability.otlp_collector import run_otlp_collector
from tools.bench.processes import SECRET, find_free_ports
from tools.bench.report import make_console, make_table
from tools.bench.workloads import CATALOG

BODY = orjson.dumps({"query": CATALOG, "variables": {"first": 20}})
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode()), (b"accept", b"*/*")]
BASELINE = "neither"
ROUNDS, WARM_UP_ROUNDS, REQUESTS = 200, 5, 50
STEP_TIMEOUT = 60.0  # seconds to start something, to send a block of requests, or to export its spans


async def send_request(app: ASGIApp) -> None:
    """Call the app with a request for a catalog page."""
    scope: Scope = {
        "type": "http",
        "method": "POST",
        "path": ENDPOINT,
        "query_string": b"",
        "headers": list(HEADERS),
        "client": ("127.0.0.1", 1),
        "http_version": "1.1",
        "scheme": "http",
    }
    statuses = list[int]()

    async def receive() -> Message:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await app(scope, receive, send)
    assert statuses == [200]


async def measure_variants(url: str, collector: str, rounds: int, requests: int) -> dict[str, list[float]]:
    """Return for each variant the seconds of CPU per request, block by block."""
    common: dict[str, Any] = {"database_url": url, "secret_key": [SECRET], "environment": Environment.DEVELOPMENT}
    common |= {"worker": False, "log_format": "json", "rate_limit_burst": 1_000_000_000}
    variants: dict[str, dict[str, Any]] = {
        BASELINE: {},
        "metrics": {"metrics_port": find_free_ports(1)[0]},
        "traces": {"otel_exporter_otlp_endpoint": collector},
        "traces of a twentieth": {"otel_exporter_otlp_endpoint": collector, "otel_traces_sampler_arg": 0.05},
    }
    blocks: dict[str, list[float]] = {name: [] for name in variants}
    async with AsyncExitStack() as stack:
        apps = {name: create_app(Settings(_env_file=None, **common, **more)) for name, more in variants.items()}
        async with asyncio.timeout(STEP_TIMEOUT):
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            await load_demo(apps[BASELINE].state.shop)
        for number in range(-WARM_UP_ROUNDS, rounds):
            for name, app in apps.items():
                start = time.process_time()
                async with asyncio.timeout(STEP_TIMEOUT):
                    for _ in range(requests):
                        await send_request(app)
                if app.state.tracing:
                    step = f"export the spans of round {number}, {name}"
                    with limit_time(STEP_TIMEOUT, step), require_export():
                        app.state.tracing.flush()
                if number >= 0:
                    blocks[name].append((time.process_time() - start) / requests)
        async with asyncio.timeout(STEP_TIMEOUT):
            await stack.aclose()
    return blocks


# ── What may hang ─────────────────────────────────────────────────────────────────────────


@contextmanager
def limit_time(seconds: float, step: str) -> Iterator[None]:
    """Interrupt the main thread, even while it waits for another, and write the stacks of all threads.

    Raises:
        TimeoutError: The block took too long.
    """

    def interrupt(*_: object) -> None:
        faulthandler.dump_traceback(2)
        raise TimeoutError(f"Not finished in {seconds:g} seconds: {step}.")

    handler, timer = signal.signal(signal.SIGALRM, interrupt), signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


class ErrorRecorder(logging.Handler):
    """Keeps the messages of errors."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.messages = list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.messages.append(record.getMessage())


@contextmanager
def require_export() -> Iterator[None]:
    """Check that spans arrive: the exporter only logs when it gives them up.

    Raises:
        RuntimeError: The collector did not accept spans.
    """
    recorder = ErrorRecorder()
    logging.getLogger("opentelemetry").addHandler(recorder)
    try:
        yield
    finally:
        logging.getLogger("opentelemetry").removeHandler(recorder)
    if recorder.messages:
        raise RuntimeError(f"The collector does not accept spans: {recorder.messages[0]}")


def run_collector(pipe: Connection) -> None:
    """Collect traces until the other end of the pipe is closed."""
    with run_otlp_collector(is_recording=False) as collector, contextlib.suppress(EOFError):
        pipe.send(collector.url)
        pipe.recv()


@contextmanager
def start_collector(run: Callable[[Connection], None] = run_collector) -> Iterator[str]:
    """Run a collector in a process of its own. Yields its address.

    Raises:
        RuntimeError: The process exited before it was ready.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=run, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # so that `recv` fails when the process exits
    try:
        try:
            address = str(ours.recv())
        except EOFError as error:
            process.join()
            raise RuntimeError(f"The collector exited with {process.exitcode} before it was ready.") from error
        yield address
    finally:
        ours.close()
        process.join(10)
        process.kill()


# ── The command ───────────────────────────────────────────────────────────────────────────


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rounds", type=int, default=ROUNDS, help=f"blocks of each variant ({ROUNDS})")
    parser.add_argument("--requests", type=int, default=REQUESTS, help=f"requests of a block ({REQUESTS})")
    parser.add_argument("--several", action="store_true", help="count in files, as one process of several does")


def run(options: argparse.Namespace) -> None:
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.several:
            os.environ[MULTIPROC_DIR] = str(folder)
        with limit_time(STEP_TIMEOUT, "start the database"):
            url = stack.enter_context(run_embedded_postgres(folder / "data"))
            migrate(url)
        with limit_time(STEP_TIMEOUT, "start the collector"):
            collector = stack.enter_context(start_collector())
        with Path(os.devnull).open("w") as null, contextlib.redirect_stderr(null):
            blocks = uvloop.run(measure_variants(url, collector, options.rounds, options.requests))
    table = make_table("A catalog page of 20 books", ["with"], ["CPU, µs", f"/ {BASELINE}"])
    for name, own in blocks.items():
        ratios = [block / baseline for block, baseline in zip(own, blocks[BASELINE], strict=True)]
        table.add_row(name, f"{median(own) * 1e6:.0f}", f"{median(ratios):.3f}")
    make_console().print(table)
