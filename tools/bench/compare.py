"""Bookstore and its peers, side by side: 30 minutes, or `--quick` for under ten.

All targets work on one database and must return the same data; then each is put under load, round by round. Compare the
ratios of CPU time per request; the figures themselves are those of this machine.
"""

import argparse
import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.table import Table

from tools.bench import plot, report
from tools.bench.database import check_invariants, copy_database, open_folder, prepare_databases
from tools.bench.equivalence import check_equivalence
from tools.bench.fixtures import Fixtures, load_fixtures
from tools.bench.generation import Size
from tools.bench.measurement import Effort, PostgresMeter, Sample, measure, measure_rounds
from tools.bench.targets import OPTIONAL, TARGETS, RunningTarget, Unavailable, start_target
from tools.bench.workloads import WORKLOADS

WARM_UP_SECONDS = 2.0
"""Length of the first round, which is not counted: caches fill, and compilers compile."""
MEMORY_LOAD_SHARE, MIN_MEMORY_SECONDS = 0.6, 5.0
"""Memory is compared at this share of what the slowest target can do."""

GOALS: Mapping[str, Mapping[str, float | None]] = {
    "strawberry": {"W1": 40, "W1c": None, "W2": None, "W3": 40, "W4": 6, "W5": 4},
    "fastapi": {"W1": 10, "W1c": None, "W2": None, "W3": 12, "W4": 3, "W5": 2},
    "mercurius": {"W1": 1.0, "W1c": None, "W2": 1.0, "W3": 1.0, "W4": None, "W5": None},
    "handwritten": {"W1": 1.2, "W1c": None, "W2": 1.2, "W3": 1.2, "W4": None, "W5": None},
}
"""For peers with the ORM, how many times our CPU they use at least; for the others, how many times theirs we use at most."""
ORM_PEERS = ("strawberry", "fastapi")
VARIANTS: Mapping[str, float | None] = {"ours-with-metrics": 1.03, "ours-with-traces": None}
"""Our server with more to do: how many times its usual CPU it uses at most."""
MAX_COUNT_RATIO = 1.05
"""CPU of a page with `totalCount` over one without."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """CPU over CPU, and the goal if there is one."""

    title: str
    workload: str
    ratio: float
    goal: float | None
    is_minimum: bool = False

    @property
    def is_reached(self) -> bool | None:
        """`None` without a goal."""
        if self.goal is None:
            return None
        return self.ratio >= self.goal if self.is_minimum else self.ratio <= self.goal


def compute_ratios(samples: Iterable[Sample]) -> Iterator[Ratio]:
    """Compare CPU per request round by round."""
    groups = report.group_samples(samples)

    def divide(numerator: tuple[str, str], denominator: tuple[str, str]) -> float | None:
        return report.median_ratio(groups.get(numerator, ()), groups.get(denominator, ()), lambda sample: sample.cpu)

    for peer, goals in GOALS.items():
        title, is_orm = TARGETS[peer].title, peer in ORM_PEERS
        for workload, goal in goals.items():
            ours, theirs = ("ours", workload), (peer, workload)
            ratio = divide(theirs, ours) if is_orm else divide(ours, theirs)
            if ratio is not None:
                yield Ratio(f"{title} / ours" if is_orm else f"ours / {title}", workload, ratio, goal, is_orm)
    for variant, goal in VARIANTS.items():
        for workload in WORKLOADS:
            ratio = divide((variant, workload), ("ours", workload))
            if ratio is not None:
                yield Ratio(f"{TARGETS[variant].title} / ours", workload, ratio, goal)
    ratio = divide(("ours", "W1c"), ("ours", "W1"))
    if ratio is not None:
        yield Ratio("a page with totalCount / one without", "W1c", ratio, MAX_COUNT_RATIO)


def _make_ratios_table(ratios: Iterable[Ratio]) -> Table:
    """Return the ratios beside their goals."""
    table = report.make_table("Ratios of CPU per request", ["compared", "workload"], ["ratio", "goal", ""])
    for ratio in ratios:
        goal = f"{'≥' if ratio.is_minimum else '≤'} {ratio.goal:g}" if ratio.goal is not None else ""
        verdict = {None: "", True: "[green]reached[/]", False: "[red]missed[/]"}[ratio.is_reached]
        table.add_row(ratio.title, ratio.workload, f"{ratio.ratio:.2f}", goal, verdict)
    return table


# ── The command ───────────────────────────────────────────────────────────────────────────


def add_arguments(parser: argparse.ArgumentParser) -> None:
    report.add_round_arguments(parser, rounds=5, seconds=4.0, quick_rounds=3, quick_seconds=1.5)
    parser.add_argument("--books", type=int, default=100_000, help="number of books (100,000; also 1,000 or 1,000,000)")
    parser.add_argument("--reviews", type=int, help="number of reviews (ten per book, two million at most)")
    parser.add_argument("--connections", type=int, default=8, help="concurrent requests (8)")
    parser.add_argument(
        "--only", type=_parse_names(WORKLOADS), default=[*WORKLOADS], help=f"some of {','.join(WORKLOADS)}"
    )
    targets = [name for name in TARGETS if name not in OPTIONAL]
    parser.add_argument("--targets", type=_parse_names(TARGETS), default=targets, help=f"some of {','.join(TARGETS)}")
    parser.add_argument("--data", type=Path, help="folder that keeps the database for the next run")
    parser.add_argument("--out", type=Path, default=Path(".bench"), help="folder of bench.json and bench.svg (.bench)")


def _parse_names(known: Mapping[str, object]) -> Callable[[str], list[str]]:
    def parse(text: str) -> list[str]:
        names = text.split(",")
        if unknown := [name for name in names if name not in known]:
            raise argparse.ArgumentTypeError(f"unknown: {', '.join(unknown)}")
        return names

    return parse


def run(options: argparse.Namespace) -> None:
    console = report.make_console()
    rounds, seconds = report.read_rounds(options)
    size = Size(options.books, options.reviews) if options.reviews else Size.for_books(options.books)
    effort = Effort(options.connections, warm_up=min(seconds / 3, 1.0), seconds=seconds)
    workloads = [WORKLOADS[name] for name in options.only]
    with ExitStack() as stack:
        progress = stack.enter_context(report.make_progress(console))
        folder = stack.enter_context(open_folder(options.data))
        prepared = stack.enter_context(prepare_databases(folder, [size], progress))
        url = stack.enter_context(copy_database(prepared.url, prepared.databases[size]))
        fixtures = load_fixtures(url)
        targets, unavailable = _start_targets(stack, options.targets, url, folder, prepared.core)
        versions = report.list_versions(folder / "peers")
        for workload in workloads:
            check_equivalence(targets, workload, fixtures)
        console.print(f"{', '.join(target.name for target in targets)} return the same data.")
        postgres = PostgresMeter(url)
        efforts = [Effort(effort.connections, 0, WARM_UP_SECONDS)] + rounds * [effort]
        show_step = report.count_steps(progress, len(efforts) * len(workloads) * len(targets))
        samples = measure_rounds(targets, workloads, fixtures, postgres, efforts, show_step)
        memory = _measure_memory(targets, fixtures, postgres, samples, effort)
        violations = asyncio.run(check_invariants(url))
    console.print(_make_samples_table(samples, options.only))
    if memory:
        columns = {name: report.COLUMNS[name] for name in ("requests/s", "RSS", "USS", "CPU")}
        sections = {"catalogue pages at the same rate": {sample.target: [sample] for sample in memory}}
        console.print(report.make_samples_table("Memory", sections, columns))
    ratios = list(compute_ratios(samples))
    console.print(_make_ratios_table(ratios), *(f"[yellow]{sentence}[/]" for sentence in unavailable), sep="\n")
    if prepared.core is None:
        console.print("[yellow]Targets, load and PostgreSQL share one core: figures are noisier than with two.[/]")
    console.print(
        f"{size.books:,} books, {size.reviews:,} reviews; {rounds} rounds of {seconds:g} seconds, "
        f"{effort.connections} connections. Violated invariants: {'; '.join(violations) or 'none'}."
    )
    facts = {
        "size": asdict(size),
        "effort": asdict(effort),
        "pinned": prepared.core is not None,
        "ratios": [asdict(ratio) | {"reached": ratio.is_reached} for ratio in ratios],
        "memory": [asdict(sample) for sample in memory],
        "unavailable": unavailable,
        "violated_invariants": violations,
    }
    report.write_json(options.out / "bench.json", samples, versions=versions, **facts)
    series: dict[str, dict[str, float]] = {}
    for (target, name), group in report.group_samples(samples).items():
        series.setdefault(target, {})[name] = report.summarize(group)["cpu"]
    titles = {workload.name: workload.title for workload in workloads}
    svg = plot.draw_bars("CPU time per request, in milliseconds (logarithmic)", titles, series)
    (options.out / "bench.svg").write_text(svg, encoding="utf-8")
    console.print(f"Written: {options.out / 'bench.json'} (all samples), {options.out / 'bench.svg'} (a plot).")


def _start_targets(
    stack: ExitStack, names: Sequence[str], url: str, folder: Path, core: int | None
) -> tuple[list[RunningTarget], list[str]]:
    """Start all targets. Returns them, and sentences about those that are not available."""
    targets, unavailable = [], []
    for name in names:
        target_folder = folder / "peers" / name
        target_folder.mkdir(parents=True, exist_ok=True)
        try:
            targets.append(stack.enter_context(start_target(TARGETS[name], url, target_folder, core)))
        except Unavailable as reason:
            unavailable.append(f"{TARGETS[name].title} is left out: {reason}.")
    return targets, unavailable


def _measure_memory(
    targets: Sequence[RunningTarget],
    fixtures: Fixtures,
    postgres: PostgresMeter,
    samples: Sequence[Sample],
    effort: Effort,
) -> list[Sample]:
    """Measure all targets at the same rate, which the slowest can bear."""
    rates = [sample.per_second for sample in samples if sample.workload == "W1"]
    if not rates:
        return []
    seconds = max(effort.seconds, MIN_MEMORY_SECONDS)
    same_rate = Effort(effort.connections, effort.warm_up, seconds, MEMORY_LOAD_SHARE * min(rates))
    return [measure(target, WORKLOADS["W1"], fixtures, postgres, same_rate, "memory") for target in targets]


def _make_samples_table(samples: Sequence[Sample], names: Sequence[str]) -> Table:
    groups = report.group_samples(samples)
    sections: dict[str, dict[str, list[Sample]]] = {}
    for name in names:
        rows = {target: group for (target, workload), group in groups.items() if workload == name}
        order = sorted(rows, key=lambda target: report.summarize(rows[target])["cpu"])
        sections[f"{name} {WORKLOADS[name].title}"] = {target: rows[target] for target in order}
    columns = ("CPU", "spread", "requests/s", "p50", "p99", "database CPU", "statements", "RSS", "USS")
    title = "Medians; times in milliseconds per request"
    return report.make_samples_table(title, sections, {name: report.COLUMNS[name] for name in columns})
