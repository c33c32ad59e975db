"""The two ways to PostgreSQL: `Reading`, a fast lane that cannot write, and `Transaction`, the only thing that can."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from typing import Any, Self, TypeVar

import asyncpg
from asyncpg.connection import LoggedQuery

from persistence.faults import Conflict, Unavailable, fault_of, is_lost, is_read_only
from persistence.lending import Lender, LentConnection
from persistence.query import Command, Query

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
READ_ONLY = {"default_transaction_read_only": "on"}
STATEMENT_ERRORS = (asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, TimeoutError)
DRIVER_ERRORS = (*STATEMENT_ERRORS, OSError)
NOT_OPEN = "Database is not open: use `async with database`."
SECOND_TRY = 0.02  # seconds, in which the pool notices what else has been cut
MOST_PLANS = 100
"""Of a connection. Each takes a tenth of a megabyte in PostgreSQL, and documents decide how many there could be."""
COMMAND_TIMEOUT = 8  # seconds, for a server that no longer answers; statement_timeout comes first when it does


Listener = Callable[[LoggedQuery], None]


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many connections a process may have for writes, and as many again for reads."""

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

    __slots__ = ("_lender", "driver")

    def __init__(self, driver: asyncpg.Connection, lender: Lender) -> None:
        self._lender = lender
        self.driver = driver
        """The connection below, inside this transaction, for what speaks to the driver itself."""

    async def all(self, query: Query[T], **parameters: Any) -> list[T]:
        row = query.row
        return [row(*record) for record in await self._fetch(query.sql, query.bind(parameters))]

    async def first(self, query: Query[T], **parameters: Any) -> T | None:
        records = await self._fetch(query.sql, query.bind(parameters))
        return query.row(*records[0]) if records else None

    async def scalar(self, command: Command, /, **parameters: Any) -> Any:
        """The first column of the first row, or `None`."""
        records = await self.rows(command, **parameters)
        return records[0][0] if records else None

    async def scalars(self, command: Command, /, **parameters: Any) -> list[Any]:
        """The first column of every row."""
        return [record[0] for record in await self.rows(command, **parameters)]

    async def rows(self, command: Command, /, **parameters: Any) -> list[asyncpg.Record]:
        return await self._fetch(*command.bind(parameters))

    async def run(self, command: Command, /, **parameters: Any) -> int:
        """Runs a statement whose answer does not matter; tells how many rows it touched."""
        sql, arguments = command.bind(parameters)
        self._lender.statements += 1
        *_, touched = (await self.driver.execute(sql, *arguments)).split()
        return int(touched) if touched.isdigit() else 0

    async def run_for_each(self, command: Command, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs a statement once for each row of parameters, all of which have the same names."""
        if rows:
            bound = [command.bind(row) for row in rows]
            [sql] = {sql for sql, _ in bound}
            self._lender.statements += len(rows)
            await self.driver.executemany(sql, [arguments for _, arguments in bound])

    async def _fetch(self, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        self._lender.statements += 1
        return await self.driver.fetch(sql, *arguments)


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
        lender.statements += 1
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


class Writing:
    """Transactions, each on a connection that is borrowed for it."""

    __slots__ = ("_lender",)

    def __init__(self, lender: Lender) -> None:
        self._lender = lender

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        connection = await self._begun()
        try:
            try:
                yield Transaction(connection, self._lender)
            except STATEMENT_ERRORS as error:
                if is_lost(error) or is_read_only(error) or isinstance(error, TimeoutError):
                    connection.terminate()  # the next one may lead to the new primary
                if is_lost(error) or isinstance(error, asyncpg.InvalidCachedStatementError):
                    raise Conflict from error
                raise fault_of(error) from error
            await self._commit(connection)
        except Exception:
            await self._roll_back(connection)
            raise
        finally:
            if connection.has_open_transaction:  # it was given up in the middle of a statement
                self._lender.give_back_checked(connection)
            else:
                self._lender.give_back(connection)

    async def _begun(self) -> LentConnection:
        try:
            try:
                return await self._begun_once()
            except _ConnectionLost:  # it may have died idle; nothing has been asked of it
                await asyncio.sleep(SECOND_TRY)
                return await self._begun_once()
        except _ConnectionLost as error:
            raise Conflict from error.__cause__
        except DRIVER_ERRORS as error:
            raise fault_of(error) from error

    async def _begun_once(self) -> LentConnection:
        """Raises `_ConnectionLost`, or whatever else the driver raises."""
        connection = await self._lender.borrow()
        try:
            await connection.execute("BEGIN")
        except Exception as error:
            connection.terminate()
            self._lender.give_back(connection)
            if is_lost(error):
                raise _ConnectionLost from error
            raise
        except BaseException:
            self._lender.give_back_checked(connection)
            raise
        return connection

    async def _commit(self, connection: LentConnection) -> None:
        """Once: when the answer is lost, nobody knows what became of it."""
        try:
            done = await connection.execute("COMMIT")
        except STATEMENT_ERRORS as error:
            if is_lost(error) or isinstance(error, TimeoutError):
                connection.terminate()
            raise fault_of(error) from error
        if done != "COMMIT":
            raise RuntimeError("A statement had failed and that was passed over: all was rolled back.")

    async def _roll_back(self, connection: LentConnection) -> None:
        if connection.has_open_transaction:
            try:
                await connection.execute("ROLLBACK")
            except STATEMENT_ERRORS:
                connection.terminate()  # PostgreSQL rolls back by itself


class _ConnectionLost(Exception):
    """In the middle of a statement."""


class Database:
    """PostgreSQL as the shop knows it. Open it with `async with`. A `listener` is told of each statement when it has run."""

    def __init__(self, url: str, pool: PoolSettings | None = None, listener: Listener | None = None) -> None:
        self._address = driver_address(url)
        self._listener = listener
        self._settings = pool or PoolSettings()
        self._reading: Reading | None = None
        self._writing: Writing | None = None
        self.lenders: dict[str, Lender] = {}
        """While it is open, by what they are for."""

    async def __aenter__(self) -> Self:
        lender = self._lender_of(self._settings.most, plan_cache_mode="force_generic_plan", **READ_ONLY)
        skewed = self._lender_of(self._settings.size, plan_cache_mode="force_custom_plan", **READ_ONLY)
        writing = self._lender_of(self._settings.most)
        self.lenders = {"read": lender, "search": skewed, "write": writing}
        self._reading, self._writing = Reading(lender, skewed), Writing(writing)
        return self

    def _lender_of(self, most: int, **session_settings: str) -> Lender:
        async def connect() -> LentConnection:
            connection: LentConnection = await asyncpg.connect(
                self._address,
                connection_class=LentConnection,
                timeout=CONNECT_TIMEOUT,
                command_timeout=COMMAND_TIMEOUT,
                statement_cache_size=MOST_PLANS,
                server_settings={**SESSION_SETTINGS, **session_settings},
            )
            if self._listener is not None:
                connection.add_query_logger(self._listener)
            return connection

        wait, idle = self._settings.timeout_seconds, self._settings.recycle_seconds
        return Lender(connect, most, wait_seconds=wait, idle_seconds=idle)

    async def __aexit__(self, *_: object) -> None:
        for lender in self.lenders.values():
            await lender.close()

    @property
    def reading(self) -> Reading:
        if self._reading is None:
            raise RuntimeError(NOT_OPEN)
        return self._reading

    async def own_connection(self, name: str) -> asyncpg.Connection:
        """One beside the pools, for whoever listens or holds locks on it for long; the caller closes it.

        PostgreSQL looks every few seconds whether somebody is still at the other end.
        """
        return await asyncpg.connect(
            self._address,
            timeout=CONNECT_TIMEOUT,
            command_timeout=COMMAND_TIMEOUT,
            server_settings={**SESSION_SETTINGS, "application_name": name, **KEEPALIVES},
        )

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Returning commits, raising rolls back.

        Raises `Conflict` where the whole unit of work may be tried again, `Unavailable` where PostgreSQL
        is away, overloaded, or somebody holds a lock for too long.
        """
        if self._writing is None:
            raise RuntimeError(NOT_OPEN)
        return self._writing.transaction()
