"""Books that the readers of a book may like: bought together, then by the same authors, then in the same genre."""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, Uuid, bindparam, column, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY

from persistence.catalog import BOOK, Book
from persistence.database import Reading
from persistence.models import Book as books
from persistence.models import BookAuthor as book_authors
from persistence.models import Order as orders
from persistence.models import OrderItem as items
from persistence.orders import STANDS
from persistence.query import Query

MOST_RELATED = 20
LATEST_PURCHASES = 300
"""Of a book's purchases, so many are looked at."""

_wanted = (
    func.unnest(bindparam("ids", type_=ARRAY(Uuid()))).table_valued(column("id", Uuid())).render_derived(name="wanted")
)


def _bought_together() -> Select[*tuple[Any, ...]]:
    purchases = (
        select(items.order_id)
        .where(items.book_id == _wanted.c.id)
        .order_by(items.id.desc())
        .limit(LATEST_PURCHASES)
        .correlate(_wanted)
        .subquery("purchases")
    )
    times = func.count()
    return (
        select(items.book_id, literal(1).label("tier"), times.label("weight"))
        .join(purchases, purchases.c.order_id == items.order_id)
        .join(orders, orders.id == items.order_id)
        .where(items.book_id.is_not(None), items.book_id != _wanted.c.id, STANDS)
        .group_by(items.book_id)
        .order_by(times.desc(), items.book_id)
        .limit(MOST_RELATED)
        .correlate(_wanted)
    )


def _by_same_authors() -> Select[*tuple[Any, ...]]:
    own, other = book_authors.__table__.alias("own"), book_authors.__table__.alias("other")
    return (
        select(other.c.book_id, literal(2), literal(0))
        .join(own, own.c.author_id == other.c.author_id)
        .where(own.c.book_id == _wanted.c.id, other.c.book_id != _wanted.c.id)
        .order_by(other.c.book_id.desc())
        .limit(MOST_RELATED)
        .correlate(_wanted)
    )


def _in_same_genre() -> Select[*tuple[Any, ...]]:
    shelf = books.__table__.alias("shelf")
    genre = select(books.genre_id).where(books.id == _wanted.c.id).correlate(_wanted).scalar_subquery()
    return (
        select(shelf.c.id, literal(3), literal(0))
        .where(shelf.c.genre_id == genre, shelf.c.id != _wanted.c.id)
        .order_by(shelf.c.added_at.desc(), shelf.c.id.desc())
        .limit(MOST_RELATED)
        .correlate(_wanted)
    )


_candidates = union_all(
    *(select(part.subquery()) for part in (_bought_together(), _by_same_authors(), _in_same_genre()))
).subquery("candidates")
_first = func.row_number().over(
    order_by=(func.min(_candidates.c.tier), func.max(_candidates.c.weight).desc(), _candidates.c.book_id)
)
_related = (
    select(_candidates.c.book_id, _first.label("place"))
    .group_by(_candidates.c.book_id)
    .order_by("place")
    .limit(MOST_RELATED)
    .correlate(_wanted)
    .lateral("related")
)
_RELATED: Query[tuple[uuid.UUID, Book]] = Query(
    select(_wanted.c.id, *BOOK)
    .select_from(_wanted)
    .join(_related, literal(True))
    .join(books, books.id == _related.c.book_id)
    .order_by(_wanted.c.id, _related.c.place),
    lambda id_, *book: (id_, Book(*book)),
)


async def list_related_books(reading: Reading, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, Book]]:
    """For each of several books up to `MOST_RELATED` others, the closest first."""
    return await reading.all(_RELATED, ids=list(book_ids))
