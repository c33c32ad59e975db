"""The shop in processes of its own, which can be killed as a power cut would."""

import asyncio
import os
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import httpx2
import psutil

from server.settings import Settings
from tests.support.http.client import ApiClient
from tests.support.observability.log_secrets import find_secrets

BOOKSTORE = Path(sys.executable).with_name("bookstore")


@dataclass(frozen=True, slots=True)
class Server:
    url: str
    process: asyncio.subprocess.Process
    log: Path

    @property
    def client(self) -> ApiClient:
        return ApiClient(self.url)

    @property
    def descendants(self) -> list[psutil.Process]:
        """The processes below the one that was started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    async def kill(self) -> None:
        """At once, without a chance to tidy up, and all of its processes."""
        descendants = self.descendants
        self.process.kill()
        kill_processes(descendants)
        await self.process.wait()


def kill_processes(processes: list[psutil.Process]) -> None:
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.kill()


async def wait_until_refusing(url: str) -> None:
    address = urlsplit(url)
    async with asyncio.timeout(10):
        while True:
            try:
                _, writer = await asyncio.open_connection(address.hostname, address.port)
            except ConnectionRefusedError:
                return
            writer.close()
            await asyncio.sleep(0.02)


async def wait_until_ended(processes: list[psutil.Process]) -> None:
    """A zombie has ended: whoever has inherited it will take notice some time."""
    async with asyncio.timeout(30):
        while any(map(_is_alive, processes)):
            await asyncio.sleep(0.02)


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@asynccontextmanager
async def start_server(settings: Settings, directory: Path, *options: str, **overrides: str) -> AsyncIterator[Server]:
    """`bookstore serve` on the tests' database, which takes the tests' tokens and tells no secrets in its log.

    `more` are settings by their names.
    """
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
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
    with log_path.open("ab") as log:  # what a test writes there, too, stays
        process = await asyncio.create_subprocess_exec(
            BOOKSTORE,
            "serve",
            "--port",
            str(port),
            *options,
            cwd=directory,
            env=_get_inherited_environment() | environment | overrides,
            stdout=log,
            stderr=log,
        )
    server = Server(f"http://127.0.0.1:{port}", process, log_path)
    try:
        await _wait_until_healthy(server)
        yield server
    finally:
        if process.returncode is None:
            await server.kill()
    assert find_secrets(log_path.read_text("utf-8")) == [], "the log tells secrets"


def _get_inherited_environment() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "PYTHONPATH", "LANG")}


async def _wait_until_healthy(server: Server) -> None:
    async with asyncio.timeout(60), httpx2.AsyncClient() as client:
        while server.process.returncode is None:
            try:
                (await client.get(f"{server.url}/health")).raise_for_status()
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
    raise RuntimeError("The server ended before it was open.")
