"""Reading: a fast lane that cannot write."""

import asyncio
from typing import Any, TypeVar

import asyncpg

from persistence.faults import Unavailable, fault_of, is_lost
from persistence.lending import ConnectionLost, Lender
from persistence.query import Query

T = TypeVar("T")

STATEMENT_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
DRIVER_ERRORS = (*STATEMENT_ERRORS, OSError)
SECOND_TRY = 0.02  # seconds, in which the pool notices what else has been cut


class Reading:
    """Prepared statements on read-only connections, each borrowed for one statement."""

    __slots__ = ("_lender", "_skewed")

    def __init__(self, lender: Lender, skewed: Lender) -> None:
        self._lender, self._skewed = lender, skewed

    async def all(self, query: Query[T], **parameters: Any) -> list[T]:
        row = query.row
        return [row(*record) for record in await self.fetch(query, query.bind(parameters))]

    async def first(self, query: Query[T], **parameters: Any) -> T | None:
        records = await self.fetch(query, query.bind(parameters))
        return query.row(*records[0]) if records else None

    async def fetch(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        """Raises `Unavailable`."""
        try:
            try:
                return await self._fetch_once(query, arguments)
            except ConnectionLost:  # a read can be done again without harm
                await asyncio.sleep(SECOND_TRY)
                return await self._fetch_once(query, arguments)
        except ConnectionLost as error:
            raise Unavailable from error.__cause__
        except DRIVER_ERRORS as error:
            raise fault_of(error) from error

    async def _fetch_once(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        """Raises `ConnectionLost`, or whatever else the driver raises."""
        lender = self._skewed if query.skewed else self._lender
        connection = await lender.borrow()
        give_back = lender.give_back
        try:
            try:
                return await connection.fetch(query.sql, *arguments)
            except asyncpg.InvalidCachedStatementError:  # a migration changed the table; asyncpg has dropped the plan
                return await connection.fetch(query.sql, *arguments)
        except asyncio.CancelledError:
            give_back = lender.give_back_checked
            raise
        except DRIVER_ERRORS as error:
            if is_lost(error) or isinstance(error, TimeoutError):
                connection.terminate()  # or it might be lent again
            if is_lost(error):
                raise ConnectionLost from error
            raise
        finally:
            give_back(connection)
