"""Our statements, with row factories that return parts of the response."""

import uuid
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

from graph.kit.scalars import format_datetime
from persistence.postgres.keyset import KeyedRow
from persistence.postgres.statements import Query
from tools.bench.peers.statements import STATEMENTS

Json = dict[str, Any]
Key = uuid.UUID


def global_id(kind: bytes, key: Key) -> str:
    """Return a global id."""
    return b2a_base64(kind + key.hex.encode(), newline=False).rstrip(b"=").decode()


def _with_row_factory(name: str, row: Callable[..., Any]) -> Query[Any]:
    query = STATEMENTS[name]
    return Query(query.statement, row, needs_custom_plan=query.needs_custom_plan)


def _names(authors: list[str] | None) -> list[Json]:
    return [{"name": name} for name in authors or ()]


def _average(count: int | None, average: float | None) -> float | None:
    return average if count else None


def _list_row(
    sort_key: Any,
    id_: Key,
    title: str,
    isbn: str | None,
    price: Any,
    stock: int,
    authors: Any,
    genre: Any,
    *rating: Any,
) -> KeyedRow[Json]:
    return (
        sort_key,
        id_,
        {
            "id": global_id(b"Book:", id_),
            "title": title,
            "authors": _names(authors),
            "isbn": isbn,
            "price": {"amount": str(price)},
            "stockQuantity": stock,
            "genre": {"name": genre} if genre else None,
            "averageRating": _average(*rating),
            "reviewCount": rating[0] or 0,
        },
    )


def _match_row(_: Any, id_: Key, title: str, price: Any, stock: int, authors: Any, *rating: Any) -> Json:
    return {
        "id": global_id(b"Book:", id_),
        "title": title,
        "authors": _names(authors),
        "price": {"amount": str(price)},
        "stockQuantity": stock,
        "averageRating": _average(*rating),
    }


def _detail_row(
    id_: Key,
    title: str,
    isbn: str | None,
    description: str | None,
    price: Any,
    stock: int,
    authors: Any,
    genre: Any,
    *rating: Any,
) -> Json:
    return {
        "id": global_id(b"Book:", id_),
        "title": title,
        "description": description,
        "isbn": isbn,
        "authors": _names(authors),
        "genre": {"name": genre} if genre else None,
        "price": {"amount": str(price)},
        "stockQuantity": stock,
        "averageRating": _average(*rating),
        "reviewCount": rating[0] or 0,
    }


def _review_row(_: Any, id_: Key, rating: int, text: str | None, created_at: Any, reviewer: str) -> Json:
    return {
        "id": global_id(b"Review:", id_),
        "rating": rating,
        "text": text,
        "createdAt": format_datetime(created_at),
        "reviewer": {"displayName": reviewer},
    }


NEWEST_BOOKS = _with_row_factory("newest", _list_row)
NEXT_BOOKS = _with_row_factory("newestAfter", _list_row)
MATCHES = _with_row_factory("search", _match_row)
ONE_BOOK = _with_row_factory("book", _detail_row)
REVIEWS = _with_row_factory("reviews", _review_row)
