"""A wire between the shop and PostgreSQL that counts the statements sent over it, whoever in the shop sends them."""

import asyncio
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import URL, make_url

SSL_REQUEST = 80877103
EXECUTE, SIMPLE_QUERY = b"E", b"Q"


@dataclass(slots=True)
class Wire:
    url: str
    statements: int = 0


@asynccontextmanager
async def tapped(url: str) -> AsyncIterator[Wire]:
    """A second address for the same database."""
    there = make_url(url)

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            answers, questions = await connect(there)
            await asyncio.gather(_carry(answers, writer), _listen(wire, reader, writer, questions))
        except ConnectionRefusedError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(join, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        wire = Wire(there.set(host=host, port=port, query={}).render_as_string(hide_password=False))
        yield wire


async def connect(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.query.get("host", url.host), url.port or 5432
    assert isinstance(host, str)
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, port)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _listen(
    wire: Wire, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, questions: asyncio.StreamWriter
) -> None:
    """Passes on the start-up message, which has no type, and then one typed message after another."""
    try:
        length, code = struct.unpack("!II", await reader.readexactly(8))
        if code == SSL_REQUEST:
            writer.write(b"N")
            length, code = struct.unpack("!II", await reader.readexactly(8))
        questions.write(struct.pack("!II", length, code) + await reader.readexactly(length - 8))
        while True:
            head = await reader.readexactly(5)
            kind, length = struct.unpack("!cI", head)
            if kind in (EXECUTE, SIMPLE_QUERY):
                wire.statements += 1
            questions.write(head + await reader.readexactly(length - 4))
    except (asyncio.IncompleteReadError, ConnectionError):
        questions.close()
