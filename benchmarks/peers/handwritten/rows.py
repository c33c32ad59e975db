"""Our statements, whose rows become parts of the answer at once."""

import uuid
from binascii import b2a_base64
from collections.abc import Callable
from typing import Any

from benchmarks.peers.statements import STATEMENTS
from graph.kit.scalars import format_datetime
from persistence.postgres.keyset import KeyedRow
from persistence.postgres.statements import Query

Answer = dict[str, Any]
Key = uuid.UUID


def id_of(kind: bytes, key: Key) -> str:
    return b2a_base64(kind + key.hex.encode(), newline=False).rstrip(b"=").decode()


def _with(name: str, row: Callable[..., Any]) -> Query[Any]:
    query = STATEMENTS[name]
    return Query(query.statement, row, needs_custom_plan=query.needs_custom_plan)


def _names(authors: list[str] | None) -> list[Answer]:
    return [{"name": name} for name in authors or ()]


def _average(count: int | None, average: float | None) -> float | None:
    return average if count else None


def _listed(
    sort_key: Any,
    id_: Key,
    title: str,
    isbn: str | None,
    price: Any,
    stock: int,
    authors: Any,
    genre: Any,
    *rating: Any,
) -> KeyedRow[Answer]:
    return (
        sort_key,
        id_,
        {
            "id": id_of(b"Book:", id_),
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


def _found(_: Any, id_: Key, title: str, price: Any, stock: int, authors: Any, *rating: Any) -> Answer:
    return {
        "id": id_of(b"Book:", id_),
        "title": title,
        "authors": _names(authors),
        "price": {"amount": str(price)},
        "stockQuantity": stock,
        "averageRating": _average(*rating),
    }


def _shown(
    id_: Key,
    title: str,
    isbn: str | None,
    description: str | None,
    price: Any,
    stock: int,
    authors: Any,
    genre: Any,
    *rating: Any,
) -> Answer:
    return {
        "id": id_of(b"Book:", id_),
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


def _review(_: Any, id_: Key, rating: int, text: str | None, created_at: Any, reader: str) -> Answer:
    return {
        "id": id_of(b"Review:", id_),
        "rating": rating,
        "text": text,
        "createdAt": format_datetime(created_at),
        "reviewer": {"displayName": reader},
    }


NEWEST_BOOKS = _with("newest", _listed)
NEXT_BOOKS = _with("newestAfter", _listed)
FOUND_BOOKS = _with("search", _found)
ONE_BOOK = _with("book", _shown)
REVIEWS = _with("reviews", _review)
