"""A transaction commits on return and rolls back on an error. Only then its connection is reused."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import nullcontext
from typing import Any

import asyncpg
import pytest
from sqlalchemy import Integer, column, insert, table, text

from domain.shop import Shop
from persistence.postgres.database import Database, PoolSettings, Transaction
from persistence.postgres.errors import Conflict, Unavailable
from persistence.postgres.pool import PoolConnection
from persistence.postgres.statements import Command
from tests.support.database.locks import wait_for_blocked

ROWS_TABLE = table("numbers", column("number", Integer()))
INSERT_ROW = Command(insert(ROWS_TABLE))
COUNT_ROWS = "SELECT count(*) FROM numbers"
LOCK_TABLE = Command(text("LOCK TABLE numbers IN ACCESS EXCLUSIVE MODE"))
COUNT_IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state LIKE 'idle in transaction%'"


@pytest.fixture
async def database(database_url: str, shop: Shop, postgres: asyncpg.Connection) -> AsyncIterator[Database]:
    """Open a database with one connection and a table of unique numbers."""
    await postgres.execute("CREATE TABLE numbers (number int UNIQUE)")
    async with Database(database_url, PoolSettings(size=1, max_overflow=0)) as database:
        yield database
    await postgres.execute("DROP TABLE numbers")


async def get_pid(database: Database) -> int:
    """Return the process id of the pool's only connection, which must not be in a transaction."""
    async with database.transaction() as tx:
        assert await tx.driver_connection.fetchval("SELECT count(*) FROM numbers") is not None
        return tx.driver_connection.get_server_pid()


async def test_returning_commits_and_raising_rolls_back(database: Database, postgres: asyncpg.Connection) -> None:
    async with database.transaction() as tx:
        await tx.execute(INSERT_ROW, number=1)
        assert await postgres.fetchval(COUNT_ROWS) == 0
    assert await postgres.fetchval(COUNT_ROWS) == 1
    pid = await get_pid(database)

    async def raise_inside() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=2)
            raise LookupError

    with pytest.raises(LookupError):
        await raise_inside()
    assert await postgres.fetchval(COUNT_IN_TRANSACTION, pid) == 0
    assert await postgres.fetchval(COUNT_ROWS) == 1
    assert await get_pid(database) == pid


async def test_affected_row_count(database: Database) -> None:
    async with database.transaction() as tx:
        assert await tx.execute(LOCK_TABLE) == 0
        assert await tx.execute(Command(text("INSERT INTO numbers SELECT generate_series(1, 12)"))) == 12
        assert await tx.execute(Command(text("UPDATE numbers SET number = -number WHERE number <= 3"))) == 3
        assert await tx.execute(Command(text("DELETE FROM numbers WHERE number > 100"))) == 0


async def test_bulk_insert_is_all_or_nothing(database: Database, postgres: asyncpg.Connection) -> None:
    async def add_rows(*values: int) -> None:
        async with database.transaction() as tx:
            await tx.execute_many(INSERT_ROW, [{"number": number} for number in values])

    with pytest.raises(asyncpg.UniqueViolationError):
        await add_rows(1, 2, 1)
    assert await postgres.fetchval(COUNT_ROWS) == 0
    await add_rows(1, 2, 3)
    await add_rows()
    assert await postgres.fetchval(COUNT_ROWS) == 3


async def test_swallowed_failure_is_reported(database: Database, postgres: asyncpg.Connection) -> None:
    async def swallow_error() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=1)
            with pytest.raises(asyncpg.UniqueViolationError):
                await tx.execute(INSERT_ROW, number=1)

    with pytest.raises(RuntimeError, match="rolled back"):
        await swallow_error()
    assert await postgres.fetchval(COUNT_ROWS) == 0


