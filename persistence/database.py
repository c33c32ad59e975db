"""The two ways to PostgreSQL: `Reading`, a fast lane that cannot write, and `Transaction`, the only thing that can."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import asyncpg
from sqlalchemy import Executable, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.asyncio import AsyncConnection, create_async_engine

from persistence.faults import Conflict, Unavailable, fault_of, is_lost, is_read_only
from persistence.lending import Lender, LentConnection
from persistence.query import Query

T = TypeVar("T")

SESSION_SETTINGS = {
    "application_name": "bookstore",
    "timezone": "UTC",
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "15s",
    "pg_trgm.word_similarity_threshold": "0.5",  # finds letters that changed places, too
}
KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
CONNECT_TIMEOUT = 3  # seconds
DRIVER_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError)
SECOND_TRY = 0.02  # seconds, in which the pool notices what else has been cut
COMMAND_TIMEOUT = 8  # seconds, for a server that no longer answers; statement_timeout comes first when it does


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many connections a process keeps for writes, and as many again for reads."""

    size: int = 5
    max_overflow: int = 10
    recycle_seconds: int = 1800
    timeout_seconds: float = 2.0

    @property
    def most(self) -> int:
        return self.size + self.max_overflow


def driver_address(url: str) -> str:
    """The address as asyncpg reads it, several hosts, `sslmode` and `target_session_attrs` included."""
    return url.replace("postgresql+asyncpg://", "postgresql://", 1)


class Transaction:
    """Everything done through it is committed together, or not at all."""

    __slots__ = ("_connection",)

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection

    async def all(self, query: Query[T], **parameters: Any) -> list[T]:
        result = await self._connection.execute(query.statement, parameters)
        return [query.row(*row) for row in result]

    async def first(self, query: Query[T], **parameters: Any) -> T | None:
        result = await self._connection.execute(query.statement, parameters)
        row = result.first()
        return None if row is None else query.row(*row)

    async def scalar(self, statement: Executable, parameters: dict[str, Any] | None = None) -> Any:
        """The first column of the first row, or `None`."""
        return await self._connection.scalar(statement, parameters)

    async def scalars(self, statement: Executable, parameters: dict[str, Any] | None = None) -> list[Any]:
        """The first column of every row."""
        return list((await self._connection.execute(statement, parameters)).scalars())

    async def rows(self, statement: Executable, parameters: dict[str, Any] | None = None) -> list[tuple[Any, ...]]:
        return [tuple(row) for row in await self._connection.execute(statement, parameters)]

    async def run(
        self,
        statement: Executable,
        parameters: dict[str, Any] | list[dict[str, Any]] | None = None,
    ) -> int:
        """Runs a statement whose answer does not matter; tells how many rows it touched."""
        return (await self._connection.execute(statement, parameters)).rowcount

    async def driver_connection(self) -> asyncpg.Connection:
        """The connection below, inside this transaction, for what speaks to the driver itself."""
        connection = (await self._connection.get_raw_connection()).driver_connection
        assert isinstance(connection, asyncpg.Connection)
        if not connection.is_in_transaction():  # SQLAlchemy begins one with the first statement
            await self._connection.execute(text("SELECT 1"))
        assert connection.is_in_transaction()
        return connection


class Reading:
    """Prepared statements on read-only connections, each borrowed for one statement."""

    __slots__ = ("_lender", "_skewed")

    def __init__(self, lender: Lender, skewed: Lender) -> None:
        self._lender, self._skewed = lender, skewed

    async def all(self, query: Query[T], **parameters: Any) -> list[T]:
        row = query.row
        return [row(*record) for record in await self._fetch(query, query.bind(parameters))]

    async def first(self, query: Query[T], **parameters: Any) -> T | None:
        records = await self._fetch(query, query.bind(parameters))
        return query.row(*records[0]) if records else None

    async def _fetch(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        try:
            try:
                return await self._fetch_once(query, arguments)
            except _ConnectionLost:  # a read can be done again without harm
                await asyncio.sleep(SECOND_TRY)
                return await self._fetch_once(query, arguments)
        except _ConnectionLost as error:
            raise Unavailable from error.__cause__
        except DRIVER_ERRORS as error:
            raise fault_of(error) from error

    async def _fetch_once(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        """Raises `_ConnectionLost`, or whatever else the driver raises."""
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
                raise _ConnectionLost from error
            raise
        finally:
            give_back(connection)


class _ConnectionLost(Exception):
    """In the middle of a statement."""


class Database:
    """PostgreSQL as the shop knows it. Open it with `async with`."""

    def __init__(self, url: str, pool: PoolSettings | None = None) -> None:
        self._address = driver_address(url)
        self._settings = pool or PoolSettings()
        self._engine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            hide_parameters=True,  # an error's text may be logged
            pool_size=self._settings.most,
            max_overflow=0,
            pool_use_lifo=True,
            pool_recycle=self._settings.recycle_seconds,
            pool_timeout=self._settings.timeout_seconds,
            pool_pre_ping=True,
        )
        self._reading: Reading | None = None
        self._lenders: list[Lender] = []

    async def __aenter__(self) -> Self:
        lender = self._lender_of(self._settings.most, plan_cache_mode="force_generic_plan")
        skewed = self._lender_of(self._settings.size, plan_cache_mode="force_custom_plan")
        self._lenders = [lender, skewed]
        self._reading = Reading(lender, skewed)
        return self

    async def _connect(self, **session_settings: str) -> asyncpg.Connection:
        return await asyncpg.connect(
            self._address,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            server_settings={**SESSION_SETTINGS, **session_settings},
        )

    def _lender_of(self, most: int, **session_settings: str) -> Lender:
        async def connect() -> LentConnection:
            return await asyncpg.connect(
                self._address,
                connection_class=LentConnection,
                timeout=CONNECT_TIMEOUT,
                command_timeout=COMMAND_TIMEOUT,
                statement_cache_size=500,
                server_settings={**SESSION_SETTINGS, "default_transaction_read_only": "on", **session_settings},
            )

        wait, idle = self._settings.timeout_seconds, self._settings.recycle_seconds
        return Lender(connect, most, wait_seconds=wait, idle_seconds=idle)

    async def __aexit__(self, *_: object) -> None:
        for lender in self._lenders:
            await lender.close()
        await self._engine.dispose()

    @property
    def reading(self) -> Reading:
        if self._reading is None:
            raise RuntimeError("Database is not open: use `async with database`.")
        return self._reading

    async def own_connection(self, name: str) -> asyncpg.Connection:
        """One beside the pools, for whoever listens or holds locks on it for long; the caller closes it.

        PostgreSQL looks every few seconds whether somebody is still at the other end.
        """
        return await self._connect(application_name=name, **KEEPALIVES)

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Returning commits, raising rolls back.

        Raises `Conflict` where the whole unit of work may be tried again, `Unavailable` where PostgreSQL
        is away, overloaded, or somebody holds a lock for too long.
        """
        try:
            async with self._engine.connect() as connection:
                try:
                    yield Transaction(connection)
                except DBAPIError as error:
                    cause = error.orig and error.orig.__cause__
                    if is_read_only(cause):
                        await connection.invalidate()  # the next one may lead to the new primary
                    if error.connection_invalidated or is_lost(cause):
                        raise Conflict from error
                    raise
                await connection.commit()
        except DBAPIError as error:
            raise fault_of(error.orig and error.orig.__cause__) from error
        except DRIVER_ERRORS as error:  # no connection could be made
            raise fault_of(error) from error
        except PoolTimeout as error:
            raise Unavailable from error
