"""The parts of PostgreSQL's wire protocol that proxies between a client and the server need."""

import asyncio
import struct

from sqlalchemy import URL

SSL_REQUEST = 80877103
EXECUTE, SIMPLE_QUERY = b"E", b"Q"


async def connect_to_postgres(url: URL) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """Open a connection to the server's socket, without a start-up message."""
    host, port = url.query.get("host", url.host), url.port or 5432
    assert isinstance(host, str)
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, port)


async def read_startup_message(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    """Read a client's start-up message, which has no type; decline TLS if the client asks for it first."""
    length, code = struct.unpack("!II", await reader.readexactly(8))
    if code == SSL_REQUEST:
        writer.write(b"N")
        length, code = struct.unpack("!II", await reader.readexactly(8))
    return struct.pack("!II", length, code) + await reader.readexactly(length - 8)


async def read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """Read a client's next message and return its type and all of its bytes."""
    header = await reader.readexactly(5)
    kind, length = struct.unpack("!cI", header)
    return kind, header + await reader.readexactly(length - 4)
