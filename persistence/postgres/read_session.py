"""Read sessions: prepared statements on read-only connections, without a transaction."""

import asyncio
from typing import Any, TypeVar

import asyncpg

from persistence.postgres.errors import Unavailable, is_connection_lost, translate_error
from persistence.postgres.pool import ConnectionLost, ConnectionPool
from persistence.postgres.statements import Query

T = TypeVar("T")

STATEMENT_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
DRIVER_ERRORS = (*STATEMENT_ERRORS, OSError)
RETRY_DELAY = 0.02  # seconds in which the pool notices other lost connections


class ReadSession:
    """Runs each query on a read-only connection that it acquires for this statement."""

    __slots__ = ("_custom_plan_pool", "_pool")

    def __init__(self, pool: ConnectionPool, custom_plan_pool: ConnectionPool) -> None:
        self._pool, self._custom_plan_pool = pool, custom_plan_pool

    async def all(self, query: Query[T], **parameters: Any) -> list[T]:
        """Return all rows. Raises `Unavailable`."""
        row_factory = query.row_factory
        return [row_factory(*record) for record in await self.fetch(query, query.bind(parameters))]

    async def first(self, query: Query[T], **parameters: Any) -> T | None:
        """Return the first row, or `None`. Raises `Unavailable`."""
        records = await self.fetch(query, query.bind(parameters))
        return query.row_factory(*records[0]) if records else None

    async def fetch(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        """Return the records of a query; retry once when the connection is lost.

        Raises:
            Unavailable: PostgreSQL is unreachable, overloaded or too slow.
        """
        try:
            try:
                return await self._fetch_once(query, arguments)
            except ConnectionLost:  # a read can be repeated safely
                await asyncio.sleep(RETRY_DELAY)
                return await self._fetch_once(query, arguments)
        except ConnectionLost as error:
            raise Unavailable from error.__cause__
        except DRIVER_ERRORS as error:
            raise translate_error(error) from error

    async def _fetch_once(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        """Run the query once. Raises `ConnectionLost` or the driver's errors."""
        pool = self._custom_plan_pool if query.needs_custom_plan else self._pool
        connection = await pool.acquire()
        pool.statement_count += 1
        release = pool.release
        try:
            try:
                return await connection.fetch(query.sql, *arguments)
            except asyncpg.InvalidCachedStatementError:  # a migration changed the table, and asyncpg dropped its plan
                return await connection.fetch(query.sql, *arguments)
        except asyncio.CancelledError:
            release = pool.release_after_reset
            raise
        except DRIVER_ERRORS as error:
            if is_connection_lost(error) or isinstance(error, TimeoutError):
                connection.terminate()  # it must not be reused
            if is_connection_lost(error):
                raise ConnectionLost from error
            raise
        finally:
            release(connection)
