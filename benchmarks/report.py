"""What the samples say: medians, the ratios that count, and tables of both."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from benchmarks.contenders import CONTENDERS
from benchmarks.measuring import Sample
from benchmarks.workloads import WORKLOADS

Samples = list[Sample]
FIGURES = ("per_second", "cpu", "database_cpu", "statements", "p50", "p99", "rss", "uss")
MEGABYTE = 2**20

TARGETS: Mapping[str, Mapping[str, float | None]] = {
    "strawberry": {"W1": 40, "W1c": None, "W2": None, "W3": 40, "W4": 6, "W5": 4},
    "fastapi": {"W1": 10, "W1c": None, "W2": None, "W3": 12, "W4": 3, "W5": 2},
    "mercurius": {"W1": 1.0, "W1c": None, "W2": 1.0, "W3": 1.0, "W4": None, "W5": None},
    "handwritten": {"W1": 1.2, "W1c": None, "W2": 1.2, "W3": 1.2, "W4": None, "W5": None},
}
"""Of the naive peers how many times our CPU they may use at least; of the others how many times theirs we may use at most."""
NAIVE = ("strawberry", "fastapi")
VARIANTS: Mapping[str, float | None] = {"ours-with-metrics": 1.03, "ours-with-traces": None}
"""Of ours that do more: how many times our CPU they may use at most."""
COUNTING = 1.05
"""How much a page with `totalCount` may cost, of one without."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """`None` for a target means that there is none; `at_least` tells the direction."""

    peer: str
    workload: str
    ratio: float
    target: float | None
    at_least: bool

    @property
    def reached(self) -> bool | None:
        if self.target is None:
            return None
        return self.ratio >= self.target if self.at_least else self.ratio <= self.target


def medians(samples: Samples) -> dict[tuple[str, str], dict[str, float]]:
    """By contender and workload: the median of each figure over the rounds, and the spread of CPU time."""
    found: dict[tuple[str, str], Samples] = {}
    for sample in samples:
        found.setdefault((sample.contender, sample.workload), []).append(sample)
    return {
        key: {figure: median(getattr(sample, figure) for sample in group) for figure in FIGURES}
        | {"least_cpu": min(sample.cpu for sample in group), "most_cpu": max(sample.cpu for sample in group)}
        for key, group in found.items()
    }


def ratios(samples: Samples) -> list[Ratio]:
    """CPU time of the contenders for each request, round by round, and the median of these."""
    by_round: dict[tuple[str, str], list[float]] = {}
    for sample in samples:
        by_round.setdefault((sample.contender, sample.workload), []).append(sample.cpu)

    def compared(numerator: tuple[str, str], denominator: tuple[str, str]) -> float | None:
        pairs = zip(by_round.get(numerator, ()), by_round.get(denominator, ()), strict=False)
        quotients = [above / below for above, below in pairs]
        return median(quotients) if quotients else None

    found = []
    for peer, targets in TARGETS.items():
        for workload, target in targets.items():
            ours, theirs = ("ours", workload), (peer, workload)
            ratio = compared(theirs, ours) if peer in NAIVE else compared(ours, theirs)
            if ratio is not None:
                found.append(Ratio(peer, workload, ratio, target, peer in NAIVE))
    for variant, most in VARIANTS.items():
        for workload in WORKLOADS:
            ratio = compared((variant, workload), ("ours", workload))
            if ratio is not None:
                found.append(Ratio(variant, workload, ratio, most, at_least=False))
    counting = compared(("ours", "W1c"), ("ours", "W1"))
    if counting is not None:
        found.append(Ratio("ours", "W1c of W1", counting, COUNTING, at_least=False))
    return found


# ── Tables ────────────────────────────────────────────────────────────────────────────────


def figures_table(samples: Samples) -> Table:
    table = Table("contender", title="For each request, medians; times in milliseconds", title_justify="left")
    for name in ("CPU", "spread", "a second", "p50", "p99", "database CPU", "statements", "RSS", "USS"):
        table.add_column(name, justify="right", no_wrap=True)
    found = medians(samples)
    for workload in WORKLOADS.values():
        rows = [(contender, one) for (contender, name), one in found.items() if name == workload.name]
        if rows:
            table.add_section()
            table.add_row(f"[bold]{workload.name}[/] {workload.title}")
        for contender, one in sorted(rows, key=lambda row: row[1]["cpu"]):
            table.add_row(
                f"  {contender}",
                f"[bold]{one['cpu']:.2f}[/]",
                f"{one['least_cpu']:.2f}–{one['most_cpu']:.2f}",
                f"{one['per_second']:,.0f}",
                f"{one['p50']:.1f}",
                f"{one['p99']:.1f}",
                f"{one['database_cpu']:.2f}",
                f"{one['statements']:.2f}",
                f"{one['rss'] / MEGABYTE:.0f} MB",
                f"{one['uss'] / MEGABYTE:.0f} MB",
            )
    return table


def ratios_table(found: Iterable[Ratio]) -> Table:
    table = Table("compared", "workload", title="The ratios that count: CPU for each request", title_justify="left")
    table.add_column("ratio", justify="right")
    table.add_column("target", justify="right")
    table.add_column("")
    for ratio in found:
        sign = "≥" if ratio.at_least else "≤"
        target = f"{sign} {ratio.target:g}" if ratio.target is not None else ""
        verdict = {None: "reported", True: "[green]reached[/]", False: "[red]not reached[/]"}[ratio.reached]
        table.add_row(_compared(ratio), ratio.workload, f"{ratio.ratio:.2f}", target, verdict)
    return table


def _compared(ratio: Ratio) -> str:
    if ratio.peer == "ours":
        return "a page with totalCount, of one without"
    title = CONTENDERS[ratio.peer].title
    return f"{title}, of ours" if ratio.at_least or ratio.peer in VARIANTS else f"ours, of {title}"


def memory_table(samples: Samples, rate: float) -> Table:
    """Of contenders that were asked equally often."""
    table = Table("contender", title=f"Memory at {rate:.0f} catalogue pages a second", title_justify="left")
    for name in ("a second", "RSS", "USS", "CPU, ms"):
        table.add_column(name, justify="right")
    for sample in samples:
        table.add_row(
            sample.contender,
            f"{sample.per_second:.0f}",
            f"{sample.rss / MEGABYTE:.0f} MB",
            f"{sample.uss / MEGABYTE:.0f} MB",
            f"{sample.cpu:.2f}",
        )
    return table
