"""Sales: how many copies of each book sold in the last 90 days, and totals and best sellers of a period."""

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

from persistence import tables
from persistence.catalog import BOOK_COLUMNS, BookRow
from persistence.orders import IS_EFFECTIVE
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query

SALES_WINDOW = dt.timedelta(days=90)
"""How far a list sorted by sales looks back."""
WINDOW_STEP = dt.timedelta(hours=1)
"""How much longer than `SALES_WINDOW` the window gets before it is moved."""

_sales, _window, _order, _item = tables.BookSales, tables.SalesWindow, tables.Order, tables.OrderItem

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
_ADD_SALES = Command(
    update(_sales)
    .where(_sales.book_id == _locked.c.book_id)
    .values(copies=func.greatest(_sales.copies + _locked.c.copies, 0))
)  # never below zero, so that a count that is off blocks no cancellation


async def add_sales(tx: Transaction, quantities: Mapping[uuid.UUID, int]) -> None:
    """Add to the number of copies sold of each book; negative quantities take sales back.

    Locks the rows of `book_sales` by ascending book id.
    """
    if quantities:
        await tx.execute(_ADD_SALES, ids=list(quantities), changes=list(quantities.values()))


_window_start = func.now() - SALES_WINDOW
_CLAIM_WINDOW = Command(
    select(_window.since).where(_window.since < _window_start - WINDOW_STEP).with_for_update(skip_locked=True)
)
_EXPIRED_SALES = Command(
    select(_item.book_id, func.sum(_item.quantity))
    .join(_order, _order.id == _item.order_id)
    .where(
        _order.placed_at >= bindparam("since", type_=DateTime(timezone=True)),
        _order.placed_at < _window_start,
        IS_EFFECTIVE,
    )
    .where(_item.book_id.is_not(None))
    .group_by(_item.book_id)
)
_ADVANCE_WINDOW = Command(update(_window).values(since=_window_start))


async def advance_sales_window(tx: Transaction) -> bool:
    """Subtract the sales of more than 90 days ago, and return false when there is nothing to do yet."""
    since = await tx.scalar(_CLAIM_WINDOW)
    if since is None:
        return False
    expired_sales = await tx.fetch_records(_EXPIRED_SALES, since=since)
    await add_sales(tx, {book_id: -copies for book_id, copies in expired_sales})
    await tx.execute(_ADVANCE_WINDOW)
    return True


# ── A period ──────────────────────────────────────────────────────────────────────────────


class BestSellerRank(StrEnum):
    """What best sellers are ranked by."""

    REVENUE = "REVENUE"
    UNITS = "UNITS"


@dataclass(slots=True)
class SalesTotals:
    """The revenue and the number of orders of a period."""

    revenue: decimal.Decimal
    order_count: int


@dataclass(slots=True)
class BestSellerRow:
    """A book with its sales in a period."""

    book: BookRow
    units_sold: int
    revenue: decimal.Decimal


_begin = bindparam("begin", type_=DateTime(timezone=True))
_end = bindparam("end", type_=DateTime(timezone=True))
_in_period = (_order.placed_at >= _begin, _order.placed_at < _end, IS_EFFECTIVE)
_SALES_TOTALS = Query(
    select(func.coalesce(func.sum(_order.total), literal_column("0.00")), func.count()).where(*_in_period), SalesTotals
)


@cache
def _build_best_sellers_query(rank: BestSellerRank) -> Query[BestSellerRow]:
    units, revenue = func.sum(_item.quantity), func.sum(_item.quantity * _item.unit_price)
    best_sellers = (
        select(_item.book_id, units.label("units"), revenue.label("revenue"))
        .join(_order, _order.id == _item.order_id)
        .where(*_in_period, _item.book_id.is_not(None))
        .group_by(_item.book_id)
        .order_by((revenue if rank is BestSellerRank.REVENUE else units).desc(), _item.book_id)
        .limit(bindparam("limit", type_=Integer()))
        .cte("best_sellers")
    )
    rank_column = best_sellers.c.revenue if rank is BestSellerRank.REVENUE else best_sellers.c.units
    statement = (
        select(*BOOK_COLUMNS, best_sellers.c.units, best_sellers.c.revenue)
        .join(best_sellers, best_sellers.c.book_id == tables.Book.id)
        .order_by(rank_column.desc(), best_sellers.c.book_id)
    )
    return Query(statement, _make_best_seller_row)


def _make_best_seller_row(*columns: Any) -> BestSellerRow:
    return BestSellerRow(BookRow(*columns[:-2]), *columns[-2:])


async def sum_sales(db: ReadSession, begin: dt.datetime, end: dt.datetime) -> SalesTotals:
    """Total the paid, not cancelled orders placed from `begin` (inclusive) to `end` (exclusive)."""
    totals = await db.first(_SALES_TOTALS, begin=begin, end=end)
    assert totals is not None
    return totals


async def list_best_sellers(
    db: ReadSession, begin: dt.datetime, end: dt.datetime, rank: BestSellerRank, limit: int
) -> list[BestSellerRow]:
    """Return the best sellers of a period that are still in the catalog, the best first."""
    return await db.all(_build_best_sellers_query(rank), begin=begin, end=end, limit=limit)
