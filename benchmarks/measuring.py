"""One measurement: a contender under load, and what it cost it and PostgreSQL."""

import asyncio
import pickle
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import orjson
import psutil

from benchmarks.contenders import ROOT, Running
from benchmarks.load import Order, Tally
from benchmarks.stage import Stage
from benchmarks.workloads import Workload


@dataclass(frozen=True, slots=True)
class Effort:
    """How hard to try."""

    connections: int = 8
    warm_up: float = 1.0
    seconds: float = 5.0
    rate: float | None = None


@dataclass(frozen=True, slots=True)
class Sample:
    """For each request, in milliseconds: CPU time of the contender and of PostgreSQL, and the time of its statements."""

    contender: str
    workload: str
    requests: int
    per_second: float
    cpu: float
    database_cpu: float
    statements: float
    p50: float
    p99: float
    rss: int
    uss: int


class Postmaster:
    """PostgreSQL's processes and its own book of statements."""

    def __init__(self, url: str) -> None:
        self._url = url
        lasting = "SELECT pid FROM pg_stat_activity WHERE backend_type = 'checkpointer'"
        self._process = psutil.Process(asyncio.run(self._fetch(lasting))).parent()

    def cpu(self) -> float:
        assert self._process is not None
        return cpu_of(self._process)

    def forget(self) -> None:
        asyncio.run(self._fetch("SELECT count(pg_stat_statements_reset())"))

    def statements(self) -> float:
        """Milliseconds since they were forgotten, of this database."""
        query = """SELECT coalesce(sum(total_exec_time + total_plan_time), 0)::float8 FROM pg_stat_statements
            WHERE dbid = (SELECT oid FROM pg_database WHERE datname = current_database())"""
        return float(asyncio.run(self._fetch(query)))

    async def _fetch(self, query: str) -> int:
        connection = await asyncpg.connect(self._url, timeout=10)
        value: int = await connection.fetchval(query)
        await connection.close()
        return value


def cpu_of(process: psutil.Process) -> float:
    """Seconds of a process and of all that came from it, those that have ended included."""
    return sum(cpu_of_each(process).values())


def cpu_of_each(process: psutil.Process) -> dict[int, float]:
    """The same by process id; those that have ended count for their parents."""
    found = {}
    for one in [process, *process.children(recursive=True)]:
        try:
            times = one.cpu_times()
            own = _on_cpu(one.pid) or times.user + times.system
        except (psutil.NoSuchProcess, OSError):  # it has ended, and its parent knows what it used
            continue
        found[one.pid] = own + times.children_user + times.children_system
    return found


def _on_cpu(pid: int) -> float:
    """Of all threads, by the scheduler's own clock, which is finer than the hundredths of a second told elsewhere."""
    threads = Path(f"/proc/{pid}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def memory_of(process: psutil.Process) -> tuple[int, int]:
    """Bytes: resident, and its own."""
    infos = [one.memory_full_info() for one in [process, *process.children(recursive=True)]]
    return sum(info.rss for info in infos), sum(info.uss for info in infos)


def measure(
    contender: Running, workload: Workload, stage: Stage, postmaster: Postmaster, effort: Effort, key: str
) -> Sample:
    """Raises `RuntimeError` when a request failed. `key` is used once in a run."""
    with loading(contender, workload, stage, effort, key) as carry_out:
        postmaster.forget()
        before, database_before = cpu_of(contender.process), postmaster.cpu()
        tally = carry_out()
        cpu, database_cpu = cpu_of(contender.process) - before, postmaster.cpu() - database_before
    rss, uss = memory_of(contender.process)
    each = 1000 / tally.answered
    return Sample(
        contender=contender.name,
        workload=workload.name,
        requests=tally.answered,
        per_second=tally.answered / tally.seconds,
        cpu=cpu * each,
        database_cpu=database_cpu * each,
        statements=postmaster.statements() / tally.answered,
        p50=tally.p50,
        p99=tally.p99,
        rss=rss,
        uss=uss,
    )


@contextmanager
def loading(
    contender: Running, workload: Workload, stage: Stage, effort: Effort, key: str
) -> Iterator[Callable[[], Tally]]:
    """The load, warmed up when the block begins; what it is given carries the rest out.

    Raises `RuntimeError` when a request failed.
    """
    count = min(int((effort.warm_up + effort.seconds) * workload.most), len(stage.tokens))
    workload.prepare(stage, count)
    order = Order(
        contender.port,
        contender.dialect.requests(workload, stage, key, count),
        repeat=not workload.writes,
        success=contender.dialect.success(workload),
        connections=effort.connections,
        warm_up=effort.warm_up,
        seconds=effort.seconds,
        rate=effort.rate,
    )
    with subprocess.Popen(
        [sys.executable, "-m", "benchmarks.load"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT
    ) as process:
        try:
            yield _warmed_up(process, order, f"{contender.name}, asked {workload.name},")
        finally:
            process.kill()  # it has ended, unless something broke in between


def _warmed_up(process: "subprocess.Popen[bytes]", order: Order, name: str) -> Callable[[], Tally]:
    source, sink = process.stdout, process.stdin
    assert source is not None
    assert sink is not None
    pickle.dump(order, sink)
    sink.flush()
    if source.readline() != b"ready\n":
        raise RuntimeError(f"{name} did not answer.")

    def carry_out() -> Tally:
        sink.write(b"go\n")
        sink.flush()
        tally = Tally(**orjson.loads(source.readline()))
        if tally.failed or not tally.answered:
            raise RuntimeError(f"{name} failed {tally.failed:,} times: {tally.problem}")
        return tally

    return carry_out
