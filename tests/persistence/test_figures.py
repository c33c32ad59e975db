"""What is asked of the database for whoever watches: it is right, and an index serves each of it."""

import datetime as dt
import uuid

import asyncpg
import pytest

from domain.shop import Shop
from persistence import figures, letters
from persistence.faults import Unavailable
from persistence.figures import Waiting, find_figures
from persistence.letters import LetterKind, LetterStatus
from persistence.query import Query
from tests.factories import add_book, add_member
from tests.purchases import bought

NOTHING = Waiting(0, 0.0)
HOUR = dt.timedelta(hours=1)
QUERIES = {name: query for name, query in vars(figures).items() if isinstance(query, Query)}


async def test_an_empty_shop(shop: Shop, database_url: str) -> None:
    found = await find_figures(database_url)
    assert (found.queued_letters, found.failed_letters, found.pending_orders, found.due_refunds) == (NOTHING,) * 4
    assert found.orders == {"PENDING": 0, "CONFIRMED": 0, "PAYMENT_FAILED": 0, "SHIPPED": 0, "CANCELLED": 0}


async def test_orders_of_a_day(shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    book, member, now = await add_book(shop), await add_member(shop), dt.datetime.now(dt.UTC)
    for status, hours in (("CONFIRMED", 1), ("CONFIRMED", 23), ("CONFIRMED", 25), ("SHIPPED", 2), ("PENDING", 30)):
        await bought(postgres, member, (book, 1), status=status, at=now - hours * HOUR)
    await postgres.execute("UPDATE orders SET refund_due_at = now() - interval '3 hours' WHERE status = 'SHIPPED'")
    found = await find_figures(database_url)
    assert found.orders == {"PENDING": 0, "CONFIRMED": 2, "PAYMENT_FAILED": 0, "SHIPPED": 1, "CANCELLED": 0}
    assert (found.pending_orders.count, found.due_refunds.count) == (1, 1)
    assert found.pending_orders.seconds >= 30 * 3600 - 1
    assert found.due_refunds.seconds >= 3 * 3600 - 1


async def test_letters_that_wait_and_that_were_given_up(
    shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    member = await add_member(shop)
    async with shop.database.transaction() as tx:
        await letters.add_letters(tx, LetterKind.BOOK_BACK, [(uuid.uuid4(), member.id) for _ in range(3)])
    given_up = await postgres.fetchval("SELECT id FROM letters LIMIT 1")
    async with shop.database.transaction() as tx:
        await letters.settle_letter(tx, uuid.UUID(str(given_up)), LetterStatus.FAILED, "Nobody here")
    await postgres.execute("DELETE FROM pgqueuer WHERE payload = convert_to($1::text, 'UTF8')", str(given_up))
    await postgres.execute(
        "UPDATE pgqueuer SET created = now() - interval '1 hour' WHERE id = (SELECT min(id) FROM pgqueuer)"
    )
    found = await find_figures(database_url)
    assert (found.queued_letters.count, found.failed_letters.count) == (2, 1)
    assert found.queued_letters.seconds >= 3599


async def test_more_than_may_be_counted_are_not(shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    await postgres.execute(
        """INSERT INTO pgqueuer (priority, status, entrypoint)
        SELECT 0, 'queued', 'letter' FROM generate_series(1, $1)""",
        figures.MOST_COUNTED + 1,
    )
    assert (await find_figures(database_url)).queued_letters.count == figures.MOST_COUNTED


@pytest.mark.parametrize("name", QUERIES)
async def test_no_table_is_read_from_end_to_end(shop: Shop, database_url: str, name: str) -> None:
    """Small tables are: so PostgreSQL is told to read them otherwise, where it can."""
    connection = await asyncpg.connect(database_url)
    try:
        await connection.execute("SET enable_seqscan = off; SET enable_sort = off; SET enable_bitmapscan = off")
        plan = "\n".join(record[0] for record in await connection.fetch(f"EXPLAIN {QUERIES[name].sql}"))
    finally:
        await connection.close()
    assert "Index" in plan
    assert "Seq Scan" not in plan
    assert "Limit" in plan


async def test_a_database_that_is_not_there_is_told() -> None:
    with pytest.raises(Unavailable):
        await find_figures("postgresql://nobody@127.0.0.1:1/nothing")
