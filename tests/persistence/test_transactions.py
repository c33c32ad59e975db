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
from persistence.database import Database, PoolSettings, Transaction
from persistence.faults import Conflict, Unavailable
from persistence.lending import LentConnection
from persistence.query import Command
from tests.locks import until_waiting

COPIES = table("copies", column("number", Integer()))
ADD = Command(insert(COPIES))
COUNT = "SELECT count(*) FROM copies"
LOCK = Command(text("LOCK TABLE copies IN ACCESS EXCLUSIVE MODE"))
IN_TRANSACTION = "SELECT count(*) FROM pg_stat_activity WHERE pid = $1 AND state LIKE 'idle in transaction%'"


@pytest.fixture
async def database(database_url: str, shop: Shop, postgres: asyncpg.Connection) -> AsyncIterator[Database]:
    """With one connection, and a table of numbers of which none may be there twice."""
    await postgres.execute("CREATE TABLE copies (number int UNIQUE)")
    async with Database(database_url, PoolSettings(size=1, max_overflow=0)) as database:
        yield database
    await postgres.execute("DROP TABLE copies")


async def pid_of(database: Database) -> int:
    """Of the connection that is lent next, which is outside of any transaction."""
    async with database.transaction() as tx:
        assert await tx.driver.fetchval("SELECT count(*) FROM copies") is not None
        return tx.driver.get_server_pid()


async def test_returning_commits_and_raising_rolls_back(database: Database, postgres: asyncpg.Connection) -> None:
    async with database.transaction() as tx:
        await tx.run(ADD, number=1)
        assert await postgres.fetchval(COUNT) == 0
    assert await postgres.fetchval(COUNT) == 1
    pid = await pid_of(database)

    async def thinks_better_of_it() -> None:
        async with database.transaction() as tx:
            await tx.run(ADD, number=2)
            raise LookupError

    with pytest.raises(LookupError):
        await thinks_better_of_it()
    assert await postgres.fetchval(IN_TRANSACTION, pid) == 0
    assert await postgres.fetchval(COUNT) == 1
    assert await pid_of(database) == pid


async def test_how_many_rows_were_touched(database: Database) -> None:
    async with database.transaction() as tx:
        assert await tx.run(LOCK) == 0
        assert await tx.run(Command(text("INSERT INTO copies SELECT generate_series(1, 12)"))) == 12
        assert await tx.run(Command(text("UPDATE copies SET number = -number WHERE number <= 3"))) == 3
        assert await tx.run(Command(text("DELETE FROM copies WHERE number > 100"))) == 0


async def test_many_rows_are_all_there_or_none(database: Database, postgres: asyncpg.Connection) -> None:
    async def adds(*numbers: int) -> None:
        async with database.transaction() as tx:
            await tx.run_for_each(ADD, [{"number": number} for number in numbers])

    with pytest.raises(asyncpg.UniqueViolationError):
        await adds(1, 2, 1)
    assert await postgres.fetchval(COUNT) == 0
    await adds(1, 2, 3)
    await adds()
    assert await postgres.fetchval(COUNT) == 3


async def test_a_failure_that_was_passed_over_is_told(database: Database, postgres: asyncpg.Connection) -> None:
    async def passes_over() -> None:
        async with database.transaction() as tx:
            await tx.run(ADD, number=1)
            with pytest.raises(asyncpg.UniqueViolationError):
                await tx.run(ADD, number=1)

    with pytest.raises(RuntimeError, match="rolled back"):
        await passes_over()
    assert await postgres.fetchval(COUNT) == 0


@pytest.mark.parametrize("busy", [True, False], ids=["in a statement", "between statements"])
async def test_given_up_in_the_middle_nothing_is_left(
    database: Database, postgres: asyncpg.Connection, busy: bool
) -> None:
    pid = await pid_of(database)
    under_way = asyncio.Event()

    async def hesitates() -> None:
        async with database.transaction() as tx:
            await tx.run(ADD, number=1)
            under_way.set()
            await (tx.run(LOCK) if busy else asyncio.sleep(60))

    async with postgres.transaction():
        await postgres.execute("LOCK TABLE copies IN SHARE UPDATE EXCLUSIVE MODE")
        hesitating = asyncio.create_task(hesitates())
        await under_way.wait()
        if busy:
            await until_waiting(postgres, 1)
        hesitating.cancel()
        await asyncio.gather(hesitating, return_exceptions=True)
        assert hesitating.cancelled()
        assert await pid_of(database) == pid  # lent again while the lock is still held
    assert await postgres.fetchval(COUNT) == 0


