"""Backlog gauges for monitoring: counts are bounded by indexes and `MAX_COUNT`, however large the tables grow."""

import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Select, String, column, func, literal_column, select, table

from persistence import tables
from persistence.emails import ENTRYPOINT, EmailStatus
from persistence.orders import OrderStatus
from persistence.postgres.database import Database, PoolSettings
from persistence.postgres.errors import Unavailable
from persistence.postgres.preflight import check_writable
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query

MAX_COUNT = 100_000
"""The largest reported count."""
TIMEOUT = 2  # seconds in total
WRITE_TIMEOUT = 1  # second of these
SINGLE_CONNECTION = PoolSettings(size=1, max_overflow=0, timeout_seconds=TIMEOUT)


@dataclass(frozen=True, slots=True)
class QueueDepth:
    """The number of waiting items, and the age of the oldest in seconds."""

    count: int
    oldest_age_seconds: float


@dataclass(frozen=True, slots=True)
class Backlog:
    """Waiting work. `recent_orders` counts the orders of the last day by status; `is_writable` comes from an empty write."""

    queued_emails: QueueDepth
    failed_emails: QueueDepth
    pending_orders: QueueDepth
    due_refunds: QueueDepth
    recent_orders: dict[str, int]
    is_writable: bool


_job = table(
    "pgqueuer",
    column("id"),
    column("priority"),
    column("entrypoint", String()),
    column("status"),
    column("created", DateTime(True)),
)


_zero: ColumnElement[int] = literal_column("0")
_max_count: ColumnElement[int] = literal_column(str(MAX_COUNT))  # a literal, which the planner sees


def _build_queue_depth_query(waiting_since: Select[Any]) -> Query[QueueDepth]:
    first = waiting_since.limit(_max_count).subquery("first")
    [timestamp] = first.c
    age = func.coalesce(func.extract("epoch", func.now() - func.min(timestamp)), _zero)
    return Query(
        select(func.count(), func.greatest(age, _zero)).select_from(first),
        lambda count, age: QueueDepth(count, float(age)),
    )


_QUEUED_EMAILS = _build_queue_depth_query(
    select(_job.c.created)
    .where(_job.c.entrypoint == literal_column(f"'{ENTRYPOINT}'"), _job.c.status == literal_column("'queued'"))
    .order_by(_job.c.priority.desc(), _job.c.id)
)
_FAILED_EMAILS = _build_queue_depth_query(
    select(tables.Email.settled_at)
    .where(tables.Email.status == literal_column(f"'{EmailStatus.FAILED}'"))
    .order_by(tables.Email.settled_at, tables.Email.id)
)
_PENDING_ORDERS = _build_queue_depth_query(
    select(tables.Order.placed_at)
    .where(tables.Order.status == literal_column(f"'{OrderStatus.PENDING}'"))
    .order_by(tables.Order.placed_at)
)
_DUE_REFUNDS = _build_queue_depth_query(
    select(tables.Order.refund_due_at)
    .where(tables.Order.refund_due_at.is_not(None))
    .order_by(tables.Order.refund_due_at)
)
_latest = (
    select(tables.Order.status)
    .where(tables.Order.placed_at > func.now() - literal_column("interval '1 day'"))
    .order_by(tables.Order.placed_at.desc(), tables.Order.id.desc())
    .limit(_max_count)
    .subquery()
)
_ORDERS = Query(
    select(_latest.c.status, func.count()).group_by(_latest.c.status), lambda status, count: (status, count)
)


async def measure_backlog(url: str) -> Backlog:
    """Measure the backlog on connections of its own, so that full pools do not matter.

    Raises:
        TimeoutError: It took longer than `TIMEOUT`.
        Unavailable: PostgreSQL is unreachable or overloaded.
    """
    async with asyncio.timeout(TIMEOUT), Database(url, SINGLE_CONNECTION) as database:
        db = database.read_session
        return Backlog(
            queued_emails=await _fetch_queue_depth(db, _QUEUED_EMAILS),
            failed_emails=await _fetch_queue_depth(db, _FAILED_EMAILS),
            pending_orders=await _fetch_queue_depth(db, _PENDING_ORDERS),
            due_refunds=await _fetch_queue_depth(db, _DUE_REFUNDS),
            recent_orders=dict.fromkeys(map(str, OrderStatus), 0) | dict(await db.all(_ORDERS)),
            is_writable=await _is_writable(database),
        )


async def _fetch_queue_depth(db: ReadSession, query: Query[QueueDepth]) -> QueueDepth:
    queue_depth = await db.first(query)
    assert queue_depth is not None  # an aggregate always returns a row
    return queue_depth


async def _is_writable(database: Database) -> bool:
    try:
        async with asyncio.timeout(WRITE_TIMEOUT), database.transaction() as tx:
            await check_writable(tx)
    except (Unavailable, TimeoutError):
        return False
    return True
