"""Row locks, and the one order in which every transaction takes them.

A transaction takes the locks that it needs in this order:

1. the user,
2. the order,
3. the cart,
4. the books, by ascending id,
5. the genres: first the table, then a row,
6. the reviews, by ascending id, or the pre-booking,
7. the sales window.

Transactions that want the same rows then wait in a queue, never in a cycle, so PostgreSQL has no deadlock to break.
Each lock lasts until the end of its transaction. The statements that change `book_ratings` and `book_sales` come after
these locks and lock their own rows by ascending book id.

Locks are `FOR NO KEY UPDATE` where other transactions may still insert rows that refer to the locked one.
"""

import datetime as dt
import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, String, Uuid, any_, bindparam, select, text
from sqlalchemy.dialects.postgresql import ARRAY

from persistence import tables
from persistence.accounts import USER_COLUMNS, UserRow
from persistence.catalog import BOOK_COLUMNS, GENRE_COLUMNS, BookRow, GenreRow
from persistence.orders import ORDER_COLUMNS, OrderRow
from persistence.postgres.database import Transaction
from persistence.postgres.statements import Command, Query
from persistence.prebookings import PREBOOKING_COLUMNS, PrebookingRow
from persistence.reviews import REVIEW_COLUMNS, ReviewRow

_id = bindparam("id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))


# ── User, order and cart ──────────────────────────────────────────────────────────────────

_LOCK_USER = Query(select(*USER_COLUMNS).where(tables.User.id == _id).with_for_update(key_share=True), UserRow)
_LOCK_ORDER = Query(select(*ORDER_COLUMNS).where(tables.Order.id == _id).with_for_update(), OrderRow)
_LOCK_CART = Command(
    select(tables.Cart.user_id).where(tables.Cart.user_id == bindparam("user", type_=Uuid())).with_for_update()
)


async def lock_user(tx: Transaction, user_id: uuid.UUID) -> UserRow | None:
    """Lock a user and return the row, or `None` when there is no such user."""
    return await tx.first(_LOCK_USER, id=user_id)


async def lock_order(tx: Transaction, order_id: uuid.UUID) -> OrderRow | None:
    """Lock an order and return the row, or `None` when there is no such order."""
    return await tx.first(_LOCK_ORDER, id=order_id)


async def lock_cart(tx: Transaction, user_id: uuid.UUID) -> None:
    """Lock a user's cart, so that no other transaction changes its items."""
    await tx.execute(_LOCK_CART, user=user_id)


# ── Books and genres ──────────────────────────────────────────────────────────────────────


def _build_books_lock(statement: Select[Any]) -> Query[BookRow]:
    return Query(statement.order_by(tables.Book.id).with_for_update(key_share=True), BookRow)


_LOCK_BOOK = _build_books_lock(select(*BOOK_COLUMNS).where(tables.Book.id == _id))
_LOCK_BOOKS = _build_books_lock(select(*BOOK_COLUMNS).where(tables.Book.id == any_(_ids)))
_LOCK_BOOKS_BY_ISBN: Query[tuple[BookRow, str]] = Query(
    select(*BOOK_COLUMNS, tables.Book.author_names)
    .where(tables.Book.isbn == any_(bindparam("isbns", type_=ARRAY(String()))))
    .order_by(tables.Book.id)
    .with_for_update(key_share=True, of=tables.Book),
    lambda *columns: (BookRow(*columns[:-1]), columns[-1]),
)
_LOCK_BOOK_FOR_KEY_SHARE = Query(
    select(*BOOK_COLUMNS).where(tables.Book.id == _id).with_for_update(read=True, key_share=True), BookRow
)
_LOCK_GENRE_NAMES = Command(text("LOCK TABLE genres IN SHARE ROW EXCLUSIVE MODE"))
_LOCK_GENRE = Query(select(*GENRE_COLUMNS).where(tables.Genre.id == _id).with_for_update(), GenreRow)
_LOCK_GENRE_FOR_KEY_SHARE = Query(
    select(tables.Genre.id).where(tables.Genre.id == _id).with_for_update(read=True, key_share=True), bool
)


async def lock_book(tx: Transaction, book_id: uuid.UUID) -> BookRow | None:
    """Lock a book and return the row, or `None` when there is no such book."""
    return await tx.first(_LOCK_BOOK, id=book_id)


async def lock_books(tx: Transaction, book_ids: Iterable[uuid.UUID]) -> list[BookRow]:
    """Lock books by ascending id and return their rows; missing books are left out."""
    return await tx.all(_LOCK_BOOKS, ids=list(book_ids))


async def lock_books_by_isbn(tx: Transaction, isbns: Iterable[str]) -> list[tuple[BookRow, str]]:
    """Lock books by ascending id and return (row, author names, one a line) of each."""
    return await tx.all(_LOCK_BOOKS_BY_ISBN, isbns=list(isbns))


async def lock_book_for_key_share(tx: Transaction, book_id: uuid.UUID) -> BookRow | None:
    """Keep a book from being deleted, not from being sold or changed; `None` when there is no such book."""
    return await tx.first(_LOCK_BOOK_FOR_KEY_SHARE, id=book_id)


async def lock_genre_names(tx: Transaction) -> None:
    """Keep other transactions from adding or renaming genres while a name is checked for uniqueness."""
    await tx.execute(_LOCK_GENRE_NAMES)


async def lock_genre(tx: Transaction, genre_id: uuid.UUID) -> GenreRow | None:
    """Lock a genre, so that no book can be put into it; `None` when there is no such genre."""
    return await tx.first(_LOCK_GENRE, id=genre_id)


async def lock_genre_for_key_share(tx: Transaction, genre_id: uuid.UUID) -> bool:
    """Keep a genre from being deleted; false when there is no such genre."""
    return await tx.first(_LOCK_GENRE_FOR_KEY_SHARE, id=genre_id) is not None


# ── Reviews, pre-bookings and sales ───────────────────────────────────────────────────────

_LOCK_REVIEWS = Query(
    select(*REVIEW_COLUMNS)
    .where(tables.Review.id == any_(_ids), tables.Review.deleted_at.is_(None))
    .order_by(tables.Review.id)
    .with_for_update(),
    ReviewRow,
)
_LOCK_PREBOOKING = Query(
    select(*PREBOOKING_COLUMNS).where(tables.Prebooking.id == _id).with_for_update(), PrebookingRow
)
_LOCK_SALES_WINDOW = Command(select(tables.SalesWindow.since).with_for_update(read=True))


async def lock_reviews(tx: Transaction, review_ids: Iterable[uuid.UUID]) -> list[ReviewRow]:
    """Lock reviews by ascending id and return their rows; deleted reviews are left out."""
    return await tx.all(_LOCK_REVIEWS, ids=list(review_ids))


async def lock_prebooking(tx: Transaction, prebooking_id: uuid.UUID) -> PrebookingRow | None:
    """Lock a pre-booking and return the row, or `None` when there is no such pre-booking."""
    return await tx.first(_LOCK_PREBOOKING, id=prebooking_id)


async def lock_sales_window(tx: Transaction) -> dt.datetime:
    """Keep the sales window from moving and return its start: `book_sales` counts orders placed from then on."""
    since: dt.datetime = await tx.scalar(_LOCK_SALES_WINDOW)
    return since
