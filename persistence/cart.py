"""Carts and their lines."""

import datetime as dt
import decimal
import uuid
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import Uuid, any_, bindparam, delete, func, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import models
from persistence.catalog import hold_book
from persistence.database import Reading, Transaction
from persistence.query import Query


@dataclass(slots=True)
class Cart:
    """A user's; what is in it is read when somebody asks."""

    user_id: uuid.UUID


@dataclass(slots=True)
class CartItem:
    """A line, with today's price and stock of its book."""

    id: uuid.UUID
    user_id: uuid.UUID
    book_id: uuid.UUID
    quantity: int
    added_at: dt.datetime
    unit_price: decimal.Decimal
    available: int

    @property
    def line_total(self) -> decimal.Decimal:
        return self.unit_price * self.quantity


_item = models.CartItem
_columns = (
    _item.id,
    _item.user_id,
    _item.book_id,
    _item.quantity,
    _item.added_at,
    models.Book.price,
    models.Book.stock_quantity,
)
_ITEMS = Query(
    select(*_columns)
    .join(models.Book, models.Book.id == _item.book_id)
    .where(_item.user_id == any_(bindparam("user_ids", type_=ARRAY(Uuid()))))
    .order_by(_item.id),
    CartItem,
)
_LOCK = select(models.Cart.user_id).where(models.Cart.user_id == bindparam("user_id", type_=Uuid())).with_for_update()


async def lock_cart(tx: Transaction, user_id: uuid.UUID) -> None:
    """Until the end of the transaction nobody else changes the cart."""
    await tx.scalar(_LOCK, {"user_id": user_id})


async def list_cart_items(db: Reading | Transaction, user_ids: list[uuid.UUID]) -> list[CartItem]:
    """The lines of several carts, in the order they were added."""
    return await db.all(_ITEMS, user_ids=user_ids)


async def set_cart_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> bool:
    """Makes the line this many copies. False when the book is gone."""
    if not await hold_book(tx, book_id):
        return False
    line = upsert(_item).values(user_id=user_id, book_id=book_id, quantity=quantity)
    await tx.run(
        line.on_conflict_do_update(
            index_elements=["user_id", "book_id"],
            set_={"quantity": line.excluded.quantity},
        )
    )
    return True


async def return_cart_item(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int, most: int) -> None:
    """Puts copies back on top of those added meanwhile, up to the most a line may hold.

    The caller holds the book's lock.
    """
    line = upsert(_item).values(user_id=user_id, book_id=book_id, quantity=quantity)
    added_up = func.least(_item.quantity + line.excluded.quantity, most)
    await tx.run(line.on_conflict_do_update(index_elements=["user_id", "book_id"], set_={"quantity": added_up}))


async def remove_cart_items(tx: Transaction, user_id: uuid.UUID, book_ids: Iterable[uuid.UUID]) -> None:
    wanted = bindparam("book_ids", type_=ARRAY(Uuid()))
    await tx.run(
        delete(_item).where(_item.user_id == user_id, _item.book_id == any_(wanted)),
        {"book_ids": list(book_ids)},
    )
