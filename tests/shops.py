"""`bookstore serve` as a newcomer starts it: with a database of its own in a folder."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2

from tests.client import Visitor
from tests.commands import PATIENCE, Ended, started

LAST_LINE = b"Ctrl+C"


@dataclass(frozen=True, slots=True)
class OpenShop:
    url: str
    process: asyncio.subprocess.Process
    welcome: str

    @property
    def visitor(self) -> Visitor:
        return Visitor(self.url)

    async def closes(self, signal: int) -> Ended:
        self.process.send_signal(signal)
        async with asyncio.timeout(PATIENCE):
            out, err = await self.process.communicate()
        return Ended(self.process.returncode, out.decode(), err.decode())


@asynccontextmanager
async def opened(*options: str, folder: Path, **settings: str) -> AsyncIterator[OpenShop]:
    """Killed at the end of the block, if it is still open."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = ("serve", "--port", str(port), *options)
    async with started(*arguments, folder=folder, settings={"LOG_LEVEL": "error", **settings}) as process:
        assert process.stdout is not None
        async with asyncio.timeout(PATIENCE):
            welcome = await process.stdout.readuntil(LAST_LINE)
            shop = OpenShop(f"http://127.0.0.1:{port}", process, welcome.decode())
            await _until_healthy(shop)
        yield shop


async def _until_healthy(shop: OpenShop) -> None:
    async with shop.visitor.http() as http:
        while True:
            try:
                (await http.get("/health")).raise_for_status()
            except httpx2.TransportError:
                await asyncio.sleep(0.05)
            else:
                return
