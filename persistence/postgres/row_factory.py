"""Generates a row factory per set of columns, so that a row and its nested rows are built in one call."""

from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any, NamedTuple

ColumnNames = tuple[str, ...]


def select_column_names(row_class: Any, attributes: Collection[str] | None) -> ColumnNames:
    """Return the columns of a row class that hold these attributes, in the order of the class.

    Returns all columns when `attributes` is `None` or contains an attribute that is not a column.
    """
    columns: ColumnNames = row_class.__slots__
    return (
        columns
        if attributes is None or not set(columns).issuperset(attributes)
        else tuple(filter(attributes.__contains__, columns))
    )


def exclude_id(column_names: ColumnNames) -> ColumnNames:
    """Return the column names without `id`."""
    return tuple(name for name in column_names if name != "id")


def get_columns(table: Any, column_names: Sequence[str]) -> list[Any]:
    """Return a table's columns by name. The name `id` means the primary key, whatever its name is in the table."""
    [primary_key] = table.__table__.primary_key if "id" in column_names else [None]
    return [primary_key if name == "id" else getattr(table, name) for name in column_names]


class NestedRow(NamedTuple):
    """A row, or a list of rows, that becomes the `attribute` of its parent row."""

    attribute: str
    row_class: type
    column_names: ColumnNames
    is_list: bool = False
    """Each column is an array with one item per row of the list."""
    is_required: bool = False
    """Otherwise the attribute is `None` when the first column is NULL."""


def make_row_factory(
    row_class: type, column_names: ColumnNames, nested_rows: Sequence[NestedRow] = (), *, has_sort_key: bool = False
) -> Callable[..., Any]:
    """Return a function that builds a row from the values of its columns, followed by those of its nested rows.

    The row has no other attributes. With `has_sort_key`, a sort key precedes the columns, the first column is the id,
    and the function returns a `KeyedRow`.
    """
    writer = _CodeWriter()
    sort_key = [writer.add_column()] if has_sort_key else []
    columns = [writer.add_column() for _ in column_names]
    row_name = writer.add_row(row_class, zip(column_names, columns, strict=True), depth=1)
    for nested_row in nested_rows:
        writer.add_nested_row(row_name, nested_row)
    writer.add_line(f"return {', '.join([*sort_key, columns[0], row_name]) if has_sort_key else row_name}", depth=1)
    return writer.build()


class _CodeWriter:
    def __init__(self) -> None:
        self._columns: list[str] = []
        self._body: list[str] = []
        self._namespace: dict[str, Any] = {"new": object.__new__}

    def add_column(self) -> str:
        self._columns.append(f"column{len(self._columns)}")
        return self._columns[-1]

    def add_line(self, text: str, depth: int) -> None:
        self._body.append("    " * depth + text)

    def add_row(self, row_class: type, attributes: Iterable[tuple[str, str]], depth: int) -> str:
        """Add the lines that build a row. Return the name of its variable."""
        name = f"row{len(self._namespace)}"
        self._namespace[name.upper()] = row_class
        self.add_line(f"{name} = new({name.upper()})", depth)
        for attribute, column in attributes:
            self.add_line(f"{name}.{attribute} = {column}", depth)
        return name

    def add_nested_row(self, parent_name: str, nested_row: NestedRow) -> None:
        """Add the lines that set an attribute of the parent row."""
        columns = [self.add_column() for _ in nested_row.column_names]
        target = f"{parent_name}.{nested_row.attribute}"
        if nested_row.is_list:
            self._add_list(target, nested_row, columns)
            return
        depth = 1
        if not nested_row.is_required:
            self.add_line(f"if {columns[0]} is None: {target} = None", 1)
            self.add_line("else:", 1)
            depth = 2
        attributes = zip(nested_row.column_names, columns, strict=True)
        self.add_line(f"{target} = {self.add_row(nested_row.row_class, attributes, depth)}", depth)

    def _add_list(self, target: str, nested_row: NestedRow, columns: Sequence[str]) -> None:
        items = [f"item{number}" for number in range(len(columns))]
        iterable = f"zip({', '.join(columns)})" if len(columns) > 1 else columns[0]
        self.add_line(f"{target} = rows = []", 1)
        self.add_line(f"if {columns[0]}:", 1)
        self.add_line(f"for {', '.join(items)} in {iterable}:", 2)
        attributes = zip(nested_row.column_names, items, strict=True)
        self.add_line(f"rows.append({self.add_row(nested_row.row_class, attributes, 3)})", 3)

    def build(self) -> Callable[..., Any]:
        """Compile the lines and return the function."""
        source = "\n".join([f"def make_row({', '.join(self._columns)}):", *self._body])
        exec(compile(source, "<row_factory>", "exec"), self._namespace)  # noqa: S102  # the source holds our own names only
        row_factory: Callable[..., Any] = self._namespace["make_row"]
        return row_factory
