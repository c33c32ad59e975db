"""PostgreSQL as the shop knows it: `Reading`, a fast lane that cannot write, and `Transaction`, the only thing that can."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Self, TypeVar

import asyncpg
from asyncpg.connection import LoggedQuery

from persistence.browsing import Browsing, StandbyLender, Standbys
from persistence.connecting import connect, connect_directly
from persistence.faults import Conflict, fault_of, is_lost, is_read_only
from persistence.lending import ConnectionLost, Lender, LentConnection
from persistence.query import Command, Query
from persistence.reading import DRIVER_ERRORS, SECOND_TRY, STATEMENT_ERRORS
from persistence.reading import Reading as Reading

T = TypeVar("T")
Connect = Callable[..., Awaitable[LentConnection]]
Listener = Callable[[LoggedQuery], None]

OF_WAITING = 0.8
"""How much of the time for which somebody waits for a connection may be spent on opening it: there has to be an answer before."""
NOT_OPEN = "Database is not open: use `async with database`."


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
            except ConnectionLost:  # it may have died idle; nothing has been asked of it
                await asyncio.sleep(SECOND_TRY)
                return await self._begun_once()
        except ConnectionLost as error:
            raise Conflict from error.__cause__
        except DRIVER_ERRORS as error:
            raise fault_of(error) from error

    async def _begun_once(self) -> LentConnection:
        """Raises `ConnectionLost`, or whatever else the driver raises."""
        connection = await self._lender.borrow()
        try:
            await connection.execute(connection.begin)
        except Exception as error:
            connection.terminate()
            self._lender.give_back(connection)
            if is_lost(error):
                raise ConnectionLost from error
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
        prepared: bool = True,
        listener: Listener | None = None,
    ) -> None:
        self._listener = listener
        self._url, self._read_url, self._direct_url = url, read_url, direct_url or url
        self._settings = pool or PoolSettings()
        self._prepared = prepared
        self._reading: Reading | None = None
        self._browsing: Browsing | None = None
        self._writing: Writing | None = None
        self._aside: Lender | None = None
        self.lenders: dict[str, Lender] = {}
        """While it is open, by what they are for."""

    async def __aenter__(self) -> Self:
        within = self._settings.timeout_seconds * OF_WAITING
        opened = partial(connect, self._url, prepared=self._prepared, within=within)
        self._reading = Reading(*self._readers(partial(opened, read_only=True)))
        self._writing = Writing(self._lender("write", opened, self._settings.most))
        wait, idle = self._settings.timeout_seconds, self._settings.recycle_seconds
        self._aside = Lender(partial(opened, looks=True), 1, wait_seconds=wait, idle_seconds=idle)
        if self._read_url:
            standbys = Standbys(self._read_url, opened, prepared=self._prepared, within=within)
            readers = self._readers(standbys.connect, StandbyLender, "standby ")
            self._browsing = Browsing(*readers, self._reading, standbys)
            await standbys.asks_the_primary()  # who may be away when the first visitor comes
        return self

    def _readers(self, connect: Connect, kind: type[Lender] = Lender, where: str = "") -> tuple[Lender, Lender]:
        """One whose statements keep their plans, and one whose statements are planned each time."""
        keeping = partial(connect, plan_cache_mode="force_generic_plan")
        planning = partial(connect, plan_cache_mode="force_custom_plan")
        reader = self._lender(f"{where}read", keeping, self._settings.most, kind)
        return reader, self._lender(f"{where}search", planning, self._settings.size, kind)

    def _lender(self, name: str, connect: Connect, most: int, kind: type[Lender] = Lender) -> Lender:
        async def heard() -> LentConnection:
            connection = await connect()
            if self._listener is not None:
                connection.add_query_logger(self._listener)
            return connection

        wait, idle = self._settings.timeout_seconds, self._settings.recycle_seconds
        self.lenders[name] = kind(heard, most, wait_seconds=wait, idle_seconds=idle)
        return self.lenders[name]

    async def __aexit__(self, *_: object) -> None:
        if self._browsing is not None:
            self._browsing.close()
        for lender in self.lenders.values():
            await lender.close()
        if self._aside is not None:
            await self._aside.close()

    @property
    def reading(self) -> Reading:
        """For whoever may have written something."""
        if self._reading is None:
            raise RuntimeError(NOT_OPEN)
        return self._reading

    @property
    def browsing(self) -> Reading:
        """For visitors, who may see what was true a moment ago."""
        return self._browsing or self.reading

    @property
    def has_standbys(self) -> bool:
        return self._read_url is not None

    @property
    def standby_trouble(self) -> str | None:
        """Why visitors read from the primary although there should be standbys."""
        return self._browsing.trouble if self._browsing else None

    async def own_connection(self, name: str) -> asyncpg.Connection:
        """One past a pooler and beside the pools, for whoever listens on it for long; the caller closes it."""
        return await connect_directly(self._direct_url, name)

    def aside(self) -> AbstractAsyncContextManager[Transaction]:
        """As `transaction`, on the one connection beside the pools: for whoever looks how PostgreSQL is while they may be full."""
        if self._aside is None:
            raise RuntimeError(NOT_OPEN)
        return Writing(self._aside).transaction()

    def transaction(self) -> AbstractAsyncContextManager[Transaction]:
        """Returning commits, raising rolls back.

        Raises `Conflict` where the whole unit of work may be tried again, `Unavailable` where PostgreSQL
        is away, overloaded, or somebody holds a lock for too long.
        """
        if self._writing is None:
            raise RuntimeError(NOT_OPEN)
        return self._writing.transaction()
