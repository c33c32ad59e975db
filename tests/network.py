"""A network between the shop and PostgreSQL that fails when told to: it hangs, breaks, or loses the answer to a COMMIT."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from sqlalchemy import make_url

from tests.wire import SIMPLE_QUERY, SSL_REQUEST, connect


@dataclass(slots=True)
class Network:
    """`url` is a second address of the same database."""

    url: str
    commits: int = 0
    loses: int | None = None
    """Which commit from the start never hears its answer."""
    _flows: asyncio.Event = field(default_factory=asyncio.Event)
    _joined: set[asyncio.StreamWriter] = field(default_factory=set)
    _refuses: bool = False

    def hangs(self) -> None:
        """Nothing gets through any more, and nobody is told."""
        self._flows.clear()

    def breaks(self) -> None:
        """Every connection ends, and new ones are ended at once."""
        self._refuses = True
        for writer in self._joined:
            writer.transport.abort()

    def is_mended(self) -> None:
        self._refuses = False
        self._flows.set()

    def loses_commit(self, number: int) -> None:
        """The server does it, and the connection breaks before the answer is through; counted from now on."""
        self.loses = self.commits + number

    async def join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: str) -> None:
        if self._refuses:
            writer.transport.abort()
            return
        answers, questions = await connect(make_url(there))
        call = _Call(self, reader, writer, answers, questions)
        self._joined |= {writer, questions}
        try:
            await asyncio.gather(call.ask(), call.answer())
        finally:
            self._joined -= {writer, questions}
            writer.transport.abort()
            questions.transport.abort()

    async def flows(self) -> None:
        await self._flows.wait()


@dataclass(slots=True)
class _Call:
    network: Network
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    answers: asyncio.StreamReader
    questions: asyncio.StreamWriter
    is_lost: bool = False

    async def ask(self) -> None:
        try:
            length, code = struct.unpack("!II", await self.reader.readexactly(8))
            if code == SSL_REQUEST:
                self.writer.write(b"N")
                length, code = struct.unpack("!II", await self.reader.readexactly(8))
            await self.network.flows()
            self.questions.write(struct.pack("!II", length, code) + await self.reader.readexactly(length - 8))
            while True:
                head = await self.reader.readexactly(5)
                kind, length = struct.unpack("!cI", head)
                body = await self.reader.readexactly(length - 4)
                await self.network.flows()
                if kind == SIMPLE_QUERY and body.startswith(b"COMMIT"):
                    self.network.commits += 1
                    self.is_lost = self.network.commits == self.network.loses
                self.questions.write(head + body)
        except (asyncio.IncompleteReadError, ConnectionError):
            self.questions.close()

    async def answer(self) -> None:
        try:
            while block := await self.answers.read(65536):
                await self.network.flows()
                if self.is_lost:
                    break
                self.writer.write(block)
                await self.writer.drain()
        except ConnectionError:
            pass
        finally:
            self.writer.transport.abort() if self.is_lost else self.writer.close()


@asynccontextmanager
async def between(url: str) -> AsyncIterator[Network]:
    calls: set[asyncio.Task[None]] = set()

    def called(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        call = asyncio.create_task(network.join(reader, writer, url))
        calls.add(call)
        call.add_done_callback(calls.discard)

    async with await asyncio.start_server(called, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        network = Network(make_url(url).set(host=host, port=port, query={}).render_as_string(hide_password=False))
        network.is_mended()
        try:
            yield network
        finally:
            network.breaks()
            network.is_mended()
            await asyncio.gather(*calls, return_exceptions=True)


@dataclass(slots=True)
class Silence:
    port: int = 0
    calls: int = 0


@asynccontextmanager
async def silence() -> AsyncIterator[Silence]:
    """A server that takes every call and never says a word, as one does that is frozen."""
    silent = Silence()

    async def listen(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        silent.calls += 1
        try:
            while await reader.read(65536):  # until the other side has had enough
                pass
        finally:
            writer.transport.abort()

    async with await asyncio.start_server(listen, "127.0.0.1", 0) as server:
        silent.port = server.sockets[0].getsockname()[1]
        yield silent
