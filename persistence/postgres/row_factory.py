"""Row factories generated per column set: one call builds a row and its nested rows."""

from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple

ColumnNames = tuple[str, ...]


def select_column_names(row_class: Any, attributes: Collection[str] | None) -> ColumnNames:
    """Return the columns of a row class that hold these attributes; all where an attribute is computed from others."""
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
    """Return columns of a table by name. `id` stands for the primary key, whatever its name."""
    [primary_key] = table.__table__.primary_key if "id" in column_names else [None]
    return [primary_key if name == "id" else getattr(table, name) for name in column_names]


class NestedRow(NamedTuple):
    """A row nested in another as its `attribute`; `None` where its first column is NULL, unless `is_required`.

    With `is_list`, each column is an array and the attribute a list of rows.
    """

    attribute: str
    row_class: type
    column_names: ColumnNames
    is_list: bool = False
    is_required: bool = False


def make_row_factory(
    row_class: type, column_names: ColumnNames, nested_rows: Sequence[NestedRow] = (), *, has_sort_key: bool = False
) -> Callable[..., Any]:
    """Generate a function that builds a row from the values of these columns, then those of its nested rows.

    Attributes of other columns stay unset. With `has_sort_key`, a sort key precedes the columns, the first column is the
    id, and the function returns a `KeyedRow`.
    """
    writer = _CodeWriter()
    key = [writer.add_column()] if has_sort_key else []
    columns = [writer.add_column() for _ in column_names]
    row_name = writer.add_row(row_class, zip(column_names, columns, strict=True), depth=1)
    for nested_row in nested_rows:
        writer.add_nested_row(row_name, nested_row)
    writer.add_line(f"return {', '.join([*key, columns[0], row_name]) if has_sort_key else row_name}", depth=1)
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

    def add_row(self, row_class: type, attributes: Any, depth: int) -> str:
        """Emit the construction of a row; return its variable name."""
        name = f"row{len(self._namespace)}"
        self._namespace[name.upper()] = row_class
        self.add_line(f"{name} = new({name.upper()})", depth)
        for attribute, column in attributes:
            self.add_line(f"{name}.{attribute} = {column}", depth)
        return name

    def add_nested_row(self, parent_name: str, nested_row: NestedRow) -> None:
        columns = [self.add_column() for _ in nested_row.column_names]
        target = f"{parent_name}.{nested_row.attribute}"
        if nested_row.is_list:
            items = [f"item{number}" for number in range(len(columns))]
            iterable = f"zip({', '.join(columns)})" if len(columns) > 1 else columns[0]
            self.add_line(f"{target} = rows = []", 1)
            self.add_line(f"if {columns[0]}:", 1)
            self.add_line(f"for {', '.join(items)} in {iterable}:", 2)
            self.add_line(
                f"rows.append({self.add_row(nested_row.row_class, zip(nested_row.column_names, items, strict=True), 3)})",
                3,
            )
        elif nested_row.is_required:
            self.add_line(
                f"{target} = {self.add_row(nested_row.row_class, zip(nested_row.column_names, columns, strict=True), 1)}",
                1,
            )
        else:
            self.add_line(f"if {columns[0]} is None: {target} = None", 1)
            self.add_line("else:", 1)
            self.add_line(
                f"{target} = {self.add_row(nested_row.row_class, zip(nested_row.column_names, columns, strict=True), 2)}",
                2,
            )

    def build(self) -> Callable[..., Any]:
        source = "\n".join([f"def make_row({', '.join(self._columns)}):", *self._body])
        exec(compile(source, "<row_factory>", "exec"), self._namespace)  # noqa: S102  # generated from our own column names
        row_factory: Callable[..., Any] = self._namespace["make_row"]
        return row_factory
