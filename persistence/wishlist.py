"""Wishlists."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Uuid, any_, bindparam, delete, func, select
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


@dataclass(slots=True)
class WishlistItemRow:
    id: uuid.UUID
    user_id: uuid.UUID
    book_id: uuid.UUID
    added_at: dt.datetime


_item = tables.WishlistItem
WISHLIST_ITEM_COLUMNS = tuple(getattr(_item, name) for name in WishlistItemRow.__slots__)

_user_id = bindparam("user_id", type_=Uuid())
_BY_IDS = Query(
    select(*WISHLIST_ITEM_COLUMNS).where(_item.id == any_(bindparam("ids", type_=ARRAY(Uuid())))), WishlistItemRow
)
_BY_PAIRS = Query(select(*WISHLIST_ITEM_COLUMNS).join(PAIRS, matches_pair(_item)), WishlistItemRow)
_LATEST = Sort(_item.added_at.expression, descending=True)
_COUNT = Query(
    select(func.count()).select_from(select(_item.id).where(_item.user_id == _user_id).limit(COUNT_LIMIT).subquery()),
    int,
)


@lru_cache(maxsize=100)
def _build_page_query(page: PageShape) -> Query[KeyedRow[WishlistItemRow]]:
    statement = select(_LATEST.key, _item.id, *WISHLIST_ITEM_COLUMNS).where(_item.user_id == _user_id)
    return Query(
        paginate(statement, _LATEST, _item.id.expression, page),
        with_sort_key(WishlistItemRow),
        needs_custom_plan=page.needs_custom_plan,
    )


_ADD = Command(upsert(_item).on_conflict_do_nothing())
_REMOVE = Command(
    delete(_item)
    .where(_item.user_id == bindparam("user", type_=Uuid()), _item.book_id == bindparam("book", type_=Uuid()))
    .returning(_item.id)
)


async def list_wishlist_items_by_id(db: ReadSession, item_ids: Iterable[uuid.UUID]) -> list[WishlistItemRow]:
    return await db.all(_BY_IDS, ids=list(item_ids))


async def list_wishlist_items_by_pair(
    db: ReadSession | Transaction, pairs: Sequence[UserBookPair]
) -> list[WishlistItemRow]:
    """The item of each user and book that has one."""
    return await db.all(_BY_PAIRS, **build_pair_parameters(pairs))


async def list_wishlist_items(db: ReadSession, user_id: uuid.UUID, page: PageRequest) -> PageResult[WishlistItemRow]:
    """The latest first."""
    return await fetch_page(db, _build_page_query(page.shape), page, user_id=user_id)


async def count_wishlist_items(db: ReadSession, user_id: uuid.UUID) -> int:
    return await db.first(_COUNT, user_id=user_id) or 0


async def add_wishlist_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID) -> None:
    """Does nothing when it is there. The caller holds the book."""
    await tx.execute(_ADD, user_id=user_id, book_id=book_id)


async def remove_wishlist_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID) -> uuid.UUID | None:
    """The item that was removed; `None` when there was none."""
    item_id: uuid.UUID | None = await tx.scalar(_REMOVE, user=user_id, book=book_id)
    return item_id
