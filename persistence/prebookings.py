"""Waiting lists of books that are out of stock."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, String, Uuid, any_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.postgres.database import ReadSession, Transaction
from persistence.postgres.keyset import (
    COUNT_LIMIT,
    KeyedRow,
    PageRequest,
    PageResult,
    PageShape,
    Sort,
    fetch_page,
    paginate,
    with_sort_key,
)
from persistence.postgres.pairs import PAIRS, UserBookPair, build_pair_parameters, matches_pair
from persistence.postgres.statements import Command, Query


class PrebookingStatus(StrEnum):
    WAITING = "WAITING"
    NOTIFIED = "NOTIFIED"
    CANCELLED = "CANCELLED"


@dataclass(slots=True)
class PrebookingRow:
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
_user_id = bindparam("user_id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))
_is_waiting = _prebooking.status == PrebookingStatus.WAITING
_BY_ID = Query(select(*PREBOOKING_COLUMNS).where(_prebooking.id == _id), PrebookingRow)
_LOCKED = Query(select(*PREBOOKING_COLUMNS).where(_prebooking.id == _id).with_for_update(), PrebookingRow)
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
    return await db.first(_BY_ID, id=prebooking_id)


async def list_prebookings_by_id(db: ReadSession, prebooking_ids: Iterable[uuid.UUID]) -> list[PrebookingRow]:
    return await db.all(_BY_IDS, ids=list(prebooking_ids))


async def list_waiting_by_pair(db: ReadSession | Transaction, pairs: Sequence[UserBookPair]) -> list[PrebookingRow]:
    """The pre-booking of each user and book that is still waiting."""
    return await db.all(_BY_PAIRS, **build_pair_parameters(pairs))


async def count_waiting(db: ReadSession, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, int]]:
    """How many wait for each book; books that nobody waits for are left out."""
    return await db.all(_WAITING_COUNTS, ids=list(book_ids))


_LATEST = Sort(_prebooking.created_at.expression, descending=True)


def _filter_by_user(statement: Select[Any], has_status_filter: bool) -> Select[Any]:
    statement = statement.where(_prebooking.user_id == _user_id)
    if has_status_filter:
        statement = statement.where(_prebooking.status == any_(bindparam("statuses", type_=ARRAY(String()))))
    return statement


@lru_cache(maxsize=100)
def _build_page_query(page: PageShape, has_status_filter: bool) -> Query[KeyedRow[PrebookingRow]]:
    statement = _filter_by_user(select(_LATEST.key, _prebooking.id, *PREBOOKING_COLUMNS), has_status_filter)
    return Query(
        paginate(statement, _LATEST, _prebooking.id.expression, page),
        with_sort_key(PrebookingRow),
        needs_custom_plan=page.needs_custom_plan,
    )


@lru_cache(maxsize=2)
def _build_count_query(has_status_filter: bool) -> Query[int]:
    limited = _filter_by_user(select(_prebooking.id), has_status_filter).limit(COUNT_LIMIT).subquery()
    return Query(select(func.count()).select_from(limited), int)


async def list_prebookings(
    db: ReadSession, user_id: uuid.UUID, statuses: tuple[str, ...] | None, page: PageRequest
) -> PageResult[PrebookingRow]:
    """A user's pre-bookings, the latest first."""
    query = _build_page_query(page.shape, statuses is not None)
    return await fetch_page(db, query, page, user_id=user_id, statuses=statuses)


async def count_prebookings(db: ReadSession, user_id: uuid.UUID, statuses: tuple[str, ...] | None) -> int:
    return await db.first(_build_count_query(statuses is not None), user_id=user_id, statuses=statuses) or 0


# ── Writes ────────────────────────────────────────────────────────────────────────────────


_ADD = Command(upsert(_prebooking).on_conflict_do_nothing().returning(_prebooking.id))
_CANCEL = Command(
    update(_prebooking)
    .where(_prebooking.id == bindparam("prebooking", type_=Uuid()))
    .values(status=PrebookingStatus.CANCELLED, cancelled_at=func.now())
)


async def add_prebooking(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID) -> uuid.UUID | None:
    """`None` when the user is waiting for the book already. The caller holds the book's lock."""
    prebooking_id: uuid.UUID | None = await tx.scalar(_ADD, user_id=user_id, book_id=book_id)
    return prebooking_id


async def lock_prebooking(tx: Transaction, prebooking_id: uuid.UUID) -> PrebookingRow | None:
    return await tx.first(_LOCKED, id=prebooking_id)


async def cancel_prebooking(tx: Transaction, prebooking_id: uuid.UUID) -> None:
    await tx.execute(_CANCEL, prebooking=prebooking_id)


_NOTIFY = Command(
    update(_prebooking)
    .where(_prebooking.book_id == any_(_ids), _is_waiting)
    .values(status=PrebookingStatus.NOTIFIED, notified_at=func.now())
    .returning(_prebooking.id, _prebooking.user_id)
)


async def notify_waiting(tx: Transaction, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Takes everyone off these waiting lists: (pre-booking, user). The caller holds the books' locks."""
    return [(prebooking, user) for prebooking, user in await tx.fetch_records(_NOTIFY, ids=list(book_ids))]
