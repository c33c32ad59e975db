"""One measurement: a target under load, and what that cost the target and PostgreSQL."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from tools.bench.database import fetch_value
from tools.bench.fixtures import Fixtures
from tools.bench.load_generator import LoadPlan, start_load
from tools.bench.targets import RunningTarget
from tools.bench.workloads import Workload


@dataclass(frozen=True, slots=True)
class Effort:
    """The size of a load. `warm_up` and `seconds` are seconds; `rate` limits the requests a second."""

    connections: int = 8
    warm_up: float = 1.0
    seconds: float = 5.0
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """One target under one workload. Times are milliseconds per request, memory is in bytes.

    `cpu` is the target's, and `components` has the CPU of what runs beside it; `busiest` is the share of `cpu` that one
    process used. `statements` is the time of the SQL statements, as PostgreSQL counts it.
    """

    target: str
    workload: str
    requests: int
    per_second: float
    cpu: float
    busiest: float
    database_cpu: float
    components: dict[str, float]
    load_cpu: float
    statements: float
    p50: float
    p99: float
    rss: int
    uss: int

    @property
    def total_cpu(self) -> float:
        """The CPU of the target, PostgreSQL and what runs beside them."""
        return self.cpu + self.database_cpu + sum(self.components.values())


class PostgresMeter:
    """The CPU of a PostgreSQL server, and its statistics of statements."""

    def __init__(self, url: str) -> None:
        self._url = url
        query = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        self._process = psutil.Process(asyncio.run(fetch_value(url, query))).parent()

    def read_cpu(self) -> float:
        """Return the seconds of CPU of all its processes."""
        assert self._process is not None
        return read_cpu(self._process)

    def reset_statements(self) -> None:
        """Set the statistics of statements to zero."""
        asyncio.run(fetch_value(self._url, "SELECT count(pg_stat_statements_reset())"))

    def read_statements(self) -> float:
        """Return the milliseconds that statements of this database took since the reset."""
        query = """SELECT coalesce(sum(total_exec_time + total_plan_time), 0)::float8 FROM pg_stat_statements
            WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        return float(asyncio.run(fetch_value(self._url, query)))


def read_cpu(process: psutil.Process) -> float:
    """Return the seconds of CPU of a process and its descendants, those that have ended included."""
    return sum(read_cpu_by_process([process]).values())


def read_cpu_by_process(processes: Sequence[psutil.Process]) -> dict[int, float]:
    """Return the same by process id; a process that has ended counts for its parent."""
    seconds = {}
    for root in processes:
        for process in [root, *root.children(recursive=True)]:
            try:
                times = process.cpu_times()
                own = _read_scheduler_clock(process.pid) or times.user + times.system
            except (psutil.NoSuchProcess, OSError):  # it has ended, and its parent has its times
                continue
            seconds[process.pid] = own + times.children_user + times.children_system
    return seconds


def _read_scheduler_clock(pid: int) -> float:
    """Return the CPU of all threads in seconds. This clock is finer than the hundredths of a second elsewhere."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def read_memory(processes: Sequence[psutil.Process]) -> tuple[int, int]:
    """Return the resident and the unique memory of processes and their descendants, in bytes."""
    infos = [one.memory_full_info() for root in processes for one in [root, *root.children(recursive=True)]]
    return sum(info.rss for info in infos), sum(info.uss for info in infos)


def measure(
    target: RunningTarget, workload: Workload, fixtures: Fixtures, postgres: PostgresMeter, effort: Effort, key: str
) -> Sample:
    """Put a target under load. `key` is unique in a run: idempotency keys begin with it.

    Raises:
        RuntimeError: A request failed.
    """
    count = min(int((effort.warm_up + effort.seconds) * workload.max_per_second), len(fixtures.tokens))
    workload.prepare(fixtures, count)
    plan = LoadPlan(
        target.port,
        target.protocol.encode_requests(workload, fixtures, key, count),
        repeat=not workload.writes,
        success_marker=target.protocol.success_marker(workload),
        connections=effort.connections,
        warm_up=effort.warm_up,
        seconds=effort.seconds,
        rate=effort.rate,
    )
    with start_load(plan, f"{target.name}, {workload.name}:") as run_load:
        postgres.reset_statements()
        before = read_cpu_by_process(target.processes)
        database_before, components_before = postgres.read_cpu(), target.read_components()
        results = run_load()
        after = read_cpu_by_process(target.processes)
        database_after, components_after = postgres.read_cpu(), target.read_components()
    requests, cpu = len(results.responses), sum(after.values()) - sum(before.values())
    rss, uss = read_memory(target.processes)
    each = 1000 / requests
    return Sample(
        target=target.name,
        workload=workload.name,
        requests=requests,
        per_second=requests / results.seconds,
        cpu=cpu * each,
        busiest=max(seconds - before.get(pid, 0) for pid, seconds in after.items()) / cpu,
        database_cpu=(database_after - database_before) * each,
        components={name: (seconds - components_before[name]) * each for name, seconds in components_after.items()},
        load_cpu=results.cpu * each,
        statements=postgres.read_statements() / requests,
        p50=results.latency(0.5),
        p99=results.latency(0.99),
        rss=rss,
        uss=uss,
    )


def measure_rounds(
    targets: Sequence[RunningTarget],
    workloads: Sequence[Workload],
    fixtures: Fixtures,
    postgres: PostgresMeter,
    efforts: Sequence[Effort],
    show_step: Callable[[str], None],
    key: str = "",
) -> list[Sample]:
    """Measure every target under every workload, round by round. The first of the `efforts` warms up and is not counted.

    The samples are in the order of the targets, then of the rounds.
    """
    samples = []
    for number, effort in enumerate(efforts):
        first = number % len(targets)  # so that no target always follows the same one
        for workload in workloads:
            for target in (*targets[first:], *targets[:first]):
                show_step(f"{workload.name}, {target.name}")
                sample = measure(target, workload, fixtures, postgres, effort, f"{number}-{key}{target.name}")
                if number:
                    samples.append(sample)
    order = [target.name for target in targets]
    return sorted(samples, key=lambda sample: order.index(sample.target))
