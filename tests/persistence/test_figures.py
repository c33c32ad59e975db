"""What is asked of the database for whoever watches: it is right, and an index serves each of it."""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from persistence import figures, letters
from persistence.faults import Unavailable
from persistence.figures import Waiting, find_figures
from persistence.letters import LetterKind, LetterStatus
from persistence.query import Query
from tests.databases import created
from tests.factories import add_book, add_member
from tests.plans import nodes
from tests.purchases import bought

NOTHING = Waiting(0, 0.0)
HOUR = dt.timedelta(hours=1)
ROWS, FEW = 20_000, 10
A_YEAR = (
    """INSERT INTO users (id, email, display_name) SELECT gen_random_uuid(), 'reader@example.com', 'Reader'
    WHERE $1::int > 0""",
    """INSERT INTO orders (id, number, user_id, status, total, total_quantity, currency, idempotency_key, input_digest,
        placed_at, refund_due_at)
    SELECT gen_random_uuid(), n, users.id, CASE WHEN n % 100 = 0 THEN 'PENDING' ELSE 'CONFIRMED' END, 1, 1, 'EUR', n, '',
        now() - n * interval '365 days' / $1, CASE WHEN n % 100 = 1 THEN now() END
    FROM users, generate_series(1, $1::int) AS n""",
    """INSERT INTO letters (id, kind, subject_id, user_id, status, settled_at)
    SELECT gen_random_uuid(), 'BOOK_BACK', gen_random_uuid(), users.id,
        CASE WHEN n % 100 = 0 THEN 'FAILED' ELSE 'SENT' END, now() - n * interval '365 days' / $1
    FROM users, generate_series(1, $1::int) AS n""",
    """INSERT INTO pgqueuer (priority, status, entrypoint)
    SELECT n % 3, 'queued', 'letter' FROM generate_series(1, $1::int) AS n""",
)
QUERIES = {name: query for name, query in vars(figures).items() if isinstance(query, Query)}


async def test_an_empty_shop(shop: Shop, database_url: str) -> None:
    found = await find_figures(database_url)
    assert (found.queued_letters, found.failed_letters, found.pending_orders, found.due_refunds) == (NOTHING,) * 4
    assert found.orders == {"PENDING": 0, "CONFIRMED": 0, "PAYMENT_FAILED": 0, "SHIPPED": 0, "CANCELLED": 0}
    assert found.takes_writes


async def test_a_lock_that_keeps_carts_as_they_are_hides_nothing_else(
    shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with postgres.transaction():
        await postgres.execute("LOCK TABLE carts")
        found = await find_figures(database_url)
    assert not found.takes_writes
    assert found.queued_letters == NOTHING


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


# ── However large the tables are ──────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
async def large(server_url: str, migrated: str) -> AsyncIterator[asyncpg.Connection]:
    """A shop that has been open for a year, in which a hundredth of everything waits, and letters that were never taken up."""
    async with created(server_url, migrated) as url:
        connection = await asyncpg.connect(url)
        for statement in A_YEAR:
            await connection.execute(statement, ROWS)
        await connection.execute("ANALYZE")
        yield connection
        await connection.close()


async def explained(connection: asyncpg.Connection, sql: str, *options: str) -> list[dict[str, Any]]:
    told = await connection.fetchval(f"EXPLAIN ({', '.join((*options, 'FORMAT JSON'))}) {sql}")
    return list(nodes(json.loads(told)))


def scans(plan: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [node for node in plan if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan"]


@pytest.mark.parametrize("name", QUERIES)
async def test_no_table_is_read_from_end_to_end(large: asyncpg.Connection, name: str) -> None:
    plan = await explained(large, QUERIES[name].sql)
    assert scans(plan)
    assert [node["Node Type"] for node in scans(plan) if "Index" not in node["Node Type"]] == []


@pytest.mark.parametrize("name", QUERIES)
async def test_no_more_is_read_than_is_counted(large: asyncpg.Connection, name: str) -> None:
    """In the order of an index, so that nothing has to be read to be sorted."""
    sql = QUERIES[name].sql.replace(str(figures.MOST_COUNTED), str(FEW))
    plan = await explained(large, sql, "ANALYZE", "TIMING OFF")
    assert [node["Actual Rows"] * node["Actual Loops"] for node in scans(plan)] == [FEW]
    assert [node.get("Rows Removed by Filter", 0) for node in scans(plan)] == [0]


async def test_it_would_be_seen(large: asyncpg.Connection) -> None:
    sql = f"SELECT count(*) FROM (SELECT FROM orders WHERE status = 'CONFIRMED' ORDER BY total LIMIT {FEW}) AS first"
    [scan] = scans(await explained(large, sql, "ANALYZE", "TIMING OFF"))
    assert scan["Node Type"] == "Seq Scan"
    assert scan["Actual Rows"] > FEW


async def test_a_database_that_is_not_there_is_told() -> None:
    with pytest.raises(Unavailable):
        await find_figures("postgresql://nobody@127.0.0.1:1/nothing")
