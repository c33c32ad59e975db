"""A release under load: two servers behind HAProxy, the next release's migration, one restart after the other: `just roll`.

Whoever asks, asks once; nobody may be without an answer. HAProxy is Debian's package of that name.
"""

import argparse
import asyncio
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path

import asyncpg
import orjson
from alembic.script import ScriptDirectory
from rich.console import Console
from rich.table import Table

from benchmarks.callers import PATIENCE, Line, Tally, come
from benchmarks.endurance import BROWSE, Shoppers, sign_up
from benchmarks.replicas import HAPROXY, Server, environment_of, opened
from persistence.invariants import INVARIANTS, find_violations
from server.database.embedded import run_embedded_postgres
from server.database.migrations import build_alembic_config

CALLERS = 48
PAUSE = 3  # seconds between steps
STEP_TIMEOUT = 120  # seconds
NEXT_RELEASE = """
import sqlalchemy as sa
from alembic import op

revision, down_revision, branch_labels, depends_on = "next_release", {after!r}, None, None


def upgrade() -> None:
    op.add_column("books", sa.Column("shelf", sa.Text(), server_default="", nullable=False))
    op.execute("ALTER TABLE orders ADD CONSTRAINT ck_orders_none_owed CHECK (total >= 0) NOT VALID")
    with op.get_context().autocommit_block():
        op.execute("ALTER TABLE orders VALIDATE CONSTRAINT ck_orders_none_owed")
        op.execute("DROP INDEX CONCURRENTLY IF EXISTS ix_books_shelf")
        op.execute("CREATE INDEX CONCURRENTLY ix_books_shelf ON books (shelf)")
"""
MIGRATE = """
import os, sys
from alembic import command
from server.migrating import migrations

config = migrations(os.environ["DATABASE_URL"])
config.set_main_option("version_locations", os.pathsep.join(sys.argv[1:]))
config.set_main_option("path_separator", "os")
command.upgrade(config, "head")
"""
"""What `bookstore migrate` does in a release that has one revision more."""


@dataclass(slots=True)
class Once(Line):
    """Whoever does not try again."""

    async def ask(self, document: str | bytes, **variables: object) -> tuple[int, bytes]:
        body = document if isinstance(document, bytes) else orjson.dumps({"query": document, "variables": variables})
        try:
            async with asyncio.timeout(PATIENCE):
                return await self._exchange(body)
        except (OSError, EOFError):
            self.close()
            raise


class Release:
    """Its steps, and how many seconds each took."""

    def __init__(self, url: str, folder: Path, servers: list[Server]) -> None:
        self.steps: dict[str, float] = {}
        self._environment, self._folder, self._servers = environment_of(url), folder, servers

    def roll(self) -> None:
        self._take("the next release migrates, twice at once", self._migrate)
        self._take("`bookstore migrate` of this release, twice at once", self._migrate_again)
        for number, server in enumerate(self._servers, start=1):
            self._take(f"server {number} stopped and started", server.restart)
        time.sleep(PAUSE)

    def _take(self, name: str, work: Callable[[], None]) -> None:
        time.sleep(PAUSE)
        began = time.monotonic()
        work()
        self.steps[name] = time.monotonic() - began

    def _migrate(self) -> None:
        later = self._folder / "later"
        later.mkdir()
        head = ScriptDirectory.from_config(build_alembic_config()).get_current_head()
        (later / "next_release.py").write_text(NEXT_RELEASE.format(after=head))
        self._at_once([sys.executable, "-c", MIGRATE, str(files("migrations") / "versions"), str(later)])

    def _migrate_again(self) -> None:
        self._at_once(["bookstore", "migrate"])

    def _at_once(self, command: list[str]) -> None:
        started = [
            subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL, cwd=self._folder)
            for _ in self._servers
        ]
        ended = [process.wait(STEP_TIMEOUT) for process in started]
        if any(ended):
            raise RuntimeError(f"{command[0]} failed")


async def rolled(url: str, port: int, release: Release, rate: float) -> tuple[Tally, list[str], str]:
    """What became of the requests, the invariants that do not hold, and the revision that the database is at."""
    lines: list[Line] = [Once(port, f"127.0.1.{number + 1}") for number in range(CALLERS)]
    await sign_up(lines)
    _, body = await lines[0].ask(BROWSE.replace("20", "100"))
    shoppers = Shoppers([node["id"] for node in orjson.loads(body)["data"]["books"]["nodes"]])
    rolling = asyncio.create_task(asyncio.to_thread(release.roll))
    tally = Tally()
    while not rolling.done():
        part = await come(lines, shoppers.call, rate, 2, len(tally.answered))
        tally.answered += part.answered
        tally.failed += part.failed
    await rolling
    for line in lines:
        line.close()
    connection = await asyncpg.connect(url, timeout=5)
    broken = await find_violations(connection)
    revision = await connection.fetchval("SELECT version_num FROM alembic_version")
    await connection.close()
    return tally, broken, revision


def told(tally: Tally, broken: list[str], revision: str, release: Release) -> Table:
    table = Table("", "")
    for name, seconds in release.steps.items():
        table.add_row(name, f"{seconds:.1f} s")
    table.add_section()
    table.add_row("requests sent", f"{len(tally.answered) + len(tally.failed):,}")
    reasons = ", ".join(f"{count:,} × {reason}" for reason, count in Counter(tally.failed).most_common(6))
    table.add_row("failed", f"{len(tally.failed):,} {reasons}")
    table.add_row("p99", f"{tally.p99:.0f} ms")
    table.add_row("longest without an answer", f"{tally.longest_gap:.0f} ms")
    table.add_row("the database is at", revision)
    table.add_row("invariants", f"not true: {'; '.join(broken)}" if broken else f"all {len(INVARIANTS)} hold")
    return table


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rate", type=float, default=100, help="requests a second")
    rate = parser.parse_args().rate
    if HAPROXY is None:
        sys.exit("haproxy is not there: apt-get install haproxy")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with run_embedded_postgres(folder / "data") as url, opened(url, folder) as (port, servers):
            release = Release(url, folder, servers)
            tally, broken, revision = asyncio.run(rolled(url, port, release, rate))
    Console(width=120).print(told(tally, broken, revision, release))
    sys.exit(1 if tally.failed or broken else 0)


if __name__ == "__main__":
    main()
