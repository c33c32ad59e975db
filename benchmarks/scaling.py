"""What more processes bring: `just scale`. Workers, replicas, a standby and shared budgets, each compared in one run.

The servers, PostgreSQL and the load share the cores of this machine, so that requests a second say what this machine can do, and
CPU time for each request what the shop costs anywhere. Compare the ratios.
"""

import argparse
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from types import FrameType
from typing import Protocol, TypeVar

import orjson
from rich.console import Console
from rich.progress import Progress

from benchmarks import data
from benchmarks.arrangements import COMPARISONS, Arrangement, Site
from benchmarks.competition import COLUMNS, kept
from benchmarks.contenders import Absent
from benchmarks.generation import Size
from benchmarks.measuring import Effort, Postmaster, loading
from benchmarks.mix import SHARES
from benchmarks.stage import Stage, set_stage
from benchmarks.turns import SERVERS, Question, Turn, figures_table, middle, ratios, ratios_table
from benchmarks.versions import machine, versions
from benchmarks.workloads import WORKLOADS, Workload

T = TypeVar("T")

BOOKS = 5_000
CONNECTIONS = 16
FIRST_ROUND = Effort(CONNECTIONS, warm_up=0, seconds=1)  # not counted, for caches
QUICK_ROUNDS, QUICK_SECONDS = 2, 1.0


class Told(Protocol):
    """Called with what is done now, and how many steps were made."""

    def __call__(self, what: str, steps: int = 0) -> None: ...


@dataclass(frozen=True, slots=True)
class Plan:
    comparisons: Sequence[str]
    rounds: int
    effort: Effort

    @property
    def efforts(self) -> list[Effort]:
        """Round by round."""
        return [FIRST_ROUND] + self.rounds * [self.effort]

    @property
    def steps(self) -> int:
        return len(self.efforts) * sum(len(COMPARISONS[name].workloads) for name in self.comparisons)


@dataclass(slots=True)
class Outcome:
    turns: dict[Question, dict[str, list[Turn]]] = field(default_factory=dict)
    absent: list[str] = field(default_factory=list)


def compare(plan: Plan, progress: Progress) -> Outcome:
    """Raises `RuntimeError` when something fails under load."""
    outcome, task = Outcome(), progress.add_task("", total=plan.steps)

    def told(what: str, steps: int = 0) -> None:
        progress.update(task, description=what, advance=steps)

    with kept(None) as folder, _site(folder, told) as site:
        for name in plan.comparisons:
            told(f"{name}: servers")
            try:
                with COMPARISONS[name].arranged(site) as arrangements:
                    outcome.turns |= _taken(plan, name, arrangements, site.stage, told)
            except Absent as reason:
                outcome.absent.append(f"{COMPARISONS[name].title}: left out, for {reason}.")
    return outcome


@contextmanager
def _site(folder: Path, told: Told) -> Iterator[Site]:
    told("the database")
    with data.postgres(folder) as server:
        url = data.named(server, data.made(server, Size.of(BOOKS), lambda what: told(f"the database: {what}")))
        yield Site(url, folder, set_stage(url), Postmaster(url))


def _taken(
    plan: Plan, name: str, arrangements: Sequence[Arrangement], stage: Stage, told: Told
) -> dict[Question, dict[str, list[Turn]]]:
    comparison = COMPARISONS[name]
    found: dict[Question, dict[str, list[Turn]]] = {
        Question(name, workload.name, f"{comparison.title}: {workload.title}"): {one.name: [] for one in arrangements}
        for workload in comparison.workloads
    }
    for number, effort in enumerate(plan.efforts):
        first = number % len(arrangements)  # nobody always comes after the same one
        for turns, workload in zip(found.values(), comparison.workloads, strict=True):
            for arrangement in (*arrangements[first:], *arrangements[:first]):
                told(f"{name}: {workload.name}, {arrangement.name}")
                turn = _turn(arrangement, workload, stage, effort, f"{number}-{name}-{arrangement.name}")
                if number:
                    turns[arrangement.name].append(turn)
            told(name, steps=1)
    return found


def _turn(arrangement: Arrangement, workload: Workload, stage: Stage, effort: Effort, key: str) -> Turn:
    with loading(arrangement.running, workload, stage, effort, key) as carry_out:
        parts, processes = arrangement.parts(), arrangement.processes()
        tally = carry_out()
        processes, parts = _since(processes, arrangement.processes()), _since(parts, arrangement.parts())
    servers, each = sum(processes.values()), 1000 / tally.answered
    return Turn(
        per_second=tally.answered / tally.seconds,
        cpu={part: used * each for part, used in ({SERVERS: servers} | parts).items()},
        load=tally.cpu * each,
        busiest=max(processes.values()) / servers,
        p50=tally.p50,
        p99=tally.p99,
    )


def _since(before: Mapping[T, float], now: Mapping[T, float]) -> dict[T, float]:
    return {name: used - before.get(name, 0) for name, used in now.items()}


# ── The command ───────────────────────────────────────────────────────────────────────────


def plan_of(options: argparse.Namespace) -> Plan:
    seconds = options.seconds or (QUICK_SECONDS if options.quick else 2.0)
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else 3)
    return Plan(options.only, rounds, Effort(CONNECTIONS, warm_up=seconds / 3, seconds=seconds))


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scaling", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="two to three minutes: short turns, and few of them")
    parser.add_argument("--rounds", type=int, help="how often each arrangement has a turn (3)")
    parser.add_argument("--seconds", type=float, help="how long a turn lasts (2)")
    parser.add_argument(
        "--only", nargs="+", choices=COMPARISONS, default=[*COMPARISONS], help="some of the comparisons"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="where every turn is written to, as JSON")
    return parser.parse_args()


def write(file: Path, plan: Plan, outcome: Outcome) -> None:
    report = {
        "books": BOOKS,
        "rounds": plan.rounds,
        "effort": asdict(plan.effort),
        "machine": machine(),
        "versions": versions(),
        "ratios": [asdict(ratio) for ratio in ratios(outcome.turns)],
        "turns": [
            asdict(question) | {"arrangement": name, "median": asdict(middle(turns)), "turns": list(map(asdict, turns))}
            for question, asked in outcome.turns.items()
            for name, turns in asked.items()
        ],
        "absent": outcome.absent,
    }
    file.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


def _leave(number: int, _: FrameType | None) -> None:
    """Once: whoever presses Ctrl-C again has everything stopped all the same."""
    signal.signal(number, signal.SIG_IGN)
    raise KeyboardInterrupt


def main() -> None:
    options, console = arguments(), Console(width=140 if not sys.stdout.isatty() else None)
    plan = plan_of(options)
    signal.signal(signal.SIGINT, _leave)
    try:
        with Progress(*COLUMNS, console=console) as progress:
            outcome = compare(plan, progress)
    except RuntimeError as problem:
        console.print(str(problem), markup=False, highlight=False, style="red", soft_wrap=True)
        sys.exit(1)
    except KeyboardInterrupt:
        console.print("Stopped; everything that was started is gone.")
        sys.exit(130)
    console.print(figures_table(outcome.turns), ratios_table(list(ratios(outcome.turns))), *outcome.absent, sep="\n")
    console.print(
        f"{BOOKS:,} books; {plan.rounds} rounds of {plan.effort.seconds:g} seconds, {CONNECTIONS} connections of one load generator.",
        f"The mix, of a hundred: {', '.join(f'{share} {WORKLOADS[name].title}' for name, share in SHARES.items())}.",
        sep="\n",
    )
    if options.out:
        write(options.out, plan, outcome)


if __name__ == "__main__":
    main()
