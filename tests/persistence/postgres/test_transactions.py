"""Returning commits, raising rolls back; a connection is lent again when it is known to be outside of any transaction."""

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

ROWS_TABLE = table("copies", column("number", Integer()))
INSERT_ROW = Command(insert(ROWS_TABLE))
COUNT = "SELECT count(*) FROM copies"
LOCK_TABLE = Command(text("LOCK TABLE copies IN ACCESS EXCLUSIVE MODE"))
IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state LIKE 'idle in transaction%'"


@pytest.fixture
async def database(database_url: str, shop: Shop, postgres: asyncpg.Connection) -> AsyncIterator[Database]:
    """With one connection, and a table of numbers of which none may be there twice."""
    await postgres.execute("CREATE TABLE copies (number int UNIQUE)")
    async with Database(database_url, PoolSettings(size=1, max_overflow=0)) as database:
        yield database
    await postgres.execute("DROP TABLE copies")


async def get_pid(database: Database) -> int:
    """Of the connection that is lent next, which is outside of any transaction."""
    async with database.transaction() as tx:
        assert await tx.driver_connection.fetchval("SELECT count(*) FROM copies") is not None
        return tx.driver_connection.get_server_pid()


async def test_returning_commits_and_raising_rolls_back(database: Database, postgres: asyncpg.Connection) -> None:
    async with database.transaction() as tx:
        await tx.execute(INSERT_ROW, number=1)
        assert await postgres.fetchval(COUNT) == 0
    assert await postgres.fetchval(COUNT) == 1
    pid = await get_pid(database)

    async def thinks_better_of_it() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=2)
            raise LookupError

    with pytest.raises(LookupError):
        await thinks_better_of_it()
    assert await postgres.fetchval(IN_TRANSACTION, pid) == 0
    assert await postgres.fetchval(COUNT) == 1
    assert await get_pid(database) == pid


async def test_affected_row_count(database: Database) -> None:
    async with database.transaction() as tx:
        assert await tx.execute(LOCK_TABLE) == 0
        assert await tx.execute(Command(text("INSERT INTO copies SELECT generate_series(1, 12)"))) == 12
        assert await tx.execute(Command(text("UPDATE copies SET number = -number WHERE number <= 3"))) == 3
        assert await tx.execute(Command(text("DELETE FROM copies WHERE number > 100"))) == 0


async def test_bulk_insert_is_all_or_nothing(database: Database, postgres: asyncpg.Connection) -> None:
    async def adds(*numbers: int) -> None:
        async with database.transaction() as tx:
            await tx.execute_many(INSERT_ROW, [{"number": number} for number in numbers])

    with pytest.raises(asyncpg.UniqueViolationError):
        await adds(1, 2, 1)
    assert await postgres.fetchval(COUNT) == 0
    await adds(1, 2, 3)
    await adds()
    assert await postgres.fetchval(COUNT) == 3


async def test_swallowed_failure_is_reported(database: Database, postgres: asyncpg.Connection) -> None:
    async def passes_over() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=1)
            with pytest.raises(asyncpg.UniqueViolationError):
                await tx.execute(INSERT_ROW, number=1)

    with pytest.raises(RuntimeError, match="rolled back"):
        await passes_over()
    assert await postgres.fetchval(COUNT) == 0


@pytest.mark.parametrize("busy", [True, False], ids=["in a statement", "between statements"])
async def test_cancelled_transaction_rolls_back(database: Database, postgres: asyncpg.Connection, busy: bool) -> None:
    pid = await get_pid(database)
    under_way = asyncio.Event()

    async def hesitates() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=1)
            under_way.set()
            await (tx.execute(LOCK_TABLE) if busy else asyncio.sleep(60))

    async with postgres.transaction():
        await postgres.execute("LOCK TABLE copies IN SHARE UPDATE EXCLUSIVE MODE")
        hesitating = asyncio.create_task(hesitates())
        await under_way.wait()
        if busy:
            await wait_for_blocked(postgres, 1)
        hesitating.cancel()
        await asyncio.gather(hesitating, return_exceptions=True)
        assert hesitating.cancelled()
        assert await get_pid(database) == pid  # lent again while the lock is still held
    assert await postgres.fetchval(COUNT) == 0


async def test_connection_is_reused_after_cancelled_commit(database: Database, postgres: asyncpg.Connection) -> None:
    await postgres.execute("""
        CREATE FUNCTION wait_for_it() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON copies DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait_for_it()""")
    try:
        pid = await get_pid(database)

        async def adds() -> None:
            async with database.transaction() as tx:
                await tx.execute(INSERT_ROW, number=1)

        async with postgres.transaction():
            await postgres.execute("SELECT pg_advisory_xact_lock(4711)")
            adding = asyncio.create_task(adds())
            await wait_for_blocked(postgres, 1)
            adding.cancel()
            await asyncio.gather(adding, return_exceptions=True)
            assert adding.cancelled()
            assert await get_pid(database) == pid
        assert await postgres.fetchval(COUNT) == 0
    finally:
        await postgres.execute("DROP TRIGGER slow ON copies; DROP FUNCTION wait_for_it")


@pytest.mark.parametrize(("dead", "begins"), [(1, True), (2, False)])
async def test_dead_idle_connection_is_replaced_once(
    database: Database, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, dead: int, begins: bool
) -> None:
    execute, asked = PoolConnection.execute, itertools.count(1)

    async def found_out(self: PoolConnection, query: str, *arguments: Any) -> str:
        if query == "BEGIN" and next(asked) <= dead:
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return await execute(self, query, *arguments)

    async def adds() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=1)

    monkeypatch.setattr(PoolConnection, "execute", found_out)
    with nullcontext() if begins else pytest.raises(Conflict):
        await adds()
    assert await postgres.fetchval(COUNT) == int(begins)


async def test_a_connection_lost_before_the_commit_is_a_conflict(
    database: Database, postgres: asyncpg.Connection
) -> None:
    async def is_killed() -> None:
        async with database.transaction() as tx:
            await tx.execute(INSERT_ROW, number=1)
            await postgres.fetchval("SELECT pg_terminate_backend($1, 5000)", tx.driver_connection.get_server_pid())
            await tx.execute(INSERT_ROW, number=2)

    with pytest.raises(Conflict):
        await is_killed()
    assert await postgres.fetchval(COUNT) == 0
    assert await get_pid(database)


async def test_stale_plan_after_migration_is_retried_once(database: Database, postgres: asyncpg.Connection) -> None:
    everything = Command(text("SELECT * FROM copies WHERE number > :least").bindparams(least=0))

    async def looks() -> None:
        async with database.transaction() as tx:
            await tx.fetch_records(everything)

    await looks()
    await postgres.execute("ALTER TABLE copies ADD colour text")
    with pytest.raises(Conflict):
        await looks()
    await looks()


async def test_exhausted_pool_is_reported(database_url: str, database: Database) -> None:
    settings = PoolSettings(size=1, max_overflow=0, timeout_seconds=1)

    async def begins(impatient: Database) -> Transaction:
        async with impatient.transaction() as tx:
            return tx

    async with Database(database_url, settings) as impatient:
        with pytest.raises(Unavailable):
            async with impatient.transaction():
                await begins(impatient)


async def test_transaction_requires_an_open_database(database_url: str) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        Database(database_url).transaction()
