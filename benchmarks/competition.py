"""The competition: everybody at once on one database, each in turn under load, round by round."""

import asyncio
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from benchmarks import cores, data
from benchmarks.agreement import agree
from benchmarks.contenders import CONTENDERS, Absent, Running, running
from benchmarks.generation import Size
from benchmarks.measuring import Effort, Postmaster, Sample, measure
from benchmarks.stage import Stage, set_stage
from benchmarks.versions import versions
from benchmarks.workloads import WORKLOADS, Workload
from persistence.invariants import find_violations

COLUMNS = (
    TextColumn("{task.description}"),
    BarColumn(),
    MofNCompleteColumn(),
    TimeElapsedColumn(),
    TimeRemainingColumn(),
)
FIRST_ROUND = 2.0  # seconds that are not counted, for caches and compilers
SHARE = 0.6
"""Of what the slowest contender can do, for memory at the same rate."""
MEMORY_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Plan:
    """`data` is kept, and made in a temporary folder when there is none."""

    size: Size
    contenders: Sequence[str]
    workloads: Sequence[str]
    rounds: int
    effort: Effort
    data: Path | None = None


@dataclass(slots=True)
class Outcome:
    samples: list[Sample] = field(default_factory=list)
    memory: list[Sample] = field(default_factory=list)
    rate: float = 0
    absent: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)
    pinned: bool = False
    versions: dict[str, str] = field(default_factory=dict)


@contextmanager
def kept(folder: Path | None) -> Iterator[Path]:
    """The folder, or a temporary one."""
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        yield folder.resolve()
    else:
        with tempfile.TemporaryDirectory(prefix="bookstore-bench-") as temporary:
            yield Path(temporary)


@dataclass(frozen=True, slots=True)
class Ground:
    """PostgreSQL's address, the databases by their size, and the core that contenders may have."""

    url: str
    databases: dict[Size, str]
    core: int | None


@contextmanager
def prepared(folder: Path, sizes: Sequence[Size], progress: Progress) -> Iterator[Ground]:
    making = progress.add_task("the database", total=None)

    def told(what: str) -> None:
        progress.update(making, description=f"the database: {what}")

    with data.postgres(folder) as url:
        databases = {size: data.made(url, size, told) for size in sizes}
    core = cores.divide()
    progress.remove_task(making)
    with data.postgres(folder) as url:  # started anew, on the cores that are left to it
        yield Ground(url, databases, core)


def compete(plan: Plan, say: Callable[[str], None]) -> Outcome:
    """Raises `Disagreement` before anything is timed, and `RuntimeError` when something fails under load."""
    outcome = Outcome()
    with ExitStack() as stack:
        progress = stack.enter_context(Progress(*COLUMNS))
        folder = stack.enter_context(kept(plan.data))
        ground = stack.enter_context(prepared(folder, [plan.size], progress))
        outcome.pinned = ground.core is not None
        url = stack.enter_context(data.copied(ground.url, ground.databases[plan.size]))
        stage = set_stage(url)
        present = list(_started(stack, plan, url, folder, ground.core, outcome))
        workloads = [WORKLOADS[name] for name in plan.workloads]
        outcome.versions = versions(folder / "peers")
        for workload in workloads:
            agree(present, workload, stage)
        say(f"{', '.join(one.name for one in present)} answer alike.")
        postmaster = Postmaster(url)
        _measure_all(plan, present, workloads, stage, postmaster, progress, outcome)
        _measure_memory(present, stage, postmaster, plan, outcome)
        outcome.broken = asyncio.run(_violated(url))
    return outcome


def _started(
    stack: ExitStack, plan: Plan, url: str, folder: Path, core: int | None, outcome: Outcome
) -> Iterator[Running]:
    for name in plan.contenders:
        contender = CONTENDERS[name]
        place = folder / "peers" / name
        place.mkdir(parents=True, exist_ok=True)
        try:
            yield stack.enter_context(running(contender, url, place, core))
        except Absent as reason:
            outcome.absent.append(f"{contender.title} is left out: {reason}.")


def _measure_all(
    plan: Plan,
    present: Sequence[Running],
    workloads: Sequence[Workload],
    stage: Stage,
    postmaster: Postmaster,
    progress: Progress,
    outcome: Outcome,
) -> None:
    task = progress.add_task("measuring", total=(plan.rounds + 1) * len(workloads) * len(present))
    uncounted = Effort(plan.effort.connections, warm_up=0, seconds=FIRST_ROUND)
    for turn in range(plan.rounds + 1):
        first = turn % len(present)  # nobody always comes after the same one
        for workload in workloads:
            for contender in (*present[first:], *present[:first]):
                progress.update(task, description=f"{workload.name} {contender.name}")
                key = f"{turn}-{contender.name}"
                effort = plan.effort if turn else uncounted
                sample = measure(contender, workload, stage, postmaster, effort, key)
                if turn:
                    outcome.samples.append(sample)
                progress.advance(task)


def _measure_memory(
    present: Sequence[Running], stage: Stage, postmaster: Postmaster, plan: Plan, outcome: Outcome
) -> None:
    rates = [sample.per_second for sample in outcome.samples if sample.workload == "W1"]
    if not rates:
        return
    outcome.rate = SHARE * min(rates)
    seconds = max(plan.effort.seconds, MEMORY_SECONDS)
    effort = Effort(plan.effort.connections, plan.effort.warm_up, seconds, outcome.rate)
    for contender in present:
        outcome.memory.append(measure(contender, WORKLOADS["W1"], stage, postmaster, effort, "memory"))


async def _violated(url: str) -> list[str]:
    connection = await asyncpg.connect(url, timeout=10)
    broken = await find_violations(connection)
    await connection.close()
    return broken
