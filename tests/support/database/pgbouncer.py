"""PgBouncer in transaction mode between the server and its database."""

import asyncio
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url

from tests.support.processes.ports import find_free_port
from tests.support.waiting import wait_until

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
POOL_SIZE = 4
CONFIGURATION = """
[databases]
{name} = host={host} port={port} user={user} dbname={name}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {listen}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 500
ignore_startup_parameters = {ignored}
"""


@asynccontextmanager
async def start_pgbouncer(url: str, directory: Path, ignored_parameters: str = "") -> AsyncIterator[str]:
    """Start PgBouncer and yield the database's URL through it; `ignored_parameters` are start-up parameters that it ignores."""
    assert PGBOUNCER is not None
    database_url = make_url(url)
    host = str(database_url.query.get("host") or database_url.host)
    port = find_free_port()
    configuration = directory / f"pgbouncer-{port}.ini"
    configuration.write_text(
        CONFIGURATION.format(
            name=database_url.database,
            host=host,
            port=database_url.port or 5432,
            user=database_url.username or "postgres",
            listen=port,
            sessions=POOL_SIZE,
            ignored=ignored_parameters,
        )
    )
    with configuration.open("rb") as config_file:  # its user may not read the directory
        process = await asyncio.create_subprocess_exec(
            PGBOUNCER,
            "/dev/stdin",
            stdin=config_file,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            user=_get_unprivileged_uid(host),
        )
    try:
        await wait_until(lambda: _is_listening(port), 20)
        yield f"postgresql://{database_url.username or 'postgres'}@127.0.0.1:{port}/{database_url.database}"
    finally:
        process.kill()
        await process.wait()


async def _is_listening(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _get_unprivileged_uid(host: str) -> int | None:
    """Return the user for PgBouncer, which does not run as root and needs access to the database's socket."""
    if os.geteuid() != 0:
        return None
    return Path(host).stat().st_uid if host.startswith("/") else 65534
