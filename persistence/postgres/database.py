"""The database: read sessions that cannot write, and transactions that can."""

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
"""The share of the pool timeout that opening a connection may take, so that the caller gets an answer in time."""
NOT_OPEN_MESSAGE = "Database is not open: use `async with database`."


@dataclass(frozen=True, slots=True)
class PoolSettings:
    """The number of connections of a process for writes, and the same number again for reads."""

    size: int = 5
    max_overflow: int = 10
    recycle_seconds: int = 1800
    timeout_seconds: float = 2.0

    @property
    def max_size(self) -> int:
        """The maximum number of connections."""
        return self.size + self.max_overflow


class Transaction:
    """A transaction: its statements are committed together, or not at all."""

    __slots__ = ("_pool", "driver_connection")

    def __init__(self, driver_connection: asyncpg.Connection, pool: ConnectionPool) -> None:
        self._pool = pool
        self.driver_connection = driver_connection
        """The asyncpg connection of this transaction, for libraries that use the driver directly."""

    async def all(self, query: Query[T], **parameters: Any) -> list[T]:
        """Return all rows."""
        row_factory = query.row_factory
        return [row_factory(*record) for record in await self._fetch(query.sql, query.bind(parameters))]

    async def first(self, query: Query[T], **parameters: Any) -> T | None:
        """Return the first row, or `None`."""
        records = await self._fetch(query.sql, query.bind(parameters))
        return query.row_factory(*records[0]) if records else None

    async def scalar(self, command: Command, /, **parameters: Any) -> Any:
        """Return the first column of the first row, or `None`."""
        records = await self.fetch_records(command, **parameters)
        return records[0][0] if records else None

    async def scalars(self, command: Command, /, **parameters: Any) -> list[Any]:
        """Return the first column of every row."""
        return [record[0] for record in await self.fetch_records(command, **parameters)]

    async def fetch_records(self, command: Command, /, **parameters: Any) -> list[asyncpg.Record]:
        """Run a command; return what it returns."""
        return await self._fetch(*command.bind(parameters))

    async def execute(self, command: Command, /, **parameters: Any) -> int:
        """Run a command; return the number of affected rows."""
        sql, arguments = command.bind(parameters)
        self._pool.statement_count += 1
        *_, row_count = (await self.driver_connection.execute(sql, *arguments)).split()
        return int(row_count) if row_count.isdigit() else 0

    async def execute_many(self, command: Command, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run a command once per row of parameters, which all have the same names."""
        if rows:
            bound_rows = [command.bind(row) for row in rows]
            [sql] = {sql for sql, _ in bound_rows}
            self._pool.statement_count += len(rows)
            await self.driver_connection.executemany(sql, [arguments for _, arguments in bound_rows])

    async def _fetch(self, sql: str, arguments: list[Any]) -> list[asyncpg.Record]:
        self._pool.statement_count += 1
        return await self.driver_connection.fetch(sql, *arguments)


class TransactionFactory:
    """Starts transactions, each on a connection that it acquires for it."""

    __slots__ = ("_pool",)

    def __init__(self, pool: ConnectionPool) -> None:
        self._pool = pool

    @asynccontextmanager
    async def transaction(self) -> AsyncIterator[Transaction]:
        """Commit on return, roll back on an exception. Raises `Conflict` or `Unavailable`."""
        connection = await self._begin()
        try:
            try:
                yield Transaction(connection, self._pool)
            except STATEMENT_ERRORS as error:
                if is_connection_lost(error) or is_read_only(error) or isinstance(error, TimeoutError):
                    connection.terminate()  # a new connection may lead to the new primary
                if is_connection_lost(error) or isinstance(error, asyncpg.InvalidCachedStatementError):
                    raise Conflict from error
                raise translate_error(error) from error
            await self._commit(connection)
        except Exception:
            await self._roll_back(connection)
            raise
        finally:
            if connection.has_open_transaction:  # a statement was cancelled
                self._pool.release_after_reset(connection)
            else:
                self._pool.release(connection)

    async def _begin(self) -> PoolConnection:
        try:
            try:
                return await self._begin_once()
            except ConnectionLost:  # it may have died idle, before any statement
                await asyncio.sleep(RETRY_DELAY)
                return await self._begin_once()
        except ConnectionLost as error:
            raise Conflict from error.__cause__
        except DRIVER_ERRORS as error:
            raise translate_error(error) from error

    async def _begin_once(self) -> PoolConnection:
        """Acquire a connection and begin. Raises `ConnectionLost` or the driver's errors."""
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
        """Commit, without a retry: when the response is lost, the outcome is unknown."""
        try:
            status = await connection.execute("COMMIT")
        except STATEMENT_ERRORS as error:
            if is_connection_lost(error) or isinstance(error, TimeoutError):
                connection.terminate()
            raise translate_error(error) from error
        if status != "COMMIT":
            raise RuntimeError("A failed statement was ignored, so PostgreSQL rolled back the transaction.")

    async def _roll_back(self, connection: PoolConnection) -> None:
        if connection.has_open_transaction:
            try:
                await connection.execute("ROLLBACK")
            except STATEMENT_ERRORS:
                connection.terminate()  # PostgreSQL rolls back by itself


class Database:
    """The pools of a process. Open it with `async with`.

    `read_url` leads to replicas for anonymous reads; `direct_url` bypasses PgBouncer, which needs
    `use_prepared_statements=False`. `query_logger` is called after each statement.
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
        """The open pools, by purpose."""

    async def __aenter__(self) -> Self:
        connect_timeout = self._settings.timeout_seconds * CONNECT_SHARE_OF_TIMEOUT
        connect_to_primary = partial(
            connect, self._url, use_prepared_statements=self._use_prepared_statements, timeout=connect_timeout
        )
        self._read_session = ReadSession(*self._create_read_pools(partial(connect_to_primary, read_only=True)))
        self._transactions = TransactionFactory(self._create_pool("write", connect_to_primary, self._settings.max_size))
        self._probe_pool = self._build_pool(partial(connect_to_primary, probe=True), 1)
        if self._read_url:
            connector = ReplicaConnector(
                self._read_url,
                connect_to_primary,
                use_prepared_statements=self._use_prepared_statements,
                timeout=connect_timeout,
            )
            replica_pools = self._create_read_pools(connector.connect, ReplicaPool, "standby ")
            self._replica_session = ReplicaReader(*replica_pools, self._read_session, connector)
            await connector.refresh_primary_identity()  # the primary may be unreachable later
        return self

    def _create_read_pools(
        self, connect: ConnectFunction, pool_class: type[ConnectionPool] = ConnectionPool, name_prefix: str = ""
    ) -> tuple[ConnectionPool, ConnectionPool]:
        """Create a pool whose statements keep generic plans, and one whose statements are planned each time."""
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

        self.pools[name] = self._build_pool(connect_logged, max_size, pool_class)
        return self.pools[name]

    def _build_pool(
        self, connect: ConnectFunction, max_size: int, pool_class: type[ConnectionPool] = ConnectionPool
    ) -> ConnectionPool:
        timeout, max_idle = self._settings.timeout_seconds, self._settings.recycle_seconds
        return pool_class(connect, max_size, timeout=timeout, max_idle=max_idle)

    async def __aexit__(self, *_: object) -> None:
        if self._replica_session is not None:
            self._replica_session.close()
        for pool in self.pools.values():
            await pool.close()
        if self._probe_pool is not None:
            await self._probe_pool.close()

    @property
    def read_session(self) -> ReadSession:
        """Reads from the primary, for callers who may have written something."""
        if self._read_session is None:
            raise RuntimeError(NOT_OPEN_MESSAGE)
        return self._read_session

    @property
    def replica_session(self) -> ReadSession:
        """Reads for anonymous callers, from replicas where there are any; the data may be a moment old."""
        return self._replica_session or self.read_session

    @property
    def has_replicas(self) -> bool:
        """Whether a URL of replicas is configured."""
        return self._read_url is not None

    @property
    def replica_failure(self) -> str | None:
        """Why anonymous reads go to the primary although replicas are configured, or `None`."""
        return self._replica_session.failure if self._replica_session else None

    async def open_dedicated_connection(self, application_name: str) -> asyncpg.Connection:
        """Open a long-lived connection outside the pools and past PgBouncer; the caller closes it."""
        return await connect_dedicated(self._direct_url, application_name)

    def probe_transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction on a connection outside the pools, for health checks while the pools may be full."""
        if self._probe_pool is None:
            raise RuntimeError(NOT_OPEN_MESSAGE)
        return TransactionFactory(self._probe_pool).transaction()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Begin a transaction: returning commits, raising rolls back.

        Raises:
            Conflict: The whole unit of work can be repeated.
            Unavailable: PostgreSQL is unreachable or overloaded, or a lock was not released in time.
        """
        if self._transactions is None:
            raise RuntimeError(NOT_OPEN_MESSAGE)
        return self._transactions.transaction()
