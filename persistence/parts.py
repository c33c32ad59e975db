"""Rows of which only some columns are read."""

from collections.abc import Collection, Sequence
from typing import Any

Names = tuple[str, ...]


def names_of(row: Any, read: Collection[str] | None) -> Names:
    """The columns that hold these attributes of a row, in its order; all of them where an attribute is made of others."""
    columns: Names = row.__slots__
    return columns if read is None or not set(columns).issuperset(read) else tuple(filter(read.__contains__, columns))


def without_id(names: Names) -> Names:
    return tuple(name for name in names if name != "id")


def columns_of(model: Any, names: Sequence[str]) -> list[Any]:
    """Of a table. A row's `id` is the table's primary key, whatever it is called there."""
    [key] = model.__table__.primary_key if "id" in names else [None]
    return [key if name == "id" else getattr(model, name) for name in names]
