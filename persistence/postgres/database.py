"""PostgreSQL as the shop knows it: `Reading`, a fast lane that cannot write, and `Transaction`, the only thing that can."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import asyncpg
from asyncpg.connection import LoggedQuery

from persistence.postgres.connection import connect, connect_dedicated
from persistence.postgres.errors import Conflict, is_connection_lost, is_read_only, translate_error
from persistence.postgres.pool import ConnectionLost, ConnectionPool, PoolConnection
from persistence.postgres.read_session import DRIVER_ERRORS, RETRY_DELAY, STATEMENT_ERRORS, ReadSession
from persistence.postgres.replicas import ReplicaConnector, ReplicaPool, ReplicaReader
from persistence.postgres.statements import Command, Query

T = TypeVar("T")
ConnectFunction = Callable[..., Awaitable[PoolConnection]]
QueryLogger = Callable[[LoggedQuery], None]

CONNECT_SHARE_OF_TIMEOUT = 0.8
"""How much of the time for which somebody waits for a connection may be spent on opening it: there has to be an answer before."""
NOT_OPEN_MESSAGE = "Database is not open: use `async with database`."


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """How many connections a process may have for writes, and as many again for reads."""

    size: int = 5
    max_overflow: int = 10
    recycle_seconds: int = 1800
    timeout_seconds: float = 2.0

    @property
    def max_size(self) -> int:
        return self.size + self.max_overflow


class Transaction:
    """Everything done through it is committed together, or not at all."""

    __slots__ = ("_pool", "driver_connection")

    def __init__(self, driver_connection: asyncpg.Connection, pool: ConnectionPool) -> None:
        self._pool = pool
        self.driver_connection = driver_connection
        """The connection below, inside this transaction, for what speaks to the driver itself."""

    async def all(self, query: Query[T], **parameters: Any) -> list[T]:
        row_factory = query.row_factory
        return [row_factory(*record) for record in await self._fetch(query.sql, query.bind(parameters))]

    async def first(self, query: Query[T], **parameters: Any) -> T | None:
        records = await self._fetch(query.sql, query.bind(parameters))
        return query.row_factory(*records[0]) if records else None

    async def scalar(self, command: Command, /, **parameters: Any) -> Any:
        """The first column of the first row, or `None`."""
        records = await self.fetch_records(command, **parameters)
        return records[0][0] if records else None

    async def scalars(self, command: Command, /, **parameters: Any) -> list[Any]:
        """The first column of every row."""
        return [record[0] for record in await self.fetch_records(command, **parameters)]

    async def fetch_records(self, command: Command, /, **parameters: Any) -> list[asyncpg.Record]:
        return await self._fetch(*command.bind(parameters))

    async def execute(self, command: Command, /, **parameters: Any) -> int:
        """Runs a statement whose answer does not matter; tells how many rows it touched."""
        sql, arguments = command.bind(parameters)
        self._pool.statement_count += 1
        *_, row_count = (await self.driver_connection.execute(sql, *arguments)).split()
        return int(row_count) if row_count.isdigit() else 0

    async def execute_many(self, command: Command, rows: Sequence[Mapping[str, Any]]) -> None:
        """Runs a statement once for each row of parameters, all of which have the same names."""
        if rows:
            bound_rows = [command.bind(row) for row in rows]
            [sql] = {sql for sql, _ in bound_rows}
            self._pool.statement_count += len(rows)
            await self.driver_connection.executemany(sql, [arguments for _, arguments in bound_rows])

    async def _fetch(self, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        self._pool.statement_count += 1
        return await self.driver_connection.fetch(sql, *arguments)


class TransactionFactory:
    """Transactions, each on a connection that is borrowed for it."""

    __slots__ = ("_pool",)

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        connection = await self._begin()
        try:
            try:
                yield Transaction(connection, self._pool)
            except STATEMENT_ERRORS as error:
                if is_connection_lost(error) or is_read_only(error) or isinstance(error, TimeoutError):
                    connection.terminate()  # the next one may lead to the new primary
                if is_connection_lost(error) or isinstance(error, asyncpg.InvalidCachedStatementError):
                    raise Conflict from error
                raise translate_error(error) from error
            await self._commit(connection)
        except Exception:
            await self._roll_back(connection)
            raise
        finally:
            if connection.has_open_transaction:  # it was given up in the middle of a statement
                self._pool.release_after_reset(connection)
            else:
                self._pool.release(connection)

    async def _begin(self) -> PoolConnection:
        try:
            try:
                return await self._begin_once()
            except ConnectionLost:  # it may have died idle; nothing has been asked of it
                await asyncio.sleep(RETRY_DELAY)
                return await self._begin_once()
        except ConnectionLost as error:
            raise Conflict from error.__cause__
        except DRIVER_ERRORS as error:
            raise translate_error(error) from error

    async def _begin_once(self) -> PoolConnection:
        """Raises `ConnectionLost`, or whatever else the driver raises."""
        connection = await self._pool.acquire()
        try:
            await connection.execute(connection.begin_statement)
        except Exception as error:
            connection.terminate()
            self._pool.release(connection)
            if is_connection_lost(error):
                raise ConnectionLost from error
            raise
        except BaseException:
            self._pool.release_after_reset(connection)
            raise
        return connection

    async def _commit(self, connection: PoolConnection) -> None:
        """Once: when the answer is lost, nobody knows what became of it."""
        try:
            status = await connection.execute("COMMIT")
        except STATEMENT_ERRORS as error:
            if is_connection_lost(error) or isinstance(error, TimeoutError):
                connection.terminate()
            raise translate_error(error) from error
        if status != "COMMIT":
            raise RuntimeError("A statement had failed and that was passed over: all was rolled back.")

    async def _roll_back(self, connection: PoolConnection) -> None:
        if connection.has_open_transaction:
            try:
                await connection.execute("ROLLBACK")
            except STATEMENT_ERRORS:
                connection.terminate()  # PostgreSQL rolls back by itself


class Database:
    """PostgreSQL as the shop knows it. Open it with `async with`. A `listener` is told of each statement when it has run.

    `read_url` leads to standbys, for visitors, and `direct_url` past a pooler, through which nothing is `prepared`.
    """

    def __init__(
        self,
        url: str,
        pool: PoolSettings | None = None,
        *,
        read_url: str | None = None,
        direct_url: str | None = None,
        use_prepared_statements: bool = True,
        query_logger: QueryLogger | None = None,
    ) -> None:
        self._query_logger = query_logger
        self._url, self._read_url, self._direct_url = url, read_url, direct_url or url
        self._settings = pool or PoolSettings()
        self._use_prepared_statements = use_prepared_statements
        self._read_session: ReadSession | None = None
        self._replica_session: ReplicaReader | None = None
        self._transactions: TransactionFactory | None = None
        self._probe_pool: ConnectionPool | None = None
        self.pools: dict[str, ConnectionPool] = {}
        """While it is open, by what they are for."""

    async def __aenter__(self) -> Self:
        connect_timeout = self._settings.timeout_seconds * CONNECT_SHARE_OF_TIMEOUT
        connect_to_primary = partial(
            connect, self._url, use_prepared_statements=self._use_prepared_statements, timeout=connect_timeout
        )
        self._read_session = ReadSession(*self._create_read_pools(partial(connect_to_primary, read_only=True)))
        self._transactions = TransactionFactory(self._create_pool("write", connect_to_primary, self._settings.max_size))
        timeout, max_idle = self._settings.timeout_seconds, self._settings.recycle_seconds
        self._probe_pool = ConnectionPool(
            partial(connect_to_primary, probe=True), 1, timeout=timeout, max_idle=max_idle
        )
        if self._read_url:
            connector = ReplicaConnector(
                self._read_url,
                connect_to_primary,
                use_prepared_statements=self._use_prepared_statements,
                timeout=connect_timeout,
            )
            replica_pools = self._create_read_pools(connector.connect, ReplicaPool, "standby ")
            self._replica_session = ReplicaReader(*replica_pools, self._read_session, connector)
            await connector.refresh_primary_identity()  # who may be away when the first visitor comes
        return self

    def _create_read_pools(
        self, connect: ConnectFunction, pool_class: type[ConnectionPool] = ConnectionPool, name_prefix: str = ""
    ) -> tuple[ConnectionPool, ConnectionPool]:
        """One whose statements keep their plans, and one whose statements are planned each time."""
        connect_generic_plan = partial(connect, plan_cache_mode="force_generic_plan")
        connect_custom_plan = partial(connect, plan_cache_mode="force_custom_plan")
        read_pool = self._create_pool(f"{name_prefix}read", connect_generic_plan, self._settings.max_size, pool_class)
        return read_pool, self._create_pool(
            f"{name_prefix}search", connect_custom_plan, self._settings.size, pool_class
        )

    def _create_pool(
        self, name: str, connect: ConnectFunction, max_size: int, pool_class: type[ConnectionPool] = ConnectionPool
    ) -> ConnectionPool:
        async def connect_logged() -> PoolConnection:
            connection = await connect()
            if self._query_logger is not None:
                connection.add_query_logger(self._query_logger)
            return connection

        timeout, max_idle = self._settings.timeout_seconds, self._settings.recycle_seconds
        self.pools[name] = pool_class(connect_logged, max_size, timeout=timeout, max_idle=max_idle)
        return self.pools[name]

    async def __aexit__(self, *_: object) -> None:
        if self._replica_session is not None:
            self._replica_session.close()
        for pool in self.pools.values():
            await pool.close()
        if self._probe_pool is not None:
            await self._probe_pool.close()

    @property
    def read_session(self) -> ReadSession:
        """For whoever may have written something."""
        if self._read_session is None:
            raise RuntimeError(NOT_OPEN_MESSAGE)
        return self._read_session

    @property
    def replica_session(self) -> ReadSession:
        """For visitors, who may see what was true a moment ago."""
        return self._replica_session or self.read_session

    @property
    def has_replicas(self) -> bool:
        return self._read_url is not None

    @property
    def replica_failure(self) -> str | None:
        """Why visitors read from the primary although there should be standbys."""
        return self._replica_session.failure if self._replica_session else None

    async def open_dedicated_connection(self, application_name: str) -> asyncpg.Connection:
        """One past a pooler and beside the pools, for whoever listens on it for long; the caller closes it."""
        return await connect_dedicated(self._direct_url, application_name)

    def probe_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """As `transaction`, on the one connection beside the pools: for whoever looks how PostgreSQL is while they may be full."""
        if self._probe_pool is None:
            raise RuntimeError(NOT_OPEN_MESSAGE)
        return TransactionFactory(self._probe_pool).transaction()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Returning commits, raising rolls back.

        Raises `Conflict` where the whole unit of work may be tried again, `Unavailable` where PostgreSQL
        is away, overloaded, or somebody holds a lock for too long.
        """
        if self._transactions is None:
            raise RuntimeError(NOT_OPEN_MESSAGE)
        return self._transactions.transaction()
