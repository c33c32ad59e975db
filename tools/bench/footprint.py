"""What the server needs: time to import and to start, memory, SQL statements for a page. Three minutes."""

import argparse
import asyncio
import os
import re
import resource
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import orjson

from server.database.embedded import run_embedded_postgres
from tools.bench import processes
from tools.bench.database import execute
from tools.bench.processes import BOOKSTORE, HOST, ROOT, Process
from tools.bench.report import MEGABYTE, make_console, make_table

PAGE = "{ books(first: %d) { nodes { title authors { name } genre { name } price { amount } } } }"
SMALL_IMPORT, LARGE_IMPORT = 5_700, 100_000  # rows
PAGE_SIZES = (20, 100)
SETTLE_SECONDS = 0.5
"""Time for a setting to reach every backend, and for what was logged to reach the file."""


@dataclass(frozen=True, slots=True)
class Measure:
    """A line of the table."""

    name: str
    figure: str
    ratio: str = ""


def measure_imports(counts: tuple[int, ...]) -> Iterator[Measure]:
    """Import files of so many rows into new databases."""
    rates: dict[int, float] = {}
    for count in counts:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            feed = folder / "feed.csv"
            with feed.open("wb") as file:
                command = [sys.executable, "-m", "tools.bench.feed", str(count)]
                subprocess.run(command, stdout=file, check=True, cwd=ROOT)
            with run_embedded_postgres(folder / "data") as url:
                environment = processes.server_environment(url)
                processes.run_bookstore("migrate", environment=environment, folder=folder)
                seconds, peak = _time_command([str(BOOKSTORE), "import", str(feed)], environment, folder)
        rates[count] = count / seconds
        ratio = f"{rates[count] / rates[counts[0]]:.2f} of the rate of {counts[0]:,}" if len(rates) > 1 else ""
        yield Measure(f"import of {count:,} rows", f"{rates[count]:,.0f} rows/s, peak {peak:.0f} MB", ratio)


def _time_command(command: list[str], environment: dict[str, str], folder: Path) -> tuple[float, float]:
    """Return the seconds, and the peak memory in MB."""
    start = time.perf_counter()
    process = subprocess.Popen(
        command, env=environment, cwd=folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        raise RuntimeError(f"{' '.join(command)} failed")
    assert isinstance(usage, resource.struct_rusage)
    return time.perf_counter() - start, usage.ru_maxrss / 1024


def measure_serving() -> Iterator[Measure]:
    """Start the server with the embedded PostgreSQL three times."""
    with tempfile.TemporaryDirectory() as name:
        data = Path(name) / "data"
        with _serve(data) as server:
            yield Measure("first start: new database, demo catalog", f"{_seconds_since_start(server):.1f} s")
        with _serve(data) as server:
            seconds = _seconds_since_start(server)
            yield from _measure_statements(data, server.port)
            yield Measure("second start", f"{seconds:.1f} s")
        with _serve(data) as server:
            memory = server.info.memory_full_info()
            figure = f"{memory.rss / MEGABYTE:.0f} MB resident, {memory.uss / MEGABYTE:.0f} MB unique"
            yield Measure("memory of one idle server process", figure)


def _serve(data: Path) -> Process:
    [port] = processes.find_free_ports(1)
    return Process(
        [BOOKSTORE, "serve", "--data", data, "--port", str(port)],
        data.with_suffix(".log"),
        environment=processes.inherit_environment() | {"SECRET_KEY": processes.SECRET},
        folder=data.parent,
        port=port,
        ready_path="/health",
    )


def _seconds_since_start(server: Process) -> float:
    return time.time() - server.info.create_time()


def _measure_statements(data: Path, port: int) -> Iterator[Measure]:
    """Count the statements for a page in PostgreSQL's log."""
    log = data / "postgres" / "log"
    with run_embedded_postgres(data) as url:
        asyncio.run(execute(url, "ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()"))
        small, large = (_count_statements(log, port, PAGE % size) for size in PAGE_SIZES)
        asyncio.run(execute(url, "ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()"))
    name = "SQL statements for {} books with authors and genre"
    yield Measure(name.format(PAGE_SIZES[0]), str(small))
    yield Measure(name.format(PAGE_SIZES[1]), str(large), f"{large / small:.2f}")


def _count_statements(log: Path, port: int, query: str) -> int:
    time.sleep(SETTLE_SECONDS)
    before = log.stat().st_size
    body, headers = orjson.dumps({"query": query}), {"content-type": "application/json"}
    request = urllib.request.Request(f"http://{HOST}:{port}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        assert "errors" not in orjson.loads(response.read())
    time.sleep(SETTLE_SECONDS)
    return len(re.findall(r"LOG:  (?:execute|statement).*?SELECT", log.read_text()[before:]))


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--quick", action="store_true", help=f"skip the import of {LARGE_IMPORT:,} rows")


def run(options: argparse.Namespace) -> None:
    table = make_table("", ["measure", "figure", "ratio"], [])
    for measure in [
        *measure_imports((SMALL_IMPORT,) if options.quick else (SMALL_IMPORT, LARGE_IMPORT)),
        *measure_serving(),
    ]:
        table.add_row(measure.name, measure.figure, measure.ratio)
    make_console().print(table)
