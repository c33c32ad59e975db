"""Servers in processes of their own, which tests can kill."""

import asyncio
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil

from server.settings import Settings
from tests.support.http.client import WITHOUT_TLS, ApiClient
from tests.support.observability.log_secrets import find_secrets
from tests.support.processes.ports import find_free_port
from tests.support.waiting import wait_until

BOOKSTORE = Path(sys.executable).with_name("bookstore")


@dataclass(frozen=True, slots=True)
class Server:
    """A running server: its URL, the process that was started, and its log file."""

    url: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def client(self) -> ApiClient:
        return ApiClient(self.url)

    @property
    def descendants(self) -> list[psutil.Process]:
        """The child processes of the server, and their child processes."""
        return psutil.Process(self.process.pid).children(recursive=True)

    async def kill(self) -> None:
        """Kill the server and its descendants with SIGKILL, and wait until it has ended."""
        descendants = self.descendants
        self.process.kill()
        kill_processes(descendants)
        await self.process.wait()


def kill_processes(processes: list[psutil.Process]) -> None:
    """Kill the processes that still run with SIGKILL."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


async def wait_until_refusing(url: str) -> None:
    """Wait until the server accepts no connections."""
    parts = urlsplit(url)

    async def is_refusing() -> bool:
        try:
            _, writer = await asyncio.open_connection(parts.hostname, parts.port)
        except ConnectionRefusedError:
            return True
        writer.close()
        return False

    await wait_until(is_refusing, 10)


async def wait_until_ended(processes: list[psutil.Process]) -> None:
    """Wait until none of the processes runs. A zombie has ended: its new parent reaps it later."""
    await wait_until(lambda: not any(map(_is_alive, processes)))


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def start_server(settings: Settings, directory: Path, *options: str, **overrides: str) -> AsyncIterator[Server]:
    """Start `bookstore serve` on the tests' database, and kill it at the end of the block.

    The server accepts the tests' tokens. `overrides` are environment variables. The log must contain no secrets.
    """
    port = find_free_port()
    environment = {
        "DATABASE_URL": str(settings.database_url),
        "ENVIRONMENT": "development",
        "SECRET_KEY": ",".join(settings.secret_key),
        "PUBLIC_URL": settings.issuer,
        "SWEEP_EVERY_SECONDS": "3600",
        "WORKER": "false",
        "LOG_LEVEL": "debug",
    }
    log_path = directory / f"server-{port}.log"
    with log_path.open("ab") as log:  # appends, because a test writes to it, too
        process = await asyncio.create_subprocess_exec(
            BOOKSTORE,
            "serve",
            "--port",
            str(port),
            *options,
            cwd=directory,
            env=get_inherited_environment() | environment | overrides,
            stdout=log,
            stderr=log,
        )
    server = Server(f"http://127.0.0.1:{port}", process, log_path)
    try:
        await wait_until_healthy(server.url, process)
        yield server
    finally:
        if process.returncode is None:
            await server.kill()
    assert find_secrets(log_path.read_text("utf-8")) == [], "the log contains secrets"


def get_inherited_environment() -> dict[str, str]:
    """Return the environment variables that processes of the tests need, and no settings."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH", "LANG")}


async def wait_until_healthy(url: str, process: asyncio.subprocess.Process) -> None:
    """Wait until the server responds to `/health`.

    Raises:
        RuntimeError: The process has ended.
    """

    async def is_healthy() -> bool:
        if process.returncode is not None:
            raise RuntimeError("The server ended before it was ready.")
        try:
            (await http.get(f"{url}/health")).raise_for_status()
        except httpx2.TransportError:
            return False
        return True

    async with httpx2.AsyncClient(**WITHOUT_TLS) as http:
        await wait_until(is_healthy, 60)
