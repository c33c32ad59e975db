"""What it costs to be watched: `just watching`.

Shops without, with metrics and with traces take turns in one process that asks itself, a block of requests each.
"""

import argparse
import contextlib
import multiprocessing
import os
import tempfile
import time
from collections.abc import Iterator
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
from server.demo import load_demo
from server.embedded import embedded
from server.http import ENDPOINT
from server.migrating import migrate
from server.settings import Environment, Settings
from server.watching import FOLDER
from tests.collector import collecting
from tests.exposition import free_port

BODY = orjson.dumps({"query": CATALOGUE, "variables": {"first": 20}})
HEADERS = [(b"content-type", b"application/json"), (b"content-length", str(len(BODY)).encode()), (b"accept", b"*/*")]
WITHOUT = "without"


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
        for app in apps.values():
            await stack.enter_async_context(app.router.lifespan_context(app))
        await load_demo(apps[WITHOUT].state.shop)
        for turn in range(-5, rounds):
            for name, app in apps.items():
                begun = time.process_time()
                for _ in range(requests):
                    await ask(app)
                if app.state.tracing:
                    app.state.tracing.flush()
                if turn >= 0:  # the first are for caches and compilers
                    found[name].append((time.process_time() - begun) / requests)
    return found


@contextmanager
def collector_elsewhere() -> Iterator[str]:
    """The address of one in a process of its own, which ends when it is told anything."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_collect, args=(theirs,))
    process.start()
    try:
        yield str(ours.recv())
    finally:
        ours.send(None)
        process.join(10)


def _collect(told: Connection) -> None:
    with collecting(keeps=False) as collector:
        told.send(collector.url)
        told.recv()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--requests", type=int, default=50, help="in a block")
    parser.add_argument("--several", action="store_true", help="count as one process of several does, in files")
    options = parser.parse_args()
    with contextlib.ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if options.several:
            os.environ[FOLDER] = str(folder)
        url = stack.enter_context(embedded(folder / "data"))
        migrate(url)
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