async def test_given_up_while_committing_the_connection_is_lent_again(
    database: Database, postgres: asyncpg.Connection
) -> None:
    await postgres.execute("""
        CREATE FUNCTION wait_for_it() RETURNS trigger LANGUAGE plpgsql AS $$
        BEGIN PERFORM pg_advisory_xact_lock(4711); RETURN NULL; END $$;
        CREATE CONSTRAINT TRIGGER slow AFTER INSERT ON copies DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW EXECUTE FUNCTION wait_for_it()""")
    try:
        pid = await pid_of(database)

        async def adds() -> None:
            async with database.transaction() as tx:
                await tx.run(ADD, number=1)

        async with postgres.transaction():
            await postgres.execute("SELECT pg_advisory_xact_lock(4711)")
            adding = asyncio.create_task(adds())
            await until_waiting(postgres, 1)
            adding.cancel()
            await asyncio.gather(adding, return_exceptions=True)
            assert adding.cancelled()
            assert await pid_of(database) == pid
        assert await postgres.fetchval(COUNT) == 0
    finally:
        await postgres.execute("DROP TRIGGER slow ON copies; DROP FUNCTION wait_for_it")


@pytest.mark.parametrize(("dead", "begins"), [(1, True), (2, False)])
async def test_a_connection_that_died_idle_is_replaced_once(
    database: Database, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch, dead: int, begins: bool
) -> None:
    execute, asked = LentConnection.execute, itertools.count(1)

    async def found_out(self: LentConnection, query: str, *arguments: Any) -> str:
        if query == "BEGIN" and next(asked) <= dead:
            self.terminate()
            raise asyncpg.ConnectionDoesNotExistError("connection was closed in the middle of operation")
        return await execute(self, query, *arguments)

    async def adds() -> None:
        async with database.transaction() as tx:
            await tx.run(ADD, number=1)

    monkeypatch.setattr(LentConnection, "execute", found_out)
    with nullcontext() if begins else pytest.raises(Conflict):
        await adds()
    assert await postgres.fetchval(COUNT) == int(begins)


async def test_a_connection_lost_before_the_commit_is_a_conflict(
    database: Database, postgres: asyncpg.Connection
) -> None:
    async def is_killed() -> None:
        async with database.transaction() as tx:
            await tx.run(ADD, number=1)
            await postgres.fetchval("SELECT pg_terminate_backend($1, 5000)", tx.driver.get_server_pid())
            await tx.run(ADD, number=2)

    with pytest.raises(Conflict):
        await is_killed()
    assert await postgres.fetchval(COUNT) == 0
    assert await pid_of(database)


async def test_a_plan_that_a_migration_made_stale_is_a_conflict_once(
    database: Database, postgres: asyncpg.Connection
) -> None:
    everything = Command(text("SELECT * FROM copies WHERE number > :least").bindparams(least=0))

    async def looks() -> None:
        async with database.transaction() as tx:
            await tx.rows(everything)

    await looks()
    await postgres.execute("ALTER TABLE copies ADD colour text")
    with pytest.raises(Conflict):
        await looks()
    await looks()


async def test_whoever_finds_no_connection_is_told(database_url: str, database: Database) -> None:
    settings = PoolSettings(size=1, max_overflow=0, timeout_seconds=1)

    async def begins(impatient: Database) -> Transaction:
        async with impatient.transaction() as tx:
            return tx

    async with Database(database_url, settings) as impatient:
        with pytest.raises(Unavailable):
            async with impatient.transaction():
                await begins(impatient)


async def test_it_begins_on_an_open_database_only(database_url: str) -> None:
    with pytest.raises(RuntimeError, match="not open"):
        Database(database_url).transaction()
