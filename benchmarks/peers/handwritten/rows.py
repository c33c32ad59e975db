"""Our statements, whose rows become parts of the answer at once."""

import uuid
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

from benchmarks.peers.statements import STATEMENTS
from graph.scalars import format_datetime
from persistence.pages import Position
from persistence.query import Query

Answer = dict[str, Any]
Key = uuid.UUID


def id_of(kind: bytes, key: Key) -> str:
    return b2a_base64(kind + key.hex.encode(), newline=False).rstrip(b"=").decode()


def _with(name: str, row: Callable[..., Any]) -> Query[Any]:
    query = STATEMENTS[name]
    return Query(query.statement, row, skewed=query.skewed)


def _listed(sort_key: Any, id_: Key, *columns: Any) -> tuple[Position, Key | None, Answer]:
    return Position(sort_key, id_), columns[7], book_of(columns)


def book_of(columns: tuple[Any, ...]) -> Answer:
    return {
        "id": id_of(b"Book:", columns[0]),
        "title": columns[2],
        "authors": None,
        "isbn": columns[4],
        "price": {"amount": str(columns[13])},
        "stockQuantity": columns[14],
        "genre": None,
        "averageRating": None,
        "reviewCount": 0,
    }


def _rating(book_id: Key, *columns: Any) -> tuple[Key, float | None, int]:
    return book_id, float(columns[6]) if columns[5] else None, columns[5]


def _review(_: Any, id_: Key, *columns: Any) -> tuple[Key, Answer]:
    return columns[2], {
        "id": id_of(b"Review:", id_),
        "rating": columns[3],
        "text": columns[4],
        "createdAt": format_datetime(columns[5]),
        "reviewer": None,
    }


NEWEST_BOOKS = _with("newest", _listed)
NEXT_BOOKS = _with("newestAfter", _listed)
FOUND_BOOKS = _with("search", _listed)
ONE_BOOK = _with("books", lambda *columns: columns)
AUTHORS = _with("authors", lambda book_id, _, __, name: (book_id, {"name": name}))
GENRES = _with("genres", lambda id_, _, name: (id_, {"name": name}))
RATINGS = _with("ratings", _rating)
REVIEWS = _with("reviews", _review)
READERS = _with("users", lambda id_, _, name, *__: (id_, {"displayName": name}))
