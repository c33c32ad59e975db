"""Rows made of what a statement selects, by functions that are written for its columns: one call for each row, and none for its parts."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from persistence.postgres.columns import ColumnNames


class NestedRow(NamedTuple):
    """What comes along with a row, as its `attribute`: one, or nothing where its first column is NULL and it is not `certain`.

    Of `many` each column is an array.
    """

    attribute: str
    row_class: type
    column_names: ColumnNames
    is_list: bool = False
    is_required: bool = False


def make_row_factory(
    row_class: type, column_names: ColumnNames, nested_rows: Sequence[NestedRow] = (), *, has_sort_key: bool = False
) -> Callable[..., Any]:
    """A function that makes a row of the values of these columns and then those of its parts; of other attributes it has none.

    Where rows are `keyed`, a sort key stands before the columns, the first of which is the id, and an `Item` is made.
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
        """Writes how a row is made; tells its name."""
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
        exec(compile(source, "<row_factory>", "exec"), self._namespace)  # noqa: S102  # written here, of names of ours
        row_factory: Callable[..., Any] = self._namespace["make_row"]
        return row_factory
