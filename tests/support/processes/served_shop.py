"""`bookstore serve` as a newcomer starts it: with a database of its own in a folder."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.support.http.client import ApiClient
from tests.support.processes.cli import COMMAND_TIMEOUT, CompletedCommand, start_command

READY_MARKER = b"Ctrl+C"


@dataclass(frozen=True, slots=True)
class ServedShop:
    url: str
    process: asyncio.subprocess.Process
    startup_message: str

    @property
    def client(self) -> ApiClient:
        return ApiClient(self.url)

    async def stop(self, signal: int) -> CompletedCommand:
        self.process.send_signal(signal)
        async with asyncio.timeout(COMMAND_TIMEOUT):
            out, err = await self.process.communicate()
        return CompletedCommand(self.process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def serve_shop(*options: str, directory: Path, **settings: str) -> AsyncIterator[ServedShop]:
    """Killed at the end of the block, if it is still open."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ("serve", "--port", str(port), *options)
    async with start_command(*arguments, directory=directory, settings={"LOG_LEVEL": "error", **settings}) as process:
        assert process.stdout is not None
        async with asyncio.timeout(COMMAND_TIMEOUT):
            startup_message = await process.stdout.readuntil(READY_MARKER)
            shop = ServedShop(f"http://127.0.0.1:{port}", process, startup_message.decode())
            await _wait_until_healthy(shop)
        yield shop


async def _wait_until_healthy(shop: ServedShop) -> None:
    async with shop.client.http() as http:
        while True:
            try:
                (await http.get("/health")).raise_for_status()
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
