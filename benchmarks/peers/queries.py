"""The lists of books and reviews as ORM selects, for both peers that use the ORM."""

import base64
import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Double, Select, cast, func, select, tuple_

from benchmarks.peers.orm import Book, Review


def newest(first: int, after: str | None) -> Select[Book]:
    """One more than are wanted tells whether there are more."""
    statement = select(Book).order_by(Book.added_at.desc(), Book.id.desc()).limit(first + 1)
    if after:
        at, id_ = decoded(after)
        statement = statement.where(tuple_(Book.added_at, Book.id) < tuple_(at, id_))
    return statement


def found(words: str, first: int) -> Select[Book]:
    """Whole words count ten times what beginnings do."""
    whole, begun = (func.search_query(words, " | ", suffix) for suffix in ("", ":*"))
    rank: Any = cast(10 * func.ts_rank(Book.search, whole) + func.ts_rank(Book.search, begun), Double)
    matches = Book.search.bool_op("@@")(func.search_query(words, " & ", ":*"))
    return select(Book).where(matches).order_by(rank.desc(), Book.id.desc()).limit(first + 1)


def reviews_of(book_id: uuid.UUID, first: int) -> Select[Review]:
    return (
        select(Review)
        .where(Review.book_id == book_id, Review.deleted_at.is_(None))
        .order_by(Review.created_at.desc(), Review.id.desc())
        .limit(first + 1)
    )


def cursor(book: Book) -> str:
    return base64.urlsafe_b64encode(f"{book.added_at.isoformat()} {book.id}".encode()).decode()


def decoded(text: str) -> tuple[dt.datetime, uuid.UUID]:
    at, _, id_ = base64.urlsafe_b64decode(text).decode().partition(" ")
    return dt.datetime.fromisoformat(at), uuid.UUID(id_)
