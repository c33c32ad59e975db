"""Counts the SQL statements of a request, with a proxy between the server and PostgreSQL."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from sqlalchemy import make_url

from domain.shop import Shop
from server.settings import Settings
from tests.support.database.postgres_protocol import (
    EXECUTE,
    SIMPLE_QUERY,
    connect_to_postgres,
    read_message,
    read_startup_message,
)
from tests.support.http.apps import get_shop, running_client
from tests.support.http.client import ApiClient


@dataclass(slots=True)
class CountingProxy:
    """A proxy of a database; `url` is the database's URL through it, and `statements` counts the statements sent."""

    url: str
    statements: int = 0


@dataclass(frozen=True, slots=True)
class QueryCounter:
    """A server that reaches its database through the proxy."""

    proxy: CountingProxy
    shop: Shop
    client: ApiClient

    async def count(self, client: ApiClient, document: str, /, **variables: object) -> int:
        """Return the number of statements of a request.

        The result is the smallest of four counts, because the first requests also open connections and prepare statements.
        """
        return min([await self._count_once(client, document, variables) for _ in range(4)])

    async def _count_once(self, client: ApiClient, document: str, variables: dict[str, object]) -> int:
        self.shop.count_cache.clear()
        before = self.proxy.statements
        response = await client.execute(document, **variables)
        assert not response.errors
        return self.proxy.statements - before


@asynccontextmanager
async def count_queries(settings: Settings) -> AsyncIterator[QueryCounter]:
    """Run an application behind a counting proxy."""
    assert settings.database_url is not None
    async with (
        start_counting_proxy(settings.database_url) as proxy,
        running_client(settings, database_url=proxy.url) as client,
    ):
        yield QueryCounter(proxy, get_shop(client), client)


@asynccontextmanager
async def start_counting_proxy(url: str) -> AsyncIterator[CountingProxy]:
    """Start a proxy of this database that counts the statements of all clients."""
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
    try:
        server_writer.write(await read_startup_message(reader, writer))
        while True:
            kind, message = await read_message(reader)
            if kind in (EXECUTE, SIMPLE_QUERY):
                proxy.statements += 1
            server_writer.write(message)
    except (asyncio.IncompleteReadError, ConnectionError):
        server_writer.close()
