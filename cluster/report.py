"""What the run has shown, as a table to read and a few sentences."""

from collections import Counter
from statistics import median

from rich.table import Table

from cluster.journal import Kind, Span
from cluster.stage import KILL, Outcome
from persistence.invariants import INVARIANTS


def table(outcome: Outcome) -> Table:
    """Gaps are the longest times without an acknowledged write, and without an answered read."""
    shown = Table(title="What each fault cost", title_justify="left")
    shown.add_column("fault")
    shown.add_column("who")
    for name in ("write gap", "read gap", "failed writes", "failed reads", "orders told", "lost", "whole after"):
        shown.add_column(name, justify="right")
    for span in outcome.spans:
        shown.add_row(*_row(outcome, span))
    return shown


def _row(outcome: Outcome, span: Span) -> list[str]:
    journal = outcome.journal
    lost = sum(span.holds(told.at) for told in outcome.lost)
    return [
        span.name,
        span.what,
        *(f"{journal.gap(span, kind):.1f} s" for kind in (Kind.WRITE, Kind.READ)),
        *(f"{journal.failed(span, kind):,} of {journal.asked(span, kind):,}" for kind in (Kind.WRITE, Kind.READ)),
        f"{sum(span.holds(told.at) for told in journal.orders):,}",
        f"[bold red]{lost}[/]" if lost else "0",
        f"{span.whole_after:.0f} s" if span.whole_after else "",
    ]


def sentences(outcome: Outcome) -> list[str]:
    journal = outcome.journal
    told = [f"{len(journal.orders):,} orders were told to customers; {_lost(outcome)}."]
    gaps = [journal.gap(span, Kind.WRITE) for span in outcome.spans if span.name == KILL]
    if len(gaps) > 1:
        told.append(
            f"The write gap of {len(gaps)} kills: {min(gaps):.1f} to {max(gaps):.1f} s, median {median(gaps):.1f} s."
        )
    reasons = sum((journal.failures(span, kind) for span in outcome.spans for kind in Kind), Counter[str]())
    told.append("What failed: " + (_counted(reasons) or "nothing") + ". Every failed write was tried again.")
    if journal.refusals:
        told.append(f"Checkouts that ended otherwise: {_counted(journal.refusals)}.")
    if journal.given_up:
        told.append(f"[bold red]{journal.given_up} writes were given up after two minutes.[/]")
    if outcome.violated:
        told.append(f"[bold red]Violated: {'; '.join(outcome.violated)}.[/]")
    else:
        told.append(f"All {len(INVARIANTS)} invariants hold.")
    return told


def _lost(outcome: Outcome) -> str:
    if not outcome.lost:
        return "each was found at the end, none is lost"
    numbers = ", ".join(order.number for order in outcome.lost[:10])
    return f"[bold red]{len(outcome.lost)} are lost: {numbers}[/]"


def _counted(reasons: Counter[str]) -> str:
    return ", ".join(f"{count:,} × {reason}" for reason, count in reasons.most_common())
