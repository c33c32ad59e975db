"""A proxy between the server and PostgreSQL that fails on demand: it hangs, breaks, or loses the response to a COMMIT."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import make_url

from tests.support.database.postgres_protocol import (
    SIMPLE_QUERY,
    connect_to_postgres,
    read_message,
    read_startup_message,
)

MESSAGE_HEADER_LENGTH = 5  # bytes: the type and the length


@dataclass(slots=True)
class FaultProxy:
    """A proxy of a database; `url` is the database's URL through the proxy."""

    url: str
    commits: int = 0
    lost_commit: int | None = None
    """The number of the COMMIT, counted from the start, whose response is lost."""
    _is_open: asyncio.Event = field(default_factory=asyncio.Event)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)
    _is_refusing: bool = False

    def hang(self) -> None:
        """Stop forwarding, and keep the connections open."""
        self._is_open.clear()

    def break_connections(self) -> None:
        """Abort every connection, and abort new connections immediately."""
        self._is_refusing = True
        for writer in self._writers:
            writer.transport.abort()

    def restore(self) -> None:
        """Resume forwarding."""
        self._is_refusing = False
        self._is_open.set()

    def lose_commit_response(self, number: int) -> None:
        """Break the connection after the server has executed the COMMIT of this number, counted from now on."""
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
            startup_message = await read_startup_message(self.reader, self.writer)
            await self.proxy.wait_until_open()
            self.server_writer.write(startup_message)
            while True:
                kind, message = await read_message(self.reader)
                await self.proxy.wait_until_open()
                if kind == SIMPLE_QUERY and message.startswith(b"COMMIT", MESSAGE_HEADER_LENGTH):
                    self.proxy.commits += 1
                    self.is_lost = self.proxy.commits == self.proxy.lost_commit
                self.server_writer.write(message)
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
    """Start a proxy of this database that forwards everything until a test changes that."""
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
    """The port of a silent server, and the number of connections that it has accepted."""

    port: int = 0
    connections: int = 0


@asynccontextmanager
async def start_silent_server() -> AsyncIterator[SilentServer]:
    """Start a server that accepts every connection and never sends a byte, like a frozen server."""
    state = SilentServer()

    async def on_connect(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        state.connections += 1
        try:
            while await reader.read(65536):  # until the client closes the connection
                pass
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(on_connect, "127.0.0.1", 0) as server:
        state.port = server.sockets[0].getsockname()[1]
        yield state