@pytest.mark.parametrize("in_statement", [True, False], ids=["in a statement", "between statements"])
async def test_cancelled_transaction_rolls_back(
    database: Database, postgres: asyncpg.Connection, in_statement: bool
) -> None:
    pid = await get_pid(database)
    is_started = asyncio.Event()

    async def run_transaction() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=1)
            is_started.set()
            await (tx.execute(LOCK_TABLE) if in_statement else asyncio.sleep(60))

    async with postgres.transaction():
        await postgres.execute("LOCK TABLE numbers IN SHARE UPDATE EXCLUSIVE MODE")
        task = asyncio.create_task(run_transaction())
        await is_started.wait()
        if in_statement:
            await wait_for_blocked(postgres, 1)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()
        assert await get_pid(database) == pid  # reused while the lock is still held
    assert await postgres.fetchval(COUNT_ROWS) == 0


async def test_connection_is_reused_after_cancelled_commit(database: Database, postgres: asyncpg.Connection) -> None:
    await postgres.execute("""
        CREATE FUNCTION wait_for_lock() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON numbers DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait_for_lock()""")
    try:
        pid = await get_pid(database)

        async def add_rows() -> None:
            async with database.transaction() as tx:
                await tx.execute(INSERT_ROW, number=1)

        async with postgres.transaction():
            await postgres.execute("SELECT pg_advisory_xact_lock(4711)")
            task = asyncio.create_task(add_rows())
            await wait_for_blocked(postgres, 1)
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            assert task.cancelled()
            assert await get_pid(database) == pid
        assert await postgres.fetchval(COUNT_ROWS) == 0
    finally:
        await postgres.execute("DROP TRIGGER slow ON numbers; DROP FUNCTION wait_for_lock")


@pytest.mark.parametrize(("lost_count", "succeeds"), [(1, True), (2, False)])
async def test_dead_idle_connection_is_replaced_once(
    database: Database, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, lost_count: int, succeeds: bool
) -> None:
    execute, attempts = PoolConnection.execute, itertools.count(1)

    async def fail_on_begin(self: PoolConnection, query: str, *arguments: Any) -> str:
        if query == "BEGIN" and next(attempts) <= lost_count:
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return await execute(self, query, *arguments)

    async def add_rows() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=1)

    monkeypatch.setattr(PoolConnection, "execute", fail_on_begin)
    with nullcontext() if succeeds else pytest.raises(Conflict):
        await add_rows()
    assert await postgres.fetchval(COUNT_ROWS) == int(succeeds)


async def test_a_connection_lost_before_the_commit_is_a_conflict(
    database: Database, postgres: asyncpg.Connection
) -> None:
    async def lose_connection() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=1)
            await postgres.fetchval("SELECT pg_terminate_backend($1, 5000)", tx.driver_connection.get_server_pid())
            await tx.execute(INSERT_ROW, number=2)

    with pytest.raises(Conflict):
        await lose_connection()
    assert await postgres.fetchval(COUNT_ROWS) == 0
    assert await get_pid(database)


async def test_stale_plan_after_migration_is_retried_once(database: Database, postgres: asyncpg.Connection) -> None:
    select_all = Command(text("SELECT * FROM numbers WHERE number > :minimum").bindparams(minimum=0))

    async def read_rows() -> None:
        async with database.transaction() as tx:
            await tx.fetch_records(select_all)

    await read_rows()
    await postgres.execute("ALTER TABLE numbers ADD color text")
    with pytest.raises(Conflict):
        await read_rows()
    await read_rows()


async def test_exhausted_pool_is_reported(database_url: str, database: Database) -> None:
    settings = PoolSettings(size=1, max_overflow=0, timeout_seconds=1)

    async def begin(database_with_timeout: Database) -> Transaction:
        async with database_with_timeout.transaction() as tx:
            return tx

    async with Database(database_url, settings) as database_with_timeout:
        with pytest.raises(Unavailable):
            async with database_with_timeout.transaction():
                await begin(database_with_timeout)


async def test_transaction_requires_an_open_database(database_url: str) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        Database(database_url).transaction()
