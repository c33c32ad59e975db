"""Ways to run the server, and which of them are compared."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from sqlalchemy.engine import make_url

from server.database.embedded import get_program_path
from tests.support.database.replication import PostgresServer
from tools.bench.database import with_database
from tools.bench.measurement import PostgresMeter, read_cpu
from tools.bench.processes import HAPROXY, balance, find_free_ports
from tools.bench.targets import OURS, Meter, RunningTarget, Unavailable, serve_command, start_target
from tools.bench.workloads import FEW_CALLERS, MANY_CALLERS, MIX, NEW_CALLERS, WORKLOADS, Workload

REPLICA, BALANCER = "replica", "HAProxy"
WORKERS = (1, 2, 4)
DEFAULT_LIMITS = {"RATE_LIMIT_BURST": "50000", "RATE_LIMIT_PER_SECOND": "1000", "TRUSTED_PROXIES": "127.0.0.1"}
"""The default settings, for callers whose addresses a proxy forwards."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Topologies under the same workloads; the first is the baseline.

    `start` gets the database's address and a folder, and raises `Unavailable`.
    """

    title: str
    workloads: Sequence[Workload]
    start: Callable[[str, Path], AbstractContextManager[list[RunningTarget]]]


def _serve(
    url: str, folder: Path, name: str, workers: int = 1, **settings: str
) -> AbstractContextManager[RunningTarget]:
    target = replace(
        OURS,
        name=name,
        command=lambda port: [*serve_command(port), "--workers", f"{workers}"],
        environment={"RATE_LIMIT_STORAGE": "memory", **settings},
    )
    target_folder = folder / name.replace(" ", "-")
    target_folder.mkdir()
    return start_target(target, url, target_folder)


@contextmanager
def _start_workers(url: str, folder: Path) -> Iterator[list[RunningTarget]]:
    with ExitStack() as stack:
        yield [stack.enter_context(_serve(url, folder, f"--workers {count}", count)) for count in WORKERS]


@contextmanager
def _start_servers(url: str, folder: Path) -> Iterator[list[RunningTarget]]:
    if HAPROXY is None:
        raise Unavailable("haproxy is not installed (Debian's package of that name)")
    with ExitStack() as stack:
        servers = [stack.enter_context(_serve(url, folder, f"server {number}")) for number in (1, 2)]
        targets = []
        for name, group in (("one server", servers[:1]), ("two servers", servers)):
            [port] = find_free_ports(1)
            balancer = stack.enter_context(balance(folder, port, [server.port for server in group]))
            meters: dict[str, Meter] = {BALANCER: partial(read_cpu, balancer.info)}
            processes = [process for server in group for process in server.processes]
            targets.append(RunningTarget(name, port, processes, components=meters))
        yield targets


@contextmanager
def _start_replica(url: str, folder: Path) -> Iterator[list[RunningTarget]]:
    if not get_program_path("pg_basebackup").exists():
        raise Unavailable("the embedded PostgreSQL has no pg_basebackup")
    with ExitStack() as stack:
        replica_url = stack.enter_context(_run_replica(url, folder))
        meters = {REPLICA: PostgresMeter(replica_url).read_cpu}
        servers = [
            stack.enter_context(_serve(url, folder, "reads at the primary")),
            stack.enter_context(_serve(url, folder, "reads at a replica", DATABASE_READ_URL=replica_url)),
        ]
        yield [replace(server, components=meters) for server in servers]


@contextmanager
def _run_replica(url: str, folder: Path) -> Iterator[str]:
    """Run a streaming replica of the server at `url`. Yields the address of the same database there."""
    [port] = find_free_ports(1)
    node = PostgresServer(folder / "replica", port)
    node.create_data_dir()
    try:
        asyncio.run(node.start_as_replica(url))
        yield with_database(node.url, make_url(url).database or "")
    finally:
        if node.is_running:
            asyncio.run(node.crash())


@contextmanager
def _start_rate_limits(url: str, folder: Path) -> Iterator[list[RunningTarget]]:
    with ExitStack() as stack:
        yield [
            stack.enter_context(_serve(url, folder, f"in {storage}", 2, RATE_LIMIT_STORAGE=storage, **DEFAULT_LIMITS))
            for storage in ("memory", "postgresql")
        ]


PAGES_AND_MIX = (WORKLOADS["W1"], MIX)
COMPARISONS = {
    "workers": Comparison("Processes of one server", PAGES_AND_MIX, _start_workers),
    "servers": Comparison("Servers behind HAProxy", PAGES_AND_MIX, _start_servers),
    "replica": Comparison("Anonymous reads at a replica", PAGES_AND_MIX, _start_replica),
    "limits": Comparison("Rate limits of two processes", (FEW_CALLERS, MANY_CALLERS, NEW_CALLERS), _start_rate_limits),
}
