"""Three PostgreSQL servers under Patroni, PgBouncer, two replicas of the shop and HAProxy, on this machine, under load.

Kills the primary, hands over to another, kills a replica of the shop; tells what each cost, and looks up every order
that a customer was told is placed. Two minutes, and one more for each further kill. Ends whatever it has started.
"""

import argparse
import asyncio
import contextlib
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from types import FrameType

from rich.console import Console
from rich.status import Status

from cluster.cluster import Cluster
from cluster.journal import Journal
from cluster.processes import Broken, Processes
from cluster.programs import ACCOUNT, Missing, find_programs
from cluster.report import sentences, table
from cluster.stage import Outcome, Plan, perform

console = Console(width=None if sys.stdout.isatty() else 150, highlight=False)


def main() -> None:
    options = _arguments()
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _leave)
    try:
        programs = find_programs()
        account = ACCOUNT if programs.as_account else None
        with Processes(programs.as_account, account, options.logs) as processes:
            outcome = asyncio.run(_performed(Cluster(processes, programs), Plan(options.kills, options.calm)))
    except (Missing, Broken) as problem:
        sys.exit(f"cluster: {problem}")
    except KeyboardInterrupt:
        console.print("Stopped; everything that was started is gone.")
        sys.exit(130)
    console.print(table(outcome), *sentences(outcome), sep="\n")
    sys.exit(0 if outcome.is_good else 1)


async def _performed(cluster: Cluster, plan: Plan) -> Outcome:
    journal, began = Journal(), time.monotonic()

    def say(text: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - began), 60)
        console.print(f"[dim]{minutes:2}:{seconds:02}[/]  {text}", soft_wrap=True)

    with console.status("") as status:
        async with _counting(journal, status):
            return await perform(cluster, plan, journal, say)


@contextlib.asynccontextmanager
async def _counting(journal: Journal, status: Status) -> AsyncIterator[None]:
    """On a terminal: how far it has come, twice a second."""

    async def count() -> None:
        while True:
            failed = sum(answer.failure is not None for answer in journal.answers)
            status.update(
                f"{len(journal.orders):,} orders placed, {len(journal.answers):,} answers, {failed:,} failures"
            )
            await asyncio.sleep(0.5)

    counting = asyncio.create_task(count())
    try:
        yield
    finally:
        counting.cancel()


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="just cluster", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--kills", type=_positive, default=1, help="how often the primary is killed (1)")
    parser.add_argument("--calm", type=float, default=5, metavar="SECONDS", help="load before and after each fault (5)")
    parser.add_argument("--logs", type=Path, metavar="DIR", help="a folder to keep every part's log in")
    return parser.parse_args()


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError("must be 1 or more")
    return number


if __name__ == "__main__":
    main()
