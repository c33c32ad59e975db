"""Lists of books and reviews as ORM selects, for both ORM peers."""

import base64
import datetime as dt
import uuid
from typing import Any

from sqlalchemy import Double, Select, cast, func, select, tuple_

from tools.bench.peers.orm import Book, Review


def select_newest(first: int, after: str | None) -> Select[Book]:
    """Select the newest books, and one more that tells whether there is a next page."""
    statement = select(Book).order_by(Book.added_at.desc(), Book.id.desc()).limit(first + 1)
    if after:
        at, id_ = decode_cursor(after)
        statement = statement.where(tuple_(Book.added_at, Book.id) < tuple_(at, id_))
    return statement


def select_matches(words: str, first: int) -> Select[Book]:
    """Select the books that match a search. Whole words count ten times as much as prefixes."""
    words_query, prefix_query = (func.search_query(words, " | ", suffix) for suffix in ("", ":*"))
    rank: Any = cast(10 * func.ts_rank(Book.search, words_query) + func.ts_rank(Book.search, prefix_query), Double)
    matches = Book.search.bool_op("@@")(func.search_query(words, " & ", ":*"))
    return select(Book).where(matches).order_by(rank.desc(), Book.id.desc()).limit(first + 1)


def select_reviews(book_id: uuid.UUID, first: int) -> Select[Review]:
    """Select the newest reviews of a book."""
    return (
        select(Review)
        .where(Review.book_id == book_id, Review.deleted_at.is_(None))
        .order_by(Review.created_at.desc(), Review.id.desc())
        .limit(first + 1)
    )


def encode_cursor(book: Book) -> str:
    """Return the position of a book in the list of the newest."""
    return base64.urlsafe_b64encode(f"{book.added_at.isoformat()} {book.id}".encode()).decode()


def decode_cursor(text: str) -> tuple[dt.datetime, uuid.UUID]:
    """Return the sort key and the id that a cursor encodes."""
    at, _, id_ = base64.urlsafe_b64decode(text).decode().partition(" ")
    return dt.datetime.fromisoformat(at), uuid.UUID(id_)
