"""Three PostgreSQL servers under Patroni, PgBouncer, two bookstore servers and HAProxy, on this machine, under load.

Kills the primary, switches over to another, and kills a bookstore server. Prints what each fault cost, and checks that
every acknowledged order is in the database. Takes two minutes, and one more for each further kill. All processes are stopped at the end.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from statistics import median
from types import FrameType

from rich.console import Console
from rich.status import Status
from rich.table import Table

from persistence.invariants import INVARIANTS
from tools.bench.processes import ProcessFailed
from tools.bench.report import format_counts, make_console, make_table
from tools.cluster.cluster import Cluster
from tools.cluster.journal import Journal, Kind, Span
from tools.cluster.processes import ClusterProcesses
from tools.cluster.programs import ACCOUNT, MissingProgram, find_programs
from tools.cluster.scenario import KILL, Outcome, Plan, run_scenario

MAX_LISTED = 10
"""Lost orders that are listed."""


def main() -> None:
    options, console = _parse_arguments(), make_console()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _exit)
    try:
        programs = find_programs()
        account = ACCOUNT if programs.prefix else None
        with ClusterProcesses(programs.prefix, account, options.logs) as processes:
            cluster, plan = Cluster(processes, programs), Plan(options.kills, options.calm)
            outcome = asyncio.run(_run(cluster, plan, console))
    except (MissingProgram, ProcessFailed) as error:
        sys.exit(f"cluster: {error}")
    except KeyboardInterrupt:
        console.print("Interrupted; all processes are stopped.")
        sys.exit(130)
    console.print(_make_faults_table(outcome), *_summarize(outcome), sep="\n")
    sys.exit(0 if outcome.is_good else 1)


async def _run(cluster: Cluster, plan: Plan, console: Console) -> Outcome:
    journal, start = Journal(), time.monotonic()

    def show(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - start), 60)
        console.print(f"[dim]{minutes:2}:{seconds:02}[/]  {text}", soft_wrap=True)

    with console.status("") as status:
        async with _show_counts(journal, status):
            return await run_scenario(cluster, plan, journal, show)


@contextlib.asynccontextmanager
async def _show_counts(journal: Journal, status: Status) -> AsyncIterator[None]:
    """Show the progress twice a second, on a terminal."""

    async def update() -> None:
        while True:
            failures = sum(attempt.failure is not None for attempt in journal.attempts)
            status.update(f"{len(journal.orders):,} orders, {len(journal.attempts):,} requests, {failures:,} failures")
            await asyncio.sleep(0.5)

    task = asyncio.create_task(update())
    try:
        yield
    finally:
        task.cancel()


def _exit(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="just cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=_parse_positive, default=1, help="how often to kill the primary (1)")
    parser.add_argument(
        "--calm", type=float, default=5, metavar="SECONDS", help="load before the first fault and after each (5)"
    )
    parser.add_argument("--logs", type=Path, metavar="DIR", help="folder for copies of all logs")
    return parser.parse_args()


def _parse_positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


# ── The report ────────────────────────────────────────────────────────────────────────────


def _make_faults_table(outcome: Outcome) -> Table:
    """Return what each fault cost. A gap is the longest time without a successful write or read."""
    figures = ["write gap", "read gap", "failed writes", "failed reads", "orders", "lost", "recovery"]
    table = make_table("What each fault cost", ["fault", "detail"], figures)
    for span in outcome.spans:
        table.add_row(*_format_span(outcome, span))
    return table


def _format_span(outcome: Outcome, span: Span) -> Iterator[str]:
    journal = outcome.journal
    lost = sum(span.contains(order.at) for order in outcome.lost)
    yield from (span.name, span.detail)
    yield from (f"{journal.longest_gap(span, kind):.1f} s" for kind in (Kind.WRITE, Kind.READ))
    for kind in (Kind.WRITE, Kind.READ):
        yield f"{journal.count_failures(span, kind).total():,} of {journal.count(span, kind):,}"
    yield f"{sum(span.contains(order.at) for order in journal.orders):,}"
    yield f"[bold red]{lost}[/]" if lost else "0"
    yield f"{span.recovery:.0f} s" if span.recovery else ""


def _summarize(outcome: Outcome) -> Iterator[str]:
    journal = outcome.journal
    if outcome.lost:
        numbers = ", ".join(order.number for order in outcome.lost[:MAX_LISTED])
        yield f"[bold red]{len(outcome.lost)} of {len(journal.orders):,} acknowledged orders are lost: {numbers}[/]"
    else:
        yield f"All {len(journal.orders):,} acknowledged orders are in the database."
    gaps = [journal.longest_gap(span, Kind.WRITE) for span in outcome.spans if span.name == KILL]
    if len(gaps) > 1:
        yield f"Write gap of {len(gaps)} kills: {min(gaps):.1f} to {max(gaps):.1f} s, median {median(gaps):.1f} s."
    failures = (journal.count_failures(span, kind) for span in outcome.spans for kind in Kind)
    yield f"Failures: {format_counts(sum(failures, Counter[str]()))}. Every failed write was retried."
    if journal.user_errors:
        yield f"Checkouts without an order: {format_counts(journal.user_errors)}."
    if journal.abandoned:
        yield f"[bold red]{journal.abandoned} writes did not succeed within two minutes.[/]"
    if outcome.violations:
        yield f"[bold red]Violated invariants: {'; '.join(outcome.violations)}.[/]"
    else:
        yield f"All {len(INVARIANTS)} invariants hold."


if __name__ == "__main__":
    main()
