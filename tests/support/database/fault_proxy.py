"""A network between the shop and PostgreSQL that fails when told to: it hangs, breaks, or loses the answer to a COMMIT."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import make_url

from tests.support.database.counting_proxy import SIMPLE_QUERY, SSL_REQUEST, connect_to_postgres


@dataclass(slots=True)
class FaultProxy:
    """`url` is a second address of the same database."""

    url: str
    commits: int = 0
    lost_commit: int | None = None
    """Which commit from the start never hears its answer."""
    _is_open: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _is_refusing: bool = False

    def hang(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        self._is_open.clear()

    def break_connections(self) -> None:
        """Every connection ends, and new ones are ended at once."""
        self._is_refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def restore(self) -> None:
        self._is_refusing = False
        self._is_open.set()

    def lose_commit_response(self, number: int) -> None:
        """The server does it, and the connection breaks before the answer is through; counted from now on."""
        self.lost_commit = self.commits + number

    async def handle_connection(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, upstream_url: str
    ) -> None:
        if self._is_refusing:
            writer.transport.abort()
            return
        server_reader, server_writer = await connect_to_postgres(make_url(upstream_url))
        connection = _ProxiedConnection(self, reader, writer, server_reader, server_writer)
        self._writers |= {writer, server_writer}
        try:
            await asyncio.gather(connection.forward_requests(), connection.forward_responses())
        finally:
            self._writers -= {writer, server_writer}
            writer.transport.abort()
            server_writer.transport.abort()

    async def wait_until_open(self) -> None:
        await self._is_open.wait()


@dataclass(slots=True)
class _ProxiedConnection:
    proxy: FaultProxy
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    server_reader: asyncio.StreamReader
    server_writer: asyncio.StreamWriter
    is_lost: bool = False

    async def forward_requests(self) -> None:
        try:
            length, code = struct.unpack("!II", await self.reader.readexactly(8))
            if code == SSL_REQUEST:
                self.writer.write(b"N")
                length, code = struct.unpack("!II", await self.reader.readexactly(8))
            await self.proxy.wait_until_open()
            self.server_writer.write(struct.pack("!II", length, code) + await self.reader.readexactly(length - 8))
            while True:
                header = await self.reader.readexactly(5)
                kind, length = struct.unpack("!cI", header)
                body = await self.reader.readexactly(length - 4)
                await self.proxy.wait_until_open()
                if kind == SIMPLE_QUERY and body.startswith(b"COMMIT"):
                    self.proxy.commits += 1
                    self.is_lost = self.proxy.commits == self.proxy.lost_commit
                self.server_writer.write(header + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.server_writer.close()

    async def forward_responses(self) -> None:
        try:
            while block := await self.server_reader.read(65536):
                await self.proxy.wait_until_open()
                if self.is_lost:
                    break
                self.writer.write(block)
                await self.writer.drain()
        except ConnectionError:
            pass
        finally:
            self.writer.transport.abort() if self.is_lost else self.writer.close()


@asynccontextmanager
async def start_fault_proxy(url: str) -> AsyncIterator[FaultProxy]:
    tasks: set[asyncio.Task[None]] = set()

    def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(proxy.handle_connection(reader, writer, url))
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    async with await asyncio.start_server(on_connect, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        proxy = FaultProxy(make_url(url).set(host=host, port=port, query={}).render_as_string(hide_password=False))
        proxy.restore()
        try:
            yield proxy
        finally:
            proxy.break_connections()
            proxy.restore()
            await asyncio.gather(*tasks, return_exceptions=True)


@dataclass(slots=True)
class SilentServer:
    port: int = 0
    connections: int = 0


@asynccontextmanager
async def start_silent_server() -> AsyncIterator[SilentServer]:
    """A server that takes every call and never says a word, as one does that is frozen."""
    state = SilentServer()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            while await reader.read(65536):  # until the other side has had enough
                pass
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(on_connect, "127.0.0.1", 0) as server:
        state.port = server.sockets[0].getsockname()[1]
        yield state
