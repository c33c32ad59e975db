"""What whoever watches the shop asks of the database: bounded by indexes and by `MOST_COUNTED`, however large the tables grow."""

import asyncio
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, DateTime, Select, String, column, func, literal_column, select, table

from persistence.database import Database, PoolSettings, Reading
from persistence.faults import Unavailable
from persistence.letters import ENTRYPOINT, LetterStatus
from persistence.models import Letter, Order
from persistence.orders import OrderStatus
from persistence.query import Query
from persistence.readiness import write_nothing

MOST_COUNTED = 100_000
"""Of each: what is more is told as this many."""
TIMEOUT = 2  # seconds, for all of it
WRITE_TIMEOUT = 1  # second, of these
ONE_CONNECTION = PoolSettings(size=1, max_overflow=0, timeout_seconds=TIMEOUT)


@dataclass(frozen=True, slots=True)
class Waiting:
    """How many wait, and for how many seconds the first of them has."""

    count: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Figures:
    """`orders` are those that were placed within a day, by status; `takes_writes` is told by having written nothing."""

    queued_letters: Waiting
    failed_letters: Waiting
    pending_orders: Waiting
    due_refunds: Waiting
    orders: dict[str, int]
    takes_writes: bool


_job = table(
    "pgqueuer",
    column("id"),
    column("priority"),
    column("entrypoint", String()),
    column("status"),
    column("created", DateTime(True)),
)


_none: ColumnElement[int] = literal_column("0")
_most: ColumnElement[int] = literal_column(str(MOST_COUNTED))  # which the planner is to know


def _waiting(since: Select[Any]) -> Query[Waiting]:
    first = since.limit(_most).subquery("first")
    [moment] = first.c
    age = func.coalesce(func.extract("epoch", func.now() - func.min(moment)), _none)
    return Query(
        select(func.count(), func.greatest(age, _none)).select_from(first),
        lambda count, age: Waiting(count, float(age)),
    )


_QUEUED_LETTERS = _waiting(
    select(_job.c.created)
    .where(_job.c.entrypoint == literal_column(f"'{ENTRYPOINT}'"), _job.c.status == literal_column("'queued'"))
    .order_by(_job.c.priority.desc(), _job.c.id)
)
_FAILED_LETTERS = _waiting(
    select(Letter.settled_at)
    .where(Letter.status == literal_column(f"'{LetterStatus.FAILED}'"))
    .order_by(Letter.settled_at, Letter.id)
)
_PENDING_ORDERS = _waiting(
    select(Order.placed_at).where(Order.status == literal_column(f"'{OrderStatus.PENDING}'")).order_by(Order.placed_at)
)
_DUE_REFUNDS = _waiting(
    select(Order.refund_due_at).where(Order.refund_due_at.is_not(None)).order_by(Order.refund_due_at)
)
_latest = (
    select(Order.status)
    .where(Order.placed_at > func.now() - literal_column("interval '1 day'"))
    .order_by(Order.placed_at.desc(), Order.id.desc())
    .limit(_most)
    .subquery()
)
_ORDERS = Query(
    select(_latest.c.status, func.count()).group_by(_latest.c.status), lambda status, count: (status, count)
)


async def find_figures(url: str) -> Figures:
    """On connections of its own, so that the pools may be empty. Raises `TimeoutError` or `Unavailable`."""
    async with asyncio.timeout(TIMEOUT), Database(url, ONE_CONNECTION) as database:
        reading = database.reading
        return Figures(
            queued_letters=await _first(reading, _QUEUED_LETTERS),
            failed_letters=await _first(reading, _FAILED_LETTERS),
            pending_orders=await _first(reading, _PENDING_ORDERS),
            due_refunds=await _first(reading, _DUE_REFUNDS),
            orders=dict.fromkeys(map(str, OrderStatus), 0) | dict(await reading.all(_ORDERS)),
            takes_writes=await _takes_writes(database),
        )


async def _first(reading: Reading, query: Query[Waiting]) -> Waiting:
    waiting = await reading.first(query)
    assert waiting is not None  # it counts
    return waiting


async def _takes_writes(database: Database) -> bool:
    try:
        async with asyncio.timeout(WRITE_TIMEOUT), database.transaction() as tx:
            await write_nothing(tx)
    except (Unavailable, TimeoutError):
        return False
    return True
