"""A release under load: a migration and two restarts behind HAProxy, and how many requests fail. One minute.

Clients do not repeat a request, and none may fail. Needs Debian's package `haproxy`.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import NamedTuple

from alembic.script import ScriptDirectory
from rich.table import Table

from persistence.invariants import INVARIANTS
from server.database.embedded import run_embedded_postgres
from server.database.migrations import build_alembic_config
from tools.bench import processes
from tools.bench.database import check_invariants, fetch_value
from tools.bench.load_clients import Results, run_open_loop
from tools.bench.processes import BOOKSTORE, HAPROXY, Process
from tools.bench.report import format_counts, make_console, make_table
from tools.bench.shoppers import Shoppers, list_book_ids, make_clients, register

CLIENTS = 48
DRAIN_SECONDS = 2  # HAProxy checks twice a second
PAUSE = 3  # seconds between steps
STEP_TIMEOUT = 120  # seconds
LOAD_SECONDS = 2
"""Length of one part of the load; the last part ends after the last step."""
NEXT_RELEASE = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "next_release", {head!r}, None, None


def upgrade() -> None:
    op.add_column("books", sa.Column("shelf", sa.Text(), server_default="", nullable=False))
    op.execute("ALTER TABLE orders ADD CONSTRAINT ck_orders_none_owed CHECK (total >= 0) NOT VALID")
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE orders VALIDATE CONSTRAINT ck_orders_none_owed")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_books_shelf")
        op.execute("CREATE INDEX CONCURRENTLY ix_books_shelf ON books (shelf)")
"""
MIGRATE = """
import os, sys
from alembic import command
from server.database.migrations import build_alembic_config

config = build_alembic_config(os.environ["DATABASE_URL"])
config.set_main_option("version_locations", os.pathsep.join(sys.argv[1:]))
config.set_main_option("path_separator", "os")
command.upgrade(config, "head")
"""
"""What `bookstore migrate` does in a release with one revision more."""


def release_environment(url: str) -> dict[str, str]:
    """Return the environment of two servers behind a load balancer."""
    return processes.server_environment(
        url,
        PUBLIC_URL=processes.PUBLIC_URL,
        TRUSTED_PROXIES="127.0.0.1",
        RATE_LIMIT_STORAGE="postgresql",
        DRAIN_SECONDS=str(DRAIN_SECONDS),
    )


@contextmanager
def serve_two(url: str, folder: Path) -> Iterator[tuple[int, list[Process]]]:
    """Run two servers of the demo catalogue. Yields HAProxy's port and the servers."""
    port, *server_ports = processes.find_free_ports(3)
    environment = release_environment(url)
    for command in ("migrate", "demo"):
        processes.run_bookstore(command, environment=environment, folder=folder)
    with ExitStack() as stack:
        servers = [stack.enter_context(processes.serve_bookstore(environment, folder, one)) for one in server_ports]
        stack.enter_context(processes.balance(folder, port, server_ports))
        yield port, servers


class Outcome(NamedTuple):
    """The results of all requests, the seconds of each step, the violated invariants, and the database's revision."""

    results: Results
    seconds: dict[str, float]
    violations: list[str]
    revision: str


def roll_out(url: str, folder: Path, servers: Sequence[Process]) -> dict[str, float]:
    """Migrate, then restart one server after the other. Returns the seconds of each step."""
    versions = folder / "next_release"
    versions.mkdir()
    head = ScriptDirectory.from_config(build_alembic_config()).get_current_head()
    (versions / "next_release.py").write_text(NEXT_RELEASE.format(head=head))
    migrate = [sys.executable, "-c", MIGRATE, str(files("migrations") / "versions"), str(versions)]

    def run_twice(command: list[str]) -> None:
        environment = release_environment(url)
        started = [subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, cwd=folder) for _ in servers]
        exit_codes = [process.wait(STEP_TIMEOUT) for process in started]
        if any(exit_codes):
            raise RuntimeError(f"{command[0]} failed")

    steps: dict[str, Callable[[], None]] = {
        "migrate to the next release, two processes": partial(run_twice, migrate),
        "`bookstore migrate` of this release, two processes": partial(run_twice, [str(BOOKSTORE), "migrate"]),
        **{f"restart server {number}": server.restart for number, server in enumerate(servers, start=1)},
    }
    seconds = {}
    for name, step in steps.items():
        time.sleep(PAUSE)
        start = time.monotonic()
        step()
        seconds[name] = time.monotonic() - start
    time.sleep(PAUSE)
    return seconds


async def roll_out_under_load(url: str, folder: Path, port: int, servers: Sequence[Process], rate: float) -> Outcome:
    """Release while clients send `rate` requests a second."""
    clients = make_clients(CLIENTS, port, reconnects=False)
    await register(clients)
    shoppers = Shoppers(await list_book_ids(clients[0]))
    release = asyncio.create_task(asyncio.to_thread(roll_out, url, folder, servers))
    results = Results()
    while not release.done():
        results.add(await run_open_loop(clients, shoppers.send, rate, LOAD_SECONDS, len(results.responses)))
    for client in clients:
        client.close()
    revision = await fetch_value(url, "SELECT version_num FROM alembic_version")
    return Outcome(results, await release, await check_invariants(url), revision)


def _make_table(outcome: Outcome) -> Table:
    results, violations = outcome.results, outcome.violations
    table = make_table("", ["step", "result"], [])
    for name, seconds in outcome.seconds.items():
        table.add_row(name, f"{seconds:.1f} s")
    table.add_section()
    table.add_row("requests", f"{len(results.responses) + len(results.failures):,}")
    table.add_row("failures", f"{len(results.failures):,} ({format_counts(results.count_failures(), 6)})")
    table.add_row("p99", f"{results.latency(0.99):.0f} ms")
    table.add_row("longest gap", f"{results.longest_gap:.0f} ms")
    table.add_row("revision", outcome.revision)
    table.add_row("invariants", f"violated: {'; '.join(violations)}" if violations else f"all {len(INVARIANTS)} hold")
    return table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--rate", type=float, default=100, help="requests a second (100)")


def run(options: argparse.Namespace) -> None:
    if HAPROXY is None:
        sys.exit("haproxy is not installed: apt-get install haproxy")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with run_embedded_postgres(folder / "data") as url, serve_two(url, folder) as (port, servers):
            outcome = asyncio.run(roll_out_under_load(url, folder, port, servers, options.rate))
    make_console().print(_make_table(outcome))
    sys.exit(1 if outcome.results.failures or outcome.violations else 0)
