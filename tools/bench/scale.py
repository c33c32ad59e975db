"""What more processes bring: workers, servers behind HAProxy, a replica for reads, shared rate limits. Six minutes at most.

The servers, PostgreSQL and the load share the cores of this machine: requests a second say what this machine can do, CPU per
request what the server costs anywhere. Compare the ratios.
"""

import argparse
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from rich.progress import Progress
from rich.table import Table

from tools.bench import report
from tools.bench.database import ensure_database, open_folder, start_postgres, with_database
from tools.bench.fixtures import load_fixtures
from tools.bench.generation import Size
from tools.bench.measurement import Effort, PostgresMeter, Sample, measure_rounds
from tools.bench.targets import Unavailable
from tools.bench.topologies import BALANCER, COMPARISONS, REPLICA
from tools.bench.workloads import SHARES, WORKLOADS

BOOKS = 5_000
CONNECTIONS = 16
WARM_UP_ROUND = Effort(CONNECTIONS, warm_up=0, seconds=1)
"""The first round, which is not counted."""
FIGURES: Mapping[str, report.Figure] = {
    "requests/s": lambda sample: sample.per_second,
    "server CPU": lambda sample: sample.cpu,
    "database CPU": lambda sample: sample.database_cpu,
    "total CPU": lambda sample: sample.total_cpu,
}
"""What is compared with the baseline."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A topology over the baseline: for each figure, the median of the rounds."""

    comparison: str
    workload: str
    target: str
    baseline: str
    figures: dict[str, float]


def measure_comparisons(
    names: Sequence[str], efforts: Sequence[Effort], progress: Progress
) -> tuple[dict[str, list[Sample]], list[str]]:
    """Measure all topologies. Returns the samples of each comparison, and sentences about those that are not available.

    Raises:
        RuntimeError: A request failed under load.
    """
    samples, unavailable = dict[str, list[Sample]](), list[str]()
    task = progress.add_task("the database", total=None)
    with open_folder(None) as folder, start_postgres(folder) as server:
        name = ensure_database(
            server, Size.for_books(BOOKS), lambda step: progress.update(task, description=f"the database: {step}")
        )
        progress.remove_task(task)
        url = with_database(server, name)
        fixtures, postgres = load_fixtures(url), PostgresMeter(url)
        for name in names:
            comparison = COMPARISONS[name]
            workloads = comparison.workloads
            try:
                with comparison.start(url, folder) as targets:
                    show_step = report.count_steps(progress, len(efforts) * len(workloads) * len(targets))
                    samples[name] = measure_rounds(
                        targets, workloads, fixtures, postgres, efforts, show_step, f"{name}-"
                    )
            except Unavailable as reason:
                unavailable.append(f"{comparison.title}: left out, because {reason}.")
    return samples, unavailable


def group_by_workload(samples: Sequence[Sample]) -> dict[str, dict[str, list[Sample]]]:
    """Group samples by workload, then by target in the order of the comparison."""
    groups: dict[str, dict[str, list[Sample]]] = {}
    for (target, workload), group in report.group_samples(samples).items():
        groups.setdefault(workload, {})[target] = group
    return groups


def compute_ratios(comparison: str, samples: Sequence[Sample]) -> Iterator[Ratio]:
    """Compare each topology with the first, round by round."""
    for workload, groups in group_by_workload(samples).items():
        (baseline, theirs), *others = groups.items()
        for target, own in others:
            figures = {name: report.median_ratio(own, theirs, figure) or 0 for name, figure in FIGURES.items()}
            yield Ratio(comparison, workload, target, baseline, figures)


# ── The command ───────────────────────────────────────────────────────────────────────────


def add_arguments(parser: argparse.ArgumentParser) -> None:
    report.add_round_arguments(parser, rounds=3, seconds=2.0, quick_rounds=2, quick_seconds=1.0)
    parser.add_argument(
        "--only", nargs="+", choices=COMPARISONS, default=[*COMPARISONS], help="some of the comparisons"
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="file for all samples, as JSON")


def run(options: argparse.Namespace) -> None:
    rounds, seconds = report.read_rounds(options)
    effort, console = Effort(CONNECTIONS, warm_up=seconds / 3, seconds=seconds), report.make_console()
    with report.make_progress(console) as progress:
        samples, unavailable = measure_comparisons(options.only, [WARM_UP_ROUND] + rounds * [effort], progress)
    ratios = [ratio for name, group in samples.items() for ratio in compute_ratios(name, group)]
    console.print(
        _make_samples_table(samples),
        _make_ratios_table(ratios),
        *unavailable,
        f"{BOOKS:,} books; {rounds} rounds of {seconds:g} seconds, {CONNECTIONS} connections.",
        f"The mix, in percent: {', '.join(f'{share} {WORKLOADS[name].title}' for name, share in SHARES.items())}.",
        sep="\n",
    )
    if options.out:
        facts = {"books": BOOKS, "effort": asdict(effort), "unavailable": unavailable}
        every = [sample for group in samples.values() for sample in group]
        report.write_json(
            options.out, every, versions=report.list_versions(), ratios=list(map(asdict, ratios)), **facts
        )


def _make_samples_table(samples_by_comparison: Mapping[str, Sequence[Sample]]) -> Table:
    sections = {
        f"{COMPARISONS[name].title}: {workload.title}": group_by_workload(samples)[workload.name]
        for name, samples in samples_by_comparison.items()
        for workload in COMPARISONS[name].workloads
    }
    names = ("requests/s", "CPU", "busiest", "database CPU", "load CPU", "p50", "p99")
    columns = {name: report.COLUMNS[name] for name in names} | {"beside": _format_components}
    return report.make_samples_table("Medians; times in milliseconds per request", sections, columns)


def _format_components(summary: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {summary[name]:.3f}" for name in (REPLICA, BALANCER) if name in summary)


def _make_ratios_table(ratios: Sequence[Ratio]) -> Table:
    table = report.make_table("Ratios, medians of the rounds", ["compared"], list(FIGURES))
    for ratio in ratios:
        name = f"{COMPARISONS[ratio.comparison].title}, {ratio.workload}: {ratio.target} / {ratio.baseline}"
        table.add_row(name, *(f"{figure:.2f}" for figure in ratio.figures.values()))
    return table
