"""The backlog is measured correctly, and each query reads a bounded number of rows by an index."""

import datetime as dt
import json
import uuid
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from persistence import backlog, emails
from persistence.backlog import QueueDepth, measure_backlog
from persistence.emails import EmailKind, EmailStatus
from persistence.postgres.errors import Unavailable
from persistence.postgres.statements import Query
from tests.support.database.databases import temporary_database
from tests.support.database.explain import iterate_plan_nodes
from tests.support.shop.factories import add_book, add_user
from tests.support.shop.past_orders import add_past_order

EMPTY_QUEUE = QueueDepth(0, 0.0)
HOUR = dt.timedelta(hours=1)
ROW_COUNT, SMALL_CAP = 20_000, 10
SEED_STATEMENTS = (
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
QUERIES = {name: query for name, query in vars(backlog).items() if isinstance(query, Query)}


async def test_backlog_of_an_empty_database(shop: Shop, database_url: str) -> None:
    measurement = await measure_backlog(database_url)
    assert (
        measurement.queued_emails,
        measurement.failed_emails,
        measurement.pending_orders,
        measurement.due_refunds,
    ) == (EMPTY_QUEUE,) * 4
    assert measurement.recent_orders == {
        "PENDING": 0,
        "CONFIRMED": 0,
        "PAYMENT_FAILED": 0,
        "SHIPPED": 0,
        "CANCELLED": 0,
    }
    assert measurement.is_writable


async def test_locked_carts_do_not_hide_other_values(
    shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with postgres.transaction():
        await postgres.execute("LOCK TABLE carts")
        measurement = await measure_backlog(database_url)
    assert not measurement.is_writable
    assert measurement.queued_emails == EMPTY_QUEUE


async def test_orders_of_the_last_day(shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    book, user, now = await add_book(shop), await add_user(shop), dt.datetime.now(dt.UTC)
    for status, hours in (("CONFIRMED", 1), ("CONFIRMED", 23), ("CONFIRMED", 25), ("SHIPPED", 2), ("PENDING", 30)):
        await add_past_order(postgres, user, (book, 1), status=status, at=now - hours * HOUR)
    await postgres.execute("UPDATE orders SET refund_due_at = now() - interval '3 hours' WHERE status = 'SHIPPED'")
    measurement = await measure_backlog(database_url)
    assert measurement.recent_orders == {
        "PENDING": 0,
        "CONFIRMED": 2,
        "PAYMENT_FAILED": 0,
        "SHIPPED": 1,
        "CANCELLED": 0,
    }
    assert (measurement.pending_orders.count, measurement.due_refunds.count) == (1, 1)
    assert measurement.pending_orders.oldest_age_seconds >= 30 * 3600 - 1
    assert measurement.due_refunds.oldest_age_seconds >= 3 * 3600 - 1


async def test_queued_and_failed_emails(shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    user = await add_user(shop)
    async with shop.database.transaction() as tx:
        await emails.enqueue_emails(tx, EmailKind.BOOK_BACK, [(uuid.uuid4(), user.id) for _ in range(3)])
    failed_id = await postgres.fetchval("SELECT id FROM letters LIMIT 1")
    async with shop.database.transaction() as tx:
        await emails.finish_email(tx, uuid.UUID(str(failed_id)), EmailStatus.FAILED, "No such mailbox")
    await postgres.execute("DELETE FROM pgqueuer WHERE payload = convert_to($1::text, 'UTF8')", str(failed_id))
    await postgres.execute(
        "UPDATE pgqueuer SET created = now() - interval '1 hour' WHERE id = (SELECT min(id) FROM pgqueuer)"
    )
    measurement = await measure_backlog(database_url)
    assert (measurement.queued_emails.count, measurement.failed_emails.count) == (2, 1)
    assert measurement.queued_emails.oldest_age_seconds >= 3599


async def test_counts_are_capped(shop: Shop, postgres: asyncpg.Connection, database_url: str) -> None:
    await postgres.execute(
        """INSERT INTO pgqueuer (priority, status, entrypoint)
        SELECT 0, 'queued', 'letter' FROM generate_series(1, $1)""",
        backlog.MAX_COUNT + 1,
    )
    assert (await measure_backlog(database_url)).queued_emails.count == backlog.MAX_COUNT


# ── Cost with large tables ────────────────────────────────────────────────────────────────


@pytest.fixture(scope="module")
async def large_database(server_url: str, template_database: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a database with a year of orders, 1% of them waiting, and many queued emails."""
    async with temporary_database(server_url, template_database) as url:
        connection = await asyncpg.connect(url)
        for statement in SEED_STATEMENTS:
            await connection.execute(statement, ROW_COUNT)
        await connection.execute("ANALYZE")
        yield connection
        await connection.close()


async def explain_queries(connection: asyncpg.Connection, sql: str, *options: str) -> list[dict[str, Any]]:
    plan_json = await connection.fetchval(f"EXPLAIN ({', '.join((*options, 'FORMAT JSON'))}) {sql}")
    return list(iterate_plan_nodes(json.loads(plan_json)))


def find_scans(plan: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [node for node in plan if "Scan" in node["Node Type"] and node["Node Type"] != "Subquery Scan"]


@pytest.mark.parametrize("name", QUERIES)
async def test_no_sequential_scans(large_database: asyncpg.Connection, name: str) -> None:
    plan = await explain_queries(large_database, QUERIES[name].sql)
    assert find_scans(plan)
    assert [node["Node Type"] for node in find_scans(plan) if "Index" not in node["Node Type"]] == []


@pytest.mark.parametrize("name", QUERIES)
async def test_reads_are_bounded_by_the_cap(large_database: asyncpg.Connection, name: str) -> None:
    """The queries read rows in the order of an index, and sort none."""
    sql = QUERIES[name].sql.replace(str(backlog.MAX_COUNT), str(SMALL_CAP))
    plan = await explain_queries(large_database, sql, "ANALYZE", "TIMING OFF")
    assert [node["Actual Rows"] * node["Actual Loops"] for node in find_scans(plan)] == [SMALL_CAP]
    assert [node.get("Rows Removed by Filter", 0) for node in find_scans(plan)] == [0]


async def test_sequential_scan_is_detected(large_database: asyncpg.Connection) -> None:
    sql = f"SELECT count(*) FROM (SELECT FROM orders WHERE status = 'CONFIRMED' ORDER BY total LIMIT {SMALL_CAP}) AS first"
    [scan] = find_scans(await explain_queries(large_database, sql, "ANALYZE", "TIMING OFF"))
    assert scan["Node Type"] == "Seq Scan"
    assert scan["Actual Rows"] > SMALL_CAP


async def test_unreachable_database_is_reported() -> None:
    with pytest.raises(Unavailable):
        await measure_backlog("postgresql://nobody@127.0.0.1:1/nothing")
