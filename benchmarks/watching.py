"""What it costs to be watched: `just watching`.

Shops without, with metrics and with traces take turns in one process that asks itself, a block of requests each.
"""

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
from rich.console import Console
from rich.table import Table
from starlette.types import ASGIApp, Message, Scope

from benchmarks.stage import SECRET
from benchmarks.workloads import CATALOGUE
from server.app import create_app
from server.database.embedded import run_embedded_postgres
from server.database.migrations import migrate
from server.demo import load_demo
from server.http.endpoint import ENDPOINT
from server.observability.setup import MULTIPROC_DIR
from server.settings import Environment, Settings
from tests.support.observability.otlp_collector import run_otlp_collector
from tests.support.observability.prometheus import free_port

BODY = orjson.dumps({"query": CATALOGUE, "variables": {"first": 20}})
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode()), (b"accept", b"*/*")]
WITHOUT = "without"
LONGEST = 60.0  # seconds for each step: to start something, to ask a block of requests, to send its spans


async def ask(app: ASGIApp) -> None:
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
    told = list[int]()

    async def receive() -> Message:
        return {"type": "http.request", "body": BODY, "more_body": False}

    async def send(message: Message) -> None:
        if message["type"] == "http.response.start":
            told.append(message["status"])

    await app(scope, receive, send)
    assert told == [200]


async def compared(url: str, collector: str, rounds: int, requests: int) -> dict[str, list[float]]:
    """Seconds of CPU of the whole process for a request, block by block."""
    plain: dict[str, Any] = {"database_url": url, "secret_key": [SECRET], "environment": Environment.DEVELOPMENT}
    plain |= {"worker": False, "log_format": "json", "rate_limit_burst": 1_000_000_000}
    variants: dict[str, dict[str, Any]] = {
        WITHOUT: {},
        "metrics": {"metrics_port": free_port()},
        "traces": {"otel_exporter_otlp_endpoint": collector},
        "traces of a twentieth": {"otel_exporter_otlp_endpoint": collector, "otel_traces_sampler_arg": 0.05},
    }
    found: dict[str, list[float]] = {name: [] for name in variants}
    async with AsyncExitStack() as stack:
        apps = {name: create_app(Settings(_env_file=None, **plain, **more)) for name, more in variants.items()}
        async with asyncio.timeout(LONGEST):
            for app in apps.values():
                await stack.enter_async_context(app.router.lifespan_context(app))
            await load_demo(apps[WITHOUT].state.shop)
        for turn in range(-5, rounds):
            for name, app in apps.items():
                begun = time.process_time()
                async with asyncio.timeout(LONGEST):
                    for _ in range(requests):
                        await ask(app)
                if app.state.tracing:
                    with at_most(LONGEST, f"sending the spans of round {turn}, {name}"), all_sent():
                        app.state.tracing.flush()
                if turn >= 0:  # the first are for caches and compilers
                    found[name].append((time.process_time() - begun) / requests)
        async with asyncio.timeout(LONGEST):
            await stack.aclose()
    return found


# ── What may hang ─────────────────────────────────────────────────────────────────────────


@contextmanager
def at_most(seconds: float, what: str) -> Iterator[None]:
    """Of a main thread that waits for another. Raises `TimeoutError` in the midst of it, and writes where each thread is."""

    def give_up(*_: object) -> None:
        faulthandler.dump_traceback(2)
        raise TimeoutError(f"Nothing came of it in {seconds:g} seconds: {what}.")

    handler, timer = signal.signal(signal.SIGALRM, give_up), signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, *timer)
        signal.signal(signal.SIGALRM, handler)


class Complaints(logging.Handler):
    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.heard = list[str]()

    def emit(self, record: logging.LogRecord) -> None:
        self.heard.append(record.getMessage())


@contextmanager
def all_sent() -> Iterator[None]:
    """Raises `RuntimeError` where spans did not arrive: the exporter waits for seconds, gives them up, and goes on."""
    complaints = Complaints()
    logging.getLogger("opentelemetry").addHandler(complaints)
    try:
        yield
    finally:
        logging.getLogger("opentelemetry").removeHandler(complaints)
    if complaints.heard:
        raise RuntimeError(f"The collector does not take what it is sent: {complaints.heard[0]}")


def collect(told: Connection) -> None:
    """Until nobody listens any more."""
    with run_otlp_collector(is_recording=False) as collector, contextlib.suppress(EOFError):
        told.send(collector.url)
        told.recv()


@contextmanager
def collector_elsewhere(collect: Callable[[Connection], None] = collect) -> Iterator[str]:
    """The address of one in a process of its own."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=collect, args=(theirs,), daemon=True)
    process.start()
    theirs.close()  # or nobody would be told that it has ended
    try:
        try:
            address = str(ours.recv())
        except EOFError as error:
            process.join()
            raise RuntimeError(f"The collector has ended with {process.exitcode} before it began.") from error
        yield address
    finally:
        ours.close()
        process.join(10)
        process.kill()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--requests", type=int, default=50, help="in a block")
    parser.add_argument("--several", action="store_true", help="count as one process of several does, in files")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.several:
            os.environ[MULTIPROC_DIR] = str(folder)
        with at_most(LONGEST, "the database"):
            url = stack.enter_context(run_embedded_postgres(folder / "data"))
            migrate(url)
        with at_most(LONGEST, "the collector"):
            collector = stack.enter_context(collector_elsewhere())
        with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stderr(nowhere):
            found = uvloop.run(compared(url, collector, options.rounds, options.requests))
    table = Table("a catalogue page of 20 books", "CPU, µs", "of that without")
    for name, blocks in found.items():
        ratios = [block / plain for block, plain in zip(blocks, found[WITHOUT], strict=True)]
        table.add_row(name, f"{median(blocks) * 1e6:.0f}", f"{median(ratios):.3f}")
    Console().print(table)


if __name__ == "__main__":
    main()
