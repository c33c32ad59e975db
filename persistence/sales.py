"""What sells: each book's copies of the last 90 days, and the sales of a period."""

import datetime as dt
import decimal
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any

from sqlalchemy import DateTime, Integer, Uuid, bindparam, column, func, literal_column, select, update
from sqlalchemy.dialects.postgresql import ARRAY

from persistence import models
from persistence.catalog import BOOK, Book
from persistence.database import Reading, Transaction
from persistence.orders import STANDS
from persistence.query import Command, Query

WINDOW = dt.timedelta(days=90)
"""A best-seller list looks back this far."""
STEP = dt.timedelta(hours=1)
"""The window moves on when it is this much too long."""

_sales, _window, _order, _item = models.BookSales, models.SalesWindow, models.Order, models.OrderItem

# ── The last 90 days ──────────────────────────────────────────────────────────────────────

_ids = bindparam("ids", type_=ARRAY(Uuid()))
_changes = (
    func.unnest(_ids, bindparam("changes", type_=ARRAY(Integer())))
    .table_valued(column("book_id", Uuid()), column("copies", Integer()))
    .render_derived(name="changes")
)
_locked = (
    select(_sales.book_id, _changes.c.copies)
    .join(_changes, _changes.c.book_id == _sales.book_id)
    .order_by(_sales.book_id)
    .with_for_update(of=_sales)
    .cte("locked")
)
_ADD = Command(
    update(_sales)
    .where(_sales.book_id == _locked.c.book_id)
    .values(copies=func.greatest(_sales.copies + _locked.c.copies, 0))
)  # a figure stands in nobody's way


async def add_sales(tx: Transaction, copies: Mapping[uuid.UUID, int]) -> None:
    """Counts copies as sold, book by book in ascending id order."""
    if copies:
        await tx.run(_ADD, ids=list(copies), changes=list(copies.values()))


_LOCK_WINDOW = Command(select(_window.since).with_for_update(read=True))
_until = func.now() - WINDOW
_TAKE_UP_WINDOW = Command(select(_window.since).where(_window.since < _until - STEP).with_for_update(skip_locked=True))
_SOLD = Command(
    select(_item.book_id, func.sum(_item.quantity))
    .join(_order, _order.id == _item.order_id)
    .where(_order.placed_at >= bindparam("since", type_=DateTime(timezone=True)), _order.placed_at < _until, STANDS)
    .where(_item.book_id.is_not(None))
    .group_by(_item.book_id)
)
_MOVE_WINDOW = Command(update(_window).values(since=_until))


async def lock_sales_window(tx: Transaction) -> dt.datetime:
    """Orders placed from here on are counted; it stays so until the end of the transaction."""
    since: dt.datetime = await tx.scalar(_LOCK_WINDOW)
    return since


async def move_sales_window(tx: Transaction) -> bool:
    """Takes what was sold more than 90 days ago out of the counts; false while there is nothing to do."""
    since = await tx.scalar(_TAKE_UP_WINDOW)
    if since is None:
        return False
    sold = await tx.rows(_SOLD, since=since)
    await add_sales(tx, {book_id: -copies for book_id, copies in sold})
    await tx.run(_MOVE_WINDOW)
    return True


# ── A period ──────────────────────────────────────────────────────────────────────────────


class BestSellerRank(StrEnum):
    REVENUE = "REVENUE"
    UNITS = "UNITS"


@dataclass(slots=True)
class Figures:
    revenue: decimal.Decimal
    order_count: int


@dataclass(slots=True)
class BestSeller:
    book: Book
    units_sold: int
    revenue: decimal.Decimal


_begin = bindparam("begin", type_=DateTime(timezone=True))
_end = bindparam("end", type_=DateTime(timezone=True))
_standing = (_order.placed_at >= _begin, _order.placed_at < _end, STANDS)
_FIGURES = Query(
    select(func.coalesce(func.sum(_order.total), literal_column("0.00")), func.count()).where(*_standing), Figures
)


@cache
def _best_sellers(rank: BestSellerRank) -> Query[BestSeller]:
    units, revenue = func.sum(_item.quantity), func.sum(_item.quantity * _item.unit_price)
    best = (
        select(_item.book_id, units.label("units"), revenue.label("revenue"))
        .join(_order, _order.id == _item.order_id)
        .where(*_standing, _item.book_id.is_not(None))
        .group_by(_item.book_id)
        .order_by((revenue if rank is BestSellerRank.REVENUE else units).desc(), _item.book_id)
        .limit(bindparam("limit", type_=Integer()))
        .cte("best")
    )
    first = best.c.revenue if rank is BestSellerRank.REVENUE else best.c.units
    statement = (
        select(*BOOK, best.c.units, best.c.revenue)
        .join(best, best.c.book_id == models.Book.id)
        .order_by(first.desc(), best.c.book_id)
    )
    return Query(statement, _best_seller)


def _best_seller(*columns: Any) -> BestSeller:
    return BestSeller(Book(*columns[:-2]), *columns[-2:])


async def sum_sales(reading: Reading, begin: dt.datetime, end: dt.datetime) -> Figures:
    """Of the orders that were placed from `begin` to before `end` and stand."""
    figures = await reading.first(_FIGURES, begin=begin, end=end)
    assert figures is not None
    return figures


async def list_best_sellers(
    reading: Reading, begin: dt.datetime, end: dt.datetime, rank: BestSellerRank, limit: int
) -> list[BestSeller]:
    """Books that are still in the catalogue, the best first."""
    return await reading.all(_best_sellers(rank), begin=begin, end=end, limit=limit)
