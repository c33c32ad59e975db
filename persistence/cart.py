"""Carts and their items."""

import datetime as dt
import decimal
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Integer, Uuid, any_, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query


@dataclass(slots=True)
class CartRow:
    """A user's cart; its items are loaded on demand."""

    user_id: uuid.UUID


@dataclass(slots=True)
class CartItemRow:
    """A cart item with the current price and stock of its book."""

    id: uuid.UUID
    user_id: uuid.UUID
    book_id: uuid.UUID
    quantity: int
    added_at: dt.datetime
    unit_price: decimal.Decimal
    available: int

    @property
    def line_total(self) -> decimal.Decimal:
        """The current price of the whole item."""
        return self.unit_price * self.quantity


_item = tables.CartItem
_columns = (
    _item.id,
    _item.user_id,
    _item.book_id,
    _item.quantity,
    _item.added_at,
    tables.Book.price,
    tables.Book.stock_quantity,
)
_ITEMS = Query(
    select(*_columns)
    .join(tables.Book, tables.Book.id == _item.book_id)
    .where(_item.user_id == any_(bindparam("user_ids", type_=ARRAY(Uuid()))))
    .order_by(_item.id),
    CartItemRow,
)
_user = bindparam("user", type_=Uuid())
_upsert_item = upsert(_item)
_UPSERT_ITEM = Command(
    _upsert_item.on_conflict_do_update(
        index_elements=["user_id", "book_id"],
        set_={"quantity": _upsert_item.excluded.quantity},
    )
)
_RESTORE_ITEM = Command(
    _upsert_item.on_conflict_do_update(
        index_elements=["user_id", "book_id"],
        set_={
            "quantity": func.least(
                _item.quantity + _upsert_item.excluded.quantity, bindparam("max_quantity", type_=Integer())
            )
        },
    )
)
_REMOVE_ITEMS = Command(
    delete(_item).where(_item.user_id == _user, _item.book_id == any_(bindparam("books", type_=ARRAY(Uuid()))))
)


async def list_cart_items(db: ReadSession | Transaction, user_ids: list[uuid.UUID]) -> list[CartItemRow]:
    """Return the items of several users' carts, in the order they were added."""
    return await db.all(_ITEMS, user_ids=user_ids)


async def upsert_cart_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    """Set the quantity of a book in the cart. The caller holds the book's lock."""
    await tx.execute(_UPSERT_ITEM, user_id=user_id, book_id=book_id, quantity=quantity)


async def restore_cart_item(
    tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int, max_quantity: int
) -> None:
    """Add a quantity to what the cart holds of the book by now, up to `max_quantity`.

    The caller holds the book's lock.
    """
    await tx.execute(_RESTORE_ITEM, user_id=user_id, book_id=book_id, quantity=quantity, max_quantity=max_quantity)


async def remove_cart_items(tx: Transaction, user_id: uuid.UUID, book_ids: Iterable[uuid.UUID]) -> None:
    """Remove these books from a user's cart."""
    await tx.execute(_REMOVE_ITEMS, user=user_id, books=list(book_ids))
