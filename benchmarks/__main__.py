"""Bookstore beside its peers, in one run: `just bench`. Each is given the same questions and must answer the same.

Compare the ratios of CPU time for each request; the figures themselves are this machine's, on this day.
"""

import argparse
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path

import orjson
from rich.console import Console

from benchmarks import plot
from benchmarks.agreement import Disagreement
from benchmarks.competition import Outcome, Plan, compete
from benchmarks.contenders import CONTENDERS, LEFT_OUT
from benchmarks.generation import Size
from benchmarks.measuring import Effort
from benchmarks.report import figures_table, medians, memory_table, ratios, ratios_table
from benchmarks.versions import machine
from benchmarks.workloads import WORKLOADS

QUICK_ROUNDS, QUICK_SECONDS = 3, 1.5


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="under ten minutes in all: short rounds, and few of them")
    parser.add_argument("--books", type=int, default=100_000, help="how many (100,000); 1,000 and 1,000,000 do, too")
    parser.add_argument("--reviews", type=int, help="how many (ten for each book, two million at most)")
    parser.add_argument("--rounds", type=int, help="how often everybody has a turn (5)")
    parser.add_argument("--seconds", type=float, help="how long a turn lasts (4)")
    parser.add_argument("--connections", type=int, default=8, help="how many ask at the same time (8)")
    parser.add_argument("--only", type=_names(WORKLOADS), help=f"some workloads of {', '.join(WORKLOADS)}")
    parser.add_argument("--contenders", type=_names(CONTENDERS), help=f"some of {', '.join(CONTENDERS)}")
    parser.add_argument("--data", type=Path, help="a folder to keep the database in, and to find it again")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="where bench.json and bench.svg go (.bench)")
    return parser.parse_args()


def _names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def split(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"there is no {', '.join(unknown)}")
        return names

    return split


def plan_of(options: argparse.Namespace) -> Plan:
    rounds = options.rounds or (QUICK_ROUNDS if options.quick else 5)
    seconds = options.seconds or (QUICK_SECONDS if options.quick else 4.0)
    return Plan(
        size=Size(options.books, options.reviews) if options.reviews else Size.of(options.books),
        contenders=options.contenders or [name for name in CONTENDERS if name not in LEFT_OUT],
        workloads=options.only or list(WORKLOADS),
        rounds=rounds,
        effort=Effort(options.connections, warm_up=min(seconds / 3, 1.0), seconds=seconds),
        data=options.data,
    )


def tell(console: Console, plan: Plan, outcome: Outcome) -> None:
    console.print(figures_table(outcome.samples))
    if outcome.memory:
        console.print(memory_table(outcome.memory, outcome.rate))
    if found := ratios(outcome.samples):
        console.print(ratios_table(found))
    for sentence in outcome.absent:
        console.print(f"[yellow]{sentence}[/]")
    if not outcome.pinned:
        console.print("[yellow]There are no two cores to divide here: contenders, load and PostgreSQL share them.[/]")
    kept = "hold" if not outcome.broken else f"do not hold: {'; '.join(outcome.broken)}"
    console.print(
        f"{plan.size.books:,} books, {plan.size.reviews:,} reviews; {plan.rounds} rounds of {plan.effort.seconds:g} seconds, "
        f"{plan.effort.connections} connections. The invariants of the database {kept}."
    )


def write(folder: Path, plan: Plan, outcome: Outcome) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = medians(outcome.samples)
    report = {
        "size": asdict(plan.size),
        "rounds": plan.rounds,
        "effort": asdict(plan.effort),
        "machine": machine(),
        "pinned": outcome.pinned,
        "versions": outcome.versions,
        "ratios": [asdict(ratio) | {"reached": ratio.reached} for ratio in ratios(outcome.samples)],
        "medians": [{"contender": name, "workload": workload} | one for (name, workload), one in found.items()],
        "samples": [asdict(sample) for sample in outcome.samples],
        "memory": {"rate": outcome.rate, "samples": [asdict(sample) for sample in outcome.memory]},
        "absent": outcome.absent,
        "broken_invariants": outcome.broken,
    }
    (folder / "bench.json").write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))
    series = {
        name: {workload: one["cpu"] for (contender, workload), one in found.items() if contender == name}
        for name in plan.contenders
        if any(contender == name for contender, _ in found)
    }
    groups = {name: WORKLOADS[name].title for name in plan.workloads}
    title = "CPU time for each request, in milliseconds (logarithmic)"
    (folder / "bench.svg").write_text(plot.bars(title, groups, series), encoding="utf-8")


def main() -> None:
    options, console = arguments(), Console(width=140 if not sys.stdout.isatty() else None)
    plan = plan_of(options)
    try:
        outcome = compete(plan, console.print)
    except (Disagreement, RuntimeError) as problem:
        console.print(str(problem), markup=False, highlight=False, style="red", soft_wrap=True)
        sys.exit(1)
    tell(console, plan, outcome)
    write(options.out, plan, outcome)
    console.print(f"{options.out / 'bench.json'} has all of it, {options.out / 'bench.svg'} the plot.")


if __name__ == "__main__":
    main()
