"""Wishlists."""

import datetime as dt
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from sqlalchemy import Uuid, any_, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import models
from persistence.database import Reading, Transaction
from persistence.pages import COUNT_LIMIT, Item, Page, PageShape, Slice, Sort, keyed, paged, take
from persistence.pairs import PAIRS, Pair, paired, parameters
from persistence.query import Command, Query


@dataclass(slots=True)
class WishlistItem:
    id: uuid.UUID
    user_id: uuid.UUID
    book_id: uuid.UUID
    added_at: dt.datetime


_item = models.WishlistItem
ITEM = tuple(getattr(_item, name) for name in WishlistItem.__slots__)

_user_id = bindparam("user_id", type_=Uuid())
_BY_IDS = Query(select(*ITEM).where(_item.id == any_(bindparam("ids", type_=ARRAY(Uuid())))), WishlistItem)
_BY_PAIRS = Query(select(*ITEM).join(PAIRS, paired(_item)), WishlistItem)
_LATEST = Sort(_item.added_at.expression, descending=True)
_COUNT = Query(
    select(func.count()).select_from(select(_item.id).where(_item.user_id == _user_id).limit(COUNT_LIMIT).subquery()),
    int,
)


@lru_cache(maxsize=100)
def _page_query(page: PageShape) -> Query[Item[WishlistItem]]:
    statement = select(_LATEST.key, _item.id, *ITEM).where(_item.user_id == _user_id)
    return Query(paged(statement, _LATEST, _item.id.expression, page), keyed(WishlistItem), skewed=page.skewed)


_ADD = Command(upsert(_item).on_conflict_do_nothing())
_REMOVE = Command(
    delete(_item)
    .where(_item.user_id == bindparam("user", type_=Uuid()), _item.book_id == bindparam("book", type_=Uuid()))
    .returning(_item.id)
)


async def list_wishlist_items_by_id(reading: Reading, item_ids: Iterable[uuid.UUID]) -> list[WishlistItem]:
    return await reading.all(_BY_IDS, ids=list(item_ids))


async def list_wishlist_items_of_pairs(db: Reading | Transaction, pairs: Sequence[Pair]) -> list[WishlistItem]:
    """The item of each user and book that has one."""
    return await db.all(_BY_PAIRS, **parameters(pairs))


async def list_wishlist_items(reading: Reading, user_id: uuid.UUID, page: Page) -> Slice[WishlistItem]:
    """The latest first."""
    return await take(reading, _page_query(page.shape), page, user_id=user_id)


async def count_wishlist_items(reading: Reading, user_id: uuid.UUID) -> int:
    return await reading.first(_COUNT, user_id=user_id) or 0


async def add_wishlist_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID) -> None:
    """Does nothing when it is there. The caller holds the book."""
    await tx.run(_ADD, user_id=user_id, book_id=book_id)


async def remove_wishlist_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID) -> uuid.UUID | None:
    """The item that was removed; `None` when there was none."""
    item_id: uuid.UUID | None = await tx.scalar(_REMOVE, user=user_id, book=book_id)
    return item_id
