"""Pre-bookings: the waiting lists of books that are out of stock."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

from sqlalchemy import ColumnElement, String, Uuid, any_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.keyset import (
    KeyedRow,
    PageRequest,
    PageResult,
    PageShape,
    Sort,
    build_count_query,
    build_page_query,
    fetch_page,
)
from persistence.postgres.pairs import PAIRS, UserBookPair, build_pair_parameters, matches_pair
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query


class PrebookingStatus(StrEnum):
    """The state of a pre-booking."""

    WAITING = "WAITING"
    NOTIFIED = "NOTIFIED"
    CANCELLED = "CANCELLED"


@dataclass(slots=True)
class PrebookingRow:
    """A customer's pre-booking of a book."""

    id: uuid.UUID
    user_id: uuid.UUID
    book_id: uuid.UUID
    status: str
    created_at: dt.datetime
    notified_at: dt.datetime | None
    cancelled_at: dt.datetime | None


_prebooking = tables.Prebooking
PREBOOKING_COLUMNS = tuple(getattr(_prebooking, name) for name in PrebookingRow.__slots__)

_id = bindparam("id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))
_is_waiting = _prebooking.status == PrebookingStatus.WAITING
_BY_ID = Query(select(*PREBOOKING_COLUMNS).where(_prebooking.id == _id), PrebookingRow)
_BY_IDS = Query(select(*PREBOOKING_COLUMNS).where(_prebooking.id == any_(_ids)), PrebookingRow)
_BY_PAIRS = Query(select(*PREBOOKING_COLUMNS).join(PAIRS, matches_pair(_prebooking)).where(_is_waiting), PrebookingRow)
_WAITING_COUNTS: Query[tuple[uuid.UUID, int]] = Query(
    select(_prebooking.book_id, func.count())
    .where(_prebooking.book_id == any_(_ids), _is_waiting)
    .group_by(_prebooking.book_id),
    lambda book_id, count: (book_id, count),
)


# ── Reads ─────────────────────────────────────────────────────────────────────────────────


async def find_prebooking(db: ReadSession | Transaction, prebooking_id: uuid.UUID) -> PrebookingRow | None:
    """Return the pre-booking, or `None` when there is no such pre-booking."""
    return await db.first(_BY_ID, id=prebooking_id)


async def list_prebookings_by_id(db: ReadSession, prebooking_ids: Iterable[uuid.UUID]) -> list[PrebookingRow]:
    """Return the pre-bookings in no particular order; missing ones are left out."""
    return await db.all(_BY_IDS, ids=list(prebooking_ids))


async def list_waiting_by_pair(db: ReadSession | Transaction, pairs: Sequence[UserBookPair]) -> list[PrebookingRow]:
    """Return the pre-bookings of these (user, book) pairs that are still waiting."""
    return await db.all(_BY_PAIRS, **build_pair_parameters(pairs))


async def count_waiting(db: ReadSession, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, int]]:
    """Return (book id, number of waiting customers) of each book that has any."""
    return await db.all(_WAITING_COUNTS, ids=list(book_ids))


_LATEST = Sort(_prebooking.created_at.expression, descending=True)


def _build_conditions(has_status_filter: bool) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_prebooking.user_id == bindparam("user_id", type_=Uuid())]
    if has_status_filter:
        conditions.append(_prebooking.status == any_(bindparam("statuses", type_=ARRAY(String()))))
    return conditions


@lru_cache(maxsize=100)
def _build_page_query(page: PageShape, has_status_filter: bool) -> Query[KeyedRow[PrebookingRow]]:
    conditions = _build_conditions(has_status_filter)
    return build_page_query(PREBOOKING_COLUMNS, PrebookingRow, conditions, _LATEST, _prebooking.id.expression, page)


@lru_cache(maxsize=2)
def _build_count_query(has_status_filter: bool) -> Query[int]:
    return build_count_query(_prebooking.id.expression, _build_conditions(has_status_filter))


async def list_prebookings(
    db: ReadSession, user_id: uuid.UUID, statuses: tuple[str, ...] | None, page: PageRequest
) -> PageResult[PrebookingRow]:
    """Return a page of a user's pre-bookings, the latest first; `statuses` of `None` means all."""
    query = _build_page_query(page.shape, statuses is not None)
    return await fetch_page(db, query, page, user_id=user_id, statuses=statuses)


async def count_prebookings(db: ReadSession, user_id: uuid.UUID, statuses: tuple[str, ...] | None) -> int:
    """Count a user's pre-bookings up to `COUNT_LIMIT`."""
    return await db.first(_build_count_query(statuses is not None), user_id=user_id, statuses=statuses) or 0


# ── Writes ────────────────────────────────────────────────────────────────────────────────


_ADD = Command(upsert(_prebooking).on_conflict_do_nothing().returning(_prebooking.id))
_CANCEL = Command(
    update(_prebooking)
    .where(_prebooking.id == bindparam("prebooking", type_=Uuid()))
    .values(status=PrebookingStatus.CANCELLED, cancelled_at=func.now())
)


async def add_prebooking(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID) -> uuid.UUID | None:
    """Add a pre-booking and return its id, or `None` when the user already waits for the book.

    The caller holds the book's lock.
    """
    prebooking_id: uuid.UUID | None = await tx.scalar(_ADD, user_id=user_id, book_id=book_id)
    return prebooking_id


async def cancel_prebooking(tx: Transaction, prebooking_id: uuid.UUID) -> None:
    """Take a pre-booking off the waiting list."""
    await tx.execute(_CANCEL, prebooking=prebooking_id)


_NOTIFY = Command(
    update(_prebooking)
    .where(_prebooking.book_id == any_(_ids), _is_waiting)
    .values(status=PrebookingStatus.NOTIFIED, notified_at=func.now())
    .returning(_prebooking.id, _prebooking.user_id)
)


async def notify_waiting(tx: Transaction, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Mark all pre-bookings that wait for these books as notified, and return (pre-booking id, user id) of each.

    The caller holds the books' locks.
    """
    return [(prebooking_id, user_id) for prebooking_id, user_id in await tx.fetch_records(_NOTIFY, ids=list(book_ids))]
