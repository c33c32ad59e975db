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

from persistence import models
from persistence.database import Reading, Transaction
from persistence.pages import COUNT_LIMIT, Item, Page, PageShape, Slice, Sort, keyed, paged, take
from persistence.pairs import PAIRS, Pair, paired, parameters
from persistence.query import Command, Query


class PrebookingStatus(StrEnum):
    WAITING = "WAITING"
    NOTIFIED = "NOTIFIED"
    CANCELLED = "CANCELLED"


@dataclass(slots=True)
class Prebooking:
    id: uuid.UUID
    user_id: uuid.UUID
    book_id: uuid.UUID
    status: str
    created_at: dt.datetime
    notified_at: dt.datetime | None
    cancelled_at: dt.datetime | None


_prebooking = models.Prebooking
PREBOOKING = tuple(getattr(_prebooking, name) for name in Prebooking.__slots__)

_id = bindparam("id", type_=Uuid())
_user_id = bindparam("user_id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))
_waiting = _prebooking.status == PrebookingStatus.WAITING
_BY_ID = Query(select(*PREBOOKING).where(_prebooking.id == _id), Prebooking)
_LOCKED = Query(select(*PREBOOKING).where(_prebooking.id == _id).with_for_update(), Prebooking)
_BY_IDS = Query(select(*PREBOOKING).where(_prebooking.id == any_(_ids)), Prebooking)
_BY_PAIRS = Query(select(*PREBOOKING).join(PAIRS, paired(_prebooking)).where(_waiting), Prebooking)
_WAITING_COUNTS: Query[tuple[uuid.UUID, int]] = Query(
    select(_prebooking.book_id, func.count())
    .where(_prebooking.book_id == any_(_ids), _waiting)
    .group_by(_prebooking.book_id),
    lambda book_id, count: (book_id, count),
)


# ── Reads ─────────────────────────────────────────────────────────────────────────────────


async def find_prebooking(db: Reading | Transaction, prebooking_id: uuid.UUID) -> Prebooking | None:
    return await db.first(_BY_ID, id=prebooking_id)


async def list_prebookings_by_id(reading: Reading, prebooking_ids: Iterable[uuid.UUID]) -> list[Prebooking]:
    return await reading.all(_BY_IDS, ids=list(prebooking_ids))


async def list_waiting_of_pairs(db: Reading | Transaction, pairs: Sequence[Pair]) -> list[Prebooking]:
    """The pre-booking of each user and book that is still waiting."""
    return await db.all(_BY_PAIRS, **parameters(pairs))


async def count_waiting(reading: Reading, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, int]]:
    """How many wait for each book; books that nobody waits for are left out."""
    return await reading.all(_WAITING_COUNTS, ids=list(book_ids))


_LATEST = Sort(_prebooking.created_at.expression, descending=True)


def _of_user(statement: Select[Any], by_status: bool) -> Select[Any]:
    statement = statement.where(_prebooking.user_id == _user_id)
    if by_status:
        statement = statement.where(_prebooking.status == any_(bindparam("statuses", type_=ARRAY(String()))))
    return statement


@lru_cache(maxsize=100)
def _page_query(page: PageShape, by_status: bool) -> Query[Item[Prebooking]]:
    statement = _of_user(select(_LATEST.key, _prebooking.id, *PREBOOKING), by_status)
    return Query(paged(statement, _LATEST, _prebooking.id.expression, page), keyed(Prebooking), skewed=page.skewed)


@lru_cache(maxsize=2)
def _count_query(by_status: bool) -> Query[int]:
    some = _of_user(select(_prebooking.id), by_status).limit(COUNT_LIMIT).subquery()
    return Query(select(func.count()).select_from(some), int)


async def list_prebookings(
    reading: Reading, user_id: uuid.UUID, statuses: tuple[str, ...] | None, page: Page
) -> Slice[Prebooking]:
    """A user's pre-bookings, the latest first."""
    query = _page_query(page.shape, statuses is not None)
    return await take(reading, query, page, user_id=user_id, statuses=statuses)


async def count_prebookings(reading: Reading, user_id: uuid.UUID, statuses: tuple[str, ...] | None) -> int:
    return await reading.first(_count_query(statuses is not None), user_id=user_id, statuses=statuses) or 0


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


async def lock_prebooking(tx: Transaction, prebooking_id: uuid.UUID) -> Prebooking | None:
    return await tx.first(_LOCKED, id=prebooking_id)


async def cancel_prebooking(tx: Transaction, prebooking_id: uuid.UUID) -> None:
    await tx.run(_CANCEL, prebooking=prebooking_id)


_NOTIFY = Command(
    update(_prebooking)
    .where(_prebooking.book_id == any_(_ids), _waiting)
    .values(status=PrebookingStatus.NOTIFIED, notified_at=func.now())
    .returning(_prebooking.id, _prebooking.user_id)
)


async def notify_waiting(tx: Transaction, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, uuid.UUID]]:
    """Takes everyone off these waiting lists: (pre-booking, user). The caller holds the books' locks."""
    return [(prebooking, user) for prebooking, user in await tx.rows(_NOTIFY, ids=list(book_ids))]
