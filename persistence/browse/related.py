"""Related books: those bought together, then by the same authors, then in the same genre."""

import uuid
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Select, Uuid, bindparam, column, func, literal, select, union_all
from sqlalchemy.dialects.postgresql import ARRAY

from persistence import tables
from persistence.catalog import BOOK_COLUMNS, BookRow
from persistence.orders import IS_EFFECTIVE
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query

MAX_RELATED = 20
MAX_PURCHASES = 300
"""How many of a book's latest purchases are read to find books bought together."""

_requested = (
    func.unnest(bindparam("ids", type_=ARRAY(Uuid())))
    .table_valued(column("id", Uuid()))
    .render_derived(name="requested")
)


def _select_bought_together() -> Select[*tuple[Any, ...]]:
    purchases = (
        select(tables.OrderItem.order_id)
        .where(tables.OrderItem.book_id == _requested.c.id)
        .order_by(tables.OrderItem.id.desc())
        .limit(MAX_PURCHASES)
        .correlate(_requested)
        .subquery("purchases")
    )
    purchase_count = func.count()
    return (
        select(tables.OrderItem.book_id, literal(1).label("tier"), purchase_count.label("weight"))
        .join(purchases, purchases.c.order_id == tables.OrderItem.order_id)
        .join(tables.Order, tables.Order.id == tables.OrderItem.order_id)
        .where(tables.OrderItem.book_id.is_not(None), tables.OrderItem.book_id != _requested.c.id, IS_EFFECTIVE)
        .group_by(tables.OrderItem.book_id)
        .order_by(purchase_count.desc(), tables.OrderItem.book_id)
        .limit(MAX_RELATED)
        .correlate(_requested)
    )


def _select_by_same_authors() -> Select[*tuple[Any, ...]]:
    own, other = tables.BookAuthor.__table__.alias("own"), tables.BookAuthor.__table__.alias("other")
    return (
        select(other.c.book_id, literal(2), literal(0))
        .join(own, own.c.author_id == other.c.author_id)
        .where(own.c.book_id == _requested.c.id, other.c.book_id != _requested.c.id)
        .order_by(other.c.book_id.desc())
        .limit(MAX_RELATED)
        .correlate(_requested)
    )


def _select_in_same_genre() -> Select[*tuple[Any, ...]]:
    other = tables.Book.__table__.alias("other")
    genre = (
        select(tables.Book.genre_id).where(tables.Book.id == _requested.c.id).correlate(_requested).scalar_subquery()
    )
    return (
        select(other.c.id, literal(3), literal(0))
        .where(other.c.genre_id == genre, other.c.id != _requested.c.id)
        .order_by(other.c.added_at.desc(), other.c.id.desc())
        .limit(MAX_RELATED)
        .correlate(_requested)
    )


_candidates = union_all(
    *(
        select(part.subquery())
        for part in (_select_bought_together(), _select_by_same_authors(), _select_in_same_genre())
    )
).subquery("candidates")
_rank = func.row_number().over(
    order_by=(func.min(_candidates.c.tier), func.max(_candidates.c.weight).desc(), _candidates.c.book_id)
)
_related = (
    select(_candidates.c.book_id, _rank.label("rank"))
    .group_by(_candidates.c.book_id)
    .order_by("rank")
    .limit(MAX_RELATED)
    .correlate(_requested)
    .lateral("related")
)
_RELATED: Query[tuple[uuid.UUID, BookRow]] = Query(
    select(_requested.c.id, *BOOK_COLUMNS)
    .select_from(_requested)
    .join(_related, literal(True))
    .join(tables.Book, tables.Book.id == _related.c.book_id)
    .order_by(_requested.c.id, _related.c.rank),
    lambda id_, *book: (id_, BookRow(*book)),
)


async def list_related_books(db: ReadSession, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, BookRow]]:
    """Return (book id, related book) for several books: up to `MAX_RELATED` each, the closest first."""
    return await db.all(_RELATED, ids=list(book_ids))
