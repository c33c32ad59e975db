"""What the shop costs on this machine, in one run: `just measure`. Compare the ratios, not the figures."""

import argparse
import asyncio
import os
import re
import resource
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import orjson
import psutil
from rich.console import Console
from rich.table import Table

from server.database.embedded import run_embedded_postgres

PAGE = "{ books(first: %d) { nodes { title authors { name } genre { name } price { amount } } } }"
SMALL, LARGE = 5_700, 100_000


@dataclass(frozen=True, slots=True)
class Measure:
    name: str
    figure: str
    ratio: str = ""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help=f"leave out the import of {LARGE:,} rows")
    quick = parser.parse_args().quick
    table = Table("measure", "figure", "ratio")
    for measure in [*imports(quick=quick), *serving()]:
        table.add_row(measure.name, measure.figure, measure.ratio)
    Console().print(table)


# ── Import ────────────────────────────────────────────────────────────────────────────────


def imports(*, quick: bool) -> Iterator[Measure]:
    rates = {}
    for count in (SMALL,) if quick else (SMALL, LARGE):
        with tempfile.TemporaryDirectory() as folder:
            feed = Path(folder) / "feed.csv"
            with feed.open("wb") as out:
                subprocess.run(
                    [sys.executable, "-m", "benchmarks.feed", str(count)],
                    stdout=out,
                    check=True,
                )
            with run_embedded_postgres(Path(folder) / "data") as url:
                environment = shop_environment(url)
                subprocess.run(
                    ["bookstore", "migrate"],
                    env=environment,
                    check=True,
                    stdout=subprocess.DEVNULL,
                )
                seconds, peak = timed(["bookstore", "import", str(feed)], environment)
        rates[count] = count / seconds
        ratio = f"{rates[count] / rates[SMALL]:.2f} of the rate of {SMALL:,}" if count != SMALL else ""
        yield Measure(
            f"import of {count:,} rows",
            f"{rates[count]:,.0f} rows/s, peak {peak:.0f} MB",
            ratio,
        )


def timed(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Seconds, and the largest memory of the process in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status != 0:
        sys.exit(f"{command} failed")
    assert isinstance(usage, resource.struct_rusage)
    return time.perf_counter() - started, usage.ru_maxrss / 1024


# ── Serving ───────────────────────────────────────────────────────────────────────────────


def serving() -> Iterator[Measure]:
    with tempfile.TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        for name in (
            "first start, with a new database and the demo catalogue",
            "start after that",
        ):
            with served(data) as (port, seconds, _):
                if name.startswith("start"):
                    yield from statements(data, port)
            yield Measure(name, f"{seconds:.1f} s")
        with served(data) as (_, _, process):
            memory = process.memory_full_info()
            yield Measure(
                "one server process at rest",
                f"{memory.rss / 2**20:.0f} MB, {memory.uss / 2**20:.0f} MB its own",
            )


def statements(data: Path, port: int) -> Iterator[Measure]:
    """Statements for a page, counted in PostgreSQL's own log of them."""
    log = data / "postgres" / "log"
    with run_embedded_postgres(data) as url:
        asyncio.run(execute(url, "ALTER SYSTEM SET log_statement = 'all'", "SELECT pg_reload_conf()"))
        counts = {size: count_statements(log, port, PAGE % size) for size in (20, 100)}
        asyncio.run(execute(url, "ALTER SYSTEM RESET log_statement", "SELECT pg_reload_conf()"))
    yield Measure("SQL statements for 20 books with authors and genre", str(counts[20]))
    yield Measure(
        "SQL statements for 100 books with authors and genre",
        str(counts[100]),
        f"{counts[100] / counts[20]:.2f}",
    )


def count_statements(log: Path, port: int, query: str) -> int:
    time.sleep(0.5)  # for the setting to reach every backend, and what was logged to reach the file
    before = log.stat().st_size
    ask(port, query)
    time.sleep(0.5)
    return len(re.findall(r"LOG:  (?:execute|statement).*?SELECT", log.read_text()[before:]))


async def execute(url: str, *statements: str) -> None:
    connection = await asyncpg.connect(url, timeout=10)
    for statement in statements:
        await connection.execute(statement)
    await connection.close()


@contextmanager
def served(data: Path) -> Iterator[tuple[int, float, psutil.Process]]:
    """The port, the seconds until it answered, and the process."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = int(free.getsockname()[1])
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    started = time.perf_counter()
    process = subprocess.Popen(
        ["bookstore", "serve", "--data", str(data), "--port", str(port)],
        env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        while not healthy(port):
            if time.perf_counter() - started > 120 or process.poll() is not None:
                sys.exit("bookstore serve did not start")
            time.sleep(0.05)
        yield port, time.perf_counter() - started, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def healthy(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def ask(port: int, query: str) -> None:
    body = orjson.dumps({"query": query})
    headers = {"content-type": "application/json"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/graphql", body, headers)
    with urllib.request.urlopen(request, timeout=10) as answer:
        assert "errors" not in orjson.loads(answer.read())


def shop_environment(url: str) -> dict[str, str]:
    secret = "measured-1234567890-abcdefghij-klmnop"
    return os.environ | {
        "DATABASE_URL": url,
        "ENVIRONMENT": "development",
        "SECRET_KEY": secret,
    }


if __name__ == "__main__":
    main()
