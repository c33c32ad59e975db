"""Rows of which only some columns are read."""

from collections.abc import Collection, Sequence
from typing import Any

ColumnNames = tuple[str, ...]


def select_column_names(row_class: Any, attributes: Collection[str] | None) -> ColumnNames:
    """The columns that hold these attributes of a row, in its order; all of them where an attribute is made of others."""
    columns: ColumnNames = row_class.__slots__
    return (
        columns
        if attributes is None or not set(columns).issuperset(attributes)
        else tuple(filter(attributes.__contains__, columns))
    )


def exclude_id(column_names: ColumnNames) -> ColumnNames:
    return tuple(name for name in column_names if name != "id")


def get_columns(table: Any, column_names: Sequence[str]) -> list[Any]:
    """Of a table. A row's `id` is the table's primary key, whatever it is called there."""
    [primary_key] = table.__table__.primary_key if "id" in column_names else [None]
    return [primary_key if name == "id" else getattr(table, name) for name in column_names]
