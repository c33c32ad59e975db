"""Ways to run the shop, and which of them are compared."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from benchmarks.contenders import CONTENDERS, Absent, Running, running
from benchmarks.measuring import Postmaster, cpu_of, cpu_of_each
from benchmarks.mix import BUSY, MIX, STRANGERS, VISITORS
from benchmarks.replicas import HAPROXY, balancing
from benchmarks.stage import Stage
from benchmarks.standby import standing_by
from benchmarks.workloads import WORKLOADS, Workload
from server.database.embedded import get_program_path
from tests.support.observability.prometheus import free_port

Meter = Callable[[], float]
"""Seconds of CPU that were used until now."""
PRIMARY, STANDBY, BALANCER = "PostgreSQL", "standby", "HAProxy"
WORKERS = (1, 2, 4)
BUDGETS = {"RATE_LIMIT_BURST": "50000", "RATE_LIMIT_PER_SECOND": "1000", "TRUSTED_PROXIES": "127.0.0.1"}
"""As they are when nothing is set, for callers whose addresses a proxy tells."""


@dataclass(frozen=True, slots=True)
class Site:
    """Where the shop is built: its database, and a folder for whatever else there is."""

    url: str
    folder: Path
    stage: Stage
    primary: Postmaster


@dataclass(frozen=True, slots=True)
class Arrangement:
    """The shop, open at one port: its servers, and the parts beside them."""

    running: Running
    servers: Sequence[Running]
    beside: Mapping[str, Meter]

    @property
    def name(self) -> str:
        return self.running.name

    def processes(self) -> dict[int, float]:
        """What each of the servers' processes has used, by its id."""
        return {pid: used for server in self.servers for pid, used in cpu_of_each(server.process).items()}

    def parts(self) -> dict[str, float]:
        """What all else has used."""
        return {name: meter() for name, meter in self.beside.items()}


@dataclass(frozen=True, slots=True)
class Comparison:
    """Of arrangements that are asked the same in turn; the first is what the others are held against.

    `arranged` raises `Absent`.
    """

    title: str
    workloads: Sequence[Workload]
    arranged: Callable[[Site], AbstractContextManager[list[Arrangement]]]


def _serve(site: Site, name: str, workers: int = 1, **settings: str) -> AbstractContextManager[Running]:
    contender = replace(
        CONTENDERS["ours"],
        name=name,
        command=lambda port: [*CONTENDERS["ours"].command(port), "--workers", f"{workers}"],
        environment={"RATE_LIMIT_STORAGE": "memory", **settings},
    )
    folder = site.folder / name.replace(" ", "-")
    folder.mkdir()
    return running(contender, site.url, folder, core=None)


@contextmanager
def _workers(site: Site) -> Iterator[list[Arrangement]]:
    with ExitStack() as stack:
        servers = [stack.enter_context(_serve(site, f"--workers {count}", count)) for count in WORKERS]
        yield [Arrangement(server, [server], {PRIMARY: site.primary.cpu}) for server in servers]


@contextmanager
def _replicas(site: Site) -> Iterator[list[Arrangement]]:
    if HAPROXY is None:
        raise Absent("haproxy is not there (Debian's package of that name)")
    with ExitStack() as stack:
        one, two = (stack.enter_context(_serve(site, f"replica {number}")) for number in (1, 2))
        found = []
        for name, servers in (("one replica", [one]), ("two replicas", [one, two])):
            front = replace(one, name=name, port=free_port())
            settings = site.folder / f"haproxy-{front.port}.cfg"
            balancer = stack.enter_context(balancing(settings, front.port, [server.port for server in servers]))
            found.append(Arrangement(front, servers, {PRIMARY: site.primary.cpu, BALANCER: partial(cpu_of, balancer)}))
        yield found


@contextmanager
def _standby(site: Site) -> Iterator[list[Arrangement]]:
    if not get_program_path("pg_basebackup").exists():
        raise Absent("the embedded PostgreSQL has no pg_basebackup")
    with ExitStack() as stack:
        address = stack.enter_context(standing_by(site.url, site.folder))
        beside = {PRIMARY: site.primary.cpu, STANDBY: Postmaster(address).cpu}
        servers = [
            stack.enter_context(_serve(site, "reads at the primary")),
            stack.enter_context(_serve(site, "reads at a standby", DATABASE_READ_URL=address)),
        ]
        yield [Arrangement(server, [server], beside) for server in servers]


@contextmanager
def _budgets(site: Site) -> Iterator[list[Arrangement]]:
    with ExitStack() as stack:
        servers = [
            stack.enter_context(_serve(site, f"in {storage}", 2, RATE_LIMIT_STORAGE=storage, **BUDGETS))
            for storage in ("memory", "postgresql")
        ]
        yield [Arrangement(server, [server], {PRIMARY: site.primary.cpu}) for server in servers]


COMPARISONS = {
    "workers": Comparison("Processes of one server", (WORKLOADS["W1"], MIX), _workers),
    "replicas": Comparison("Servers behind HAProxy", (WORKLOADS["W1"], MIX), _replicas),
    "standby": Comparison("What visitors read, at a standby", (WORKLOADS["W1"], MIX), _standby),
    "budgets": Comparison("Budgets of callers, of two processes", (BUSY, VISITORS, STRANGERS), _budgets),
}
