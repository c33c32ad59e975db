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
class CountingProxy:
    url: str
    statements: int = 0


@asynccontextmanager
async def start_counting_proxy(url: str) -> AsyncIterator[CountingProxy]:
    """A second address for the same database."""
    upstream_url = make_url(url)

    async def handle_connection(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server_reader, server_writer = await connect_to_postgres(upstream_url)
            await asyncio.gather(
                _forward(server_reader, writer), _forward_and_count(proxy, reader, writer, server_writer)
            )
        except ConnectionRefusedError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(handle_connection, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        proxy = CountingProxy(upstream_url.set(host=host, port=port, query={}).render_as_string(hide_password=False))
        yield proxy


async def connect_to_postgres(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    host, port = url.query.get("host", url.host), url.port or 5432
    assert isinstance(host, str)
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, port)


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while block := await reader.read(65536):
            writer.write(block)
            await writer.drain()
    except ConnectionError:
        pass
    finally:
        writer.close()


async def _forward_and_count(
    proxy: CountingProxy,
    reader: asyncio.StreamReader,
    writer: asyncio.StreamWriter,
    server_writer: asyncio.StreamWriter,
) -> None:
    """Passes on the start-up message, which has no type, and then one typed message after another."""
    try:
        length, code = struct.unpack("!II", await reader.readexactly(8))
        if code == SSL_REQUEST:
            writer.write(b"N")
            length, code = struct.unpack("!II", await reader.readexactly(8))
        server_writer.write(struct.pack("!II", length, code) + await reader.readexactly(length - 8))
        while True:
            header = await reader.readexactly(5)
            kind, length = struct.unpack("!cI", header)
            if kind in (EXECUTE, SIMPLE_QUERY):
                proxy.statements += 1
            server_writer.write(header + await reader.readexactly(length - 4))
    except (asyncio.IncompleteReadError, ConnectionError):
        server_writer.close()
