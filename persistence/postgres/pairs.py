"""Queries for many (user, book) pairs in one statement."""

import uuid
from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Uuid, bindparam, column, func
from sqlalchemy.dialects.postgresql import ARRAY

UserBookPair = tuple[uuid.UUID, uuid.UUID]
"""A user and a book."""

PAIRS = (
    func.unnest(bindparam("users", type_=ARRAY(Uuid())), bindparam("books", type_=ARRAY(Uuid())))
    .table_valued(column("user_id", Uuid()), column("book_id", Uuid()))
    .render_derived(name="pairs")
)


def matches_pair(table: Any) -> ColumnElement[bool]:
    """Return the condition that joins a table with the requested pairs."""
    condition: ColumnElement[bool] = (table.user_id == PAIRS.c.user_id) & (table.book_id == PAIRS.c.book_id)
    return condition


def build_pair_parameters(pairs: Sequence[UserBookPair]) -> dict[str, list[uuid.UUID]]:
    """Return the bind parameters of `PAIRS`."""
    return {"users": [user for user, _ in pairs], "books": [book for _, book in pairs]}
