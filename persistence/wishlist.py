"""Wishlists and their items."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Uuid, any_, bindparam, delete, select
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


@dataclass(slots=True)
class WishlistItemRow:
    """A book on a user's wishlist."""

    id: uuid.UUID
    user_id: uuid.UUID
    book_id: uuid.UUID
    added_at: dt.datetime


_item = tables.WishlistItem
WISHLIST_ITEM_COLUMNS = tuple(getattr(_item, name) for name in WishlistItemRow.__slots__)

_is_owned = _item.user_id == bindparam("user_id", type_=Uuid())
_BY_IDS = Query(
    select(*WISHLIST_ITEM_COLUMNS).where(_item.id == any_(bindparam("ids", type_=ARRAY(Uuid())))), WishlistItemRow
)
_BY_PAIRS = Query(select(*WISHLIST_ITEM_COLUMNS).join(PAIRS, matches_pair(_item)), WishlistItemRow)
_LATEST = Sort(_item.added_at.expression, descending=True)
_COUNT = build_count_query(_item.id.expression, [_is_owned])


@lru_cache(maxsize=100)
def _build_page_query(page: PageShape) -> Query[KeyedRow[WishlistItemRow]]:
    return build_page_query(WISHLIST_ITEM_COLUMNS, WishlistItemRow, [_is_owned], _LATEST, _item.id.expression, page)


_ADD = Command(upsert(_item).on_conflict_do_nothing())
_REMOVE = Command(
    delete(_item)
    .where(_item.user_id == bindparam("user", type_=Uuid()), _item.book_id == bindparam("book", type_=Uuid()))
    .returning(_item.id)
)


async def list_wishlist_items_by_id(db: ReadSession, item_ids: Iterable[uuid.UUID]) -> list[WishlistItemRow]:
    """Return the items in no particular order; missing ones are left out."""
    return await db.all(_BY_IDS, ids=list(item_ids))


async def list_wishlist_items_by_pair(
    db: ReadSession | Transaction, pairs: Sequence[UserBookPair]
) -> list[WishlistItemRow]:
    """Return the items of those (user, book) pairs that have one."""
    return await db.all(_BY_PAIRS, **build_pair_parameters(pairs))


async def list_wishlist_items(db: ReadSession, user_id: uuid.UUID, page: PageRequest) -> PageResult[WishlistItemRow]:
    """Return a page of a user's wishlist, the latest first."""
    return await fetch_page(db, _build_page_query(page.shape), page, user_id=user_id)


async def count_wishlist_items(db: ReadSession, user_id: uuid.UUID) -> int:
    """Count the items of a user's wishlist up to `COUNT_LIMIT`."""
    return await db.first(_COUNT, user_id=user_id) or 0


async def add_wishlist_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID) -> None:
    """Add a book to the wishlist unless it is on it. The caller holds the book's lock."""
    await tx.execute(_ADD, user_id=user_id, book_id=book_id)


async def remove_wishlist_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID) -> uuid.UUID | None:
    """Remove a book from the wishlist and return the item's id, or `None` when there was none."""
    item_id: uuid.UUID | None = await tx.scalar(_REMOVE, user=user_id, book=book_id)
    return item_id
