"""What arrangements have shown in their turns: medians, ratios round by round, and tables of both."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from rich.table import Table

from benchmarks.arrangements import PRIMARY

SERVERS = "servers"


@dataclass(frozen=True, slots=True)
class Turn:
    """CPU for each request, of the shop by part and of the load, and latencies, in milliseconds.

    `busiest` is the share that one process of the servers has of their CPU.
    """

    per_second: float
    cpu: dict[str, float]
    load: float
    busiest: float
    p50: float
    p99: float


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked in a comparison."""

    comparison: str
    workload: str
    title: str


Turns = Mapping[Question, Mapping[str, Sequence[Turn]]]
"""By arrangement, in the order of the rounds; the first arrangement is what the others are held against."""
Figure = Callable[[Turn], float]
COMPARED: Mapping[str, Figure] = {
    "requests a second": lambda turn: turn.per_second,
    "servers' CPU": lambda turn: turn.cpu[SERVERS],
    "PostgreSQL's CPU": lambda turn: turn.cpu[PRIMARY],
    "CPU of all": lambda turn: sum(turn.cpu.values()),
}


@dataclass(frozen=True, slots=True)
class Ratio:
    """One arrangement over another, by what is compared: the median of what each round says."""

    question: Question
    arrangement: str
    other: str
    figures: dict[str, float]


def ratios(turns: Turns) -> Iterator[Ratio]:
    for question, asked in turns.items():
        (other, theirs), *others = asked.items()
        for name, own in others:
            rounds = list(zip(own, theirs, strict=True))
            figures = {
                title: median(figure(above) / figure(below) for above, below in rounds)
                for title, figure in COMPARED.items()
            }
            yield Ratio(question, name, other, figures)


def middle(turns: Sequence[Turn]) -> Turn:
    """The median of each figure."""
    return Turn(
        median(turn.per_second for turn in turns),
        {part: median(turn.cpu[part] for turn in turns) for part in turns[0].cpu},
        median(turn.load for turn in turns),
        median(turn.busiest for turn in turns),
        median(turn.p50 for turn in turns),
        median(turn.p99 for turn in turns),
    )


# ── Tables ────────────────────────────────────────────────────────────────────────────────


def figures_table(turns: Turns) -> Table:
    table = Table("", title="Medians; CPU in milliseconds for each request", title_justify="left")
    for name in ("a second", "servers' CPU", "busiest", "PostgreSQL's CPU", "beside", "load", "p50, ms", "p99, ms"):
        table.add_column(name, justify="right", no_wrap=True)
    for question, asked in turns.items():
        table.add_section()
        table.add_row(f"[bold]{question.title}[/]")
        for name, own in asked.items():
            turn = middle(own)
            table.add_row(
                f"  {name}",
                f"{turn.per_second:,.0f}",
                f"[bold]{turn.cpu[SERVERS]:.3f}[/]",
                f"{turn.busiest:.0%}",
                f"[bold]{turn.cpu[PRIMARY]:.3f}[/]",
                ", ".join(f"{part} {cpu:.3f}" for part, cpu in turn.cpu.items() if part not in (SERVERS, PRIMARY)),
                f"{turn.load:.3f}",
                f"{turn.p50:.1f}",
                f"{turn.p99:.1f}",
            )
    return table


def ratios_table(found: Sequence[Ratio]) -> Table:
    table = Table("compared", title="The ratios that count, round by round", title_justify="left")
    for name in COMPARED:
        table.add_column(name, justify="right")
    question: Question | None = None
    for ratio in found:
        if ratio.question != question:
            question = ratio.question
            table.add_section()
            table.add_row(f"[bold]{question.title}[/]")
        table.add_row(
            f"  {ratio.arrangement}, of {ratio.other}", *(f"{figure:.2f}" for figure in ratio.figures.values())
        )
    return table
