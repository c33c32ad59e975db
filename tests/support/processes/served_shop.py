"""`bookstore serve` as a new user starts it: with an embedded database in the directory."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.support.http.client import ApiClient
from tests.support.processes.cli import COMMAND_TIMEOUT, CompletedCommand, start_command
from tests.support.processes.ports import find_free_port
from tests.support.processes.servers import wait_until_healthy

READY_MARKER = b"Ctrl+C"


@dataclass(frozen=True, slots=True)
class ServedShop:
    """A running server: its URL, its process, and its output before it was ready."""

    url: str
    process: asyncio.subprocess.Process
    startup_message: str

    @property
    def client(self) -> ApiClient:
        return ApiClient(self.url)

    async def stop(self, signal: int) -> CompletedCommand:
        """Send the signal, wait until the process ends, and return the output since the start."""
        self.process.send_signal(signal)
        async with asyncio.timeout(COMMAND_TIMEOUT):
            stdout, stderr = await self.process.communicate()
        return CompletedCommand(self.process.returncode, stdout.decode(), stderr.decode())


@asynccontextmanager
async def serve_shop(*options: str, directory: Path, **settings: str) -> AsyncIterator[ServedShop]:
    """Start a server, wait until it is ready, and kill it at the end of the block if it still runs."""
    port = find_free_port()
    arguments = ("serve", "--port", str(port), *options)
    async with start_command(*arguments, directory=directory, settings={"LOG_LEVEL": "error", **settings}) as process:
        assert process.stdout is not None
        async with asyncio.timeout(COMMAND_TIMEOUT):
            startup_message = await process.stdout.readuntil(READY_MARKER)
        shop = ServedShop(f"http://127.0.0.1:{port}", process, startup_message.decode())
        await wait_until_healthy(shop.url, process)
        yield shop
