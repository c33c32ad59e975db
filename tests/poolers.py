"""PgBouncer in transaction mode between the shop and its database: few sessions, and for each transaction another one."""

import asyncio
import os
import shutil
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from sqlalchemy import make_url

PGBOUNCER = shutil.which("pgbouncer") or shutil.which("/usr/sbin/pgbouncer")
SESSIONS = 4
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
async def pooled(url: str, folder: Path, ignored: str = "") -> AsyncIterator[str]:
    """An address of the same database through a pooler, which passes over the start-up parameters that it is to ignore."""
    assert PGBOUNCER is not None
    there = make_url(url)
    host = str(there.query.get("host") or there.host)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    configuration = folder / f"pgbouncer-{port}.ini"
    configuration.write_text(
        CONFIGURATION.format(
            name=there.database,
            host=host,
            port=there.port or 5432,
            user=there.username or "postgres",
            listen=port,
            sessions=SESSIONS,
            ignored=ignored,
        )
    )
    with configuration.open("rb") as told:  # in a folder that it may not look into
        process = await asyncio.create_subprocess_exec(
            PGBOUNCER,
            "/dev/stdin",
            stdin=told,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.DEVNULL,
            cwd="/",
            user=_owner(host),
        )
    try:
        async with asyncio.timeout(20):
            while not await _listens(port):
                await asyncio.sleep(0.02)
        yield f"postgresql://{there.username or 'postgres'}@127.0.0.1:{port}/{there.database}"
    finally:
        process.kill()
        await process.wait()


async def _listens(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


def _owner(host: str) -> int | None:
    """It does not run as root, and has to get at the database's socket."""
    if os.geteuid() != 0:
        return None
    return Path(host).stat().st_uid if host.startswith("/") else 65534
