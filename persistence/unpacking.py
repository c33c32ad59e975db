"""Rows made of what a statement selects, by functions that are written for its columns: one call for each row, and none for its parts."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from persistence.parts import Names


class Part(NamedTuple):
    """What comes along with a row, as its `attribute`: one, or nothing where its first column is NULL and it is not `certain`.

    Of `many` each column is an array.
    """

    attribute: str
    row: type
    names: Names
    many: bool = False
    certain: bool = False


def unpacking(row: type, names: Names, parts: Sequence[Part] = (), *, keyed: bool = False) -> Callable[..., Any]:
    """A function that makes a row of the values of these columns and then those of its parts; of other attributes it has none.

    Where rows are `keyed`, a sort key stands before the columns, the first of which is the id, and an `Item` is made.
    """
    writer = _Writer()
    key = [writer.column()] if keyed else []
    columns = [writer.column() for _ in names]
    made = writer.made(row, zip(names, columns, strict=True), depth=1)
    for part in parts:
        writer.part(made, part)
    writer.line(f"return {', '.join([*key, columns[0], made]) if keyed else made}", depth=1)
    return writer.function()


class _Writer:
    def __init__(self) -> None:
        self._columns: list[str] = []
        self._body: list[str] = []
        self._rows: dict[str, Any] = {"new": object.__new__}

    def column(self) -> str:
        self._columns.append(f"column{len(self._columns)}")
        return self._columns[-1]

    def line(self, text: str, depth: int) -> None:
        self._body.append("    " * depth + text)

    def made(self, row: type, attributes: Any, depth: int) -> str:
        """Writes how a row is made; tells its name."""
        name = f"row{len(self._rows)}"
        self._rows[name.upper()] = row
        self.line(f"{name} = new({name.upper()})", depth)
        for attribute, column in attributes:
            self.line(f"{name}.{attribute} = {column}", depth)
        return name

    def part(self, holder: str, part: Part) -> None:
        columns = [self.column() for _ in part.names]
        place = f"{holder}.{part.attribute}"
        if part.many:
            items = [f"item{number}" for number in range(len(columns))]
            each = f"zip({', '.join(columns)})" if len(columns) > 1 else columns[0]
            self.line(f"{place} = made = []", 1)
            self.line(f"if {columns[0]}:", 1)
            self.line(f"for {', '.join(items)} in {each}:", 2)
            self.line(f"made.append({self.made(part.row, zip(part.names, items, strict=True), 3)})", 3)
        elif part.certain:
            self.line(f"{place} = {self.made(part.row, zip(part.names, columns, strict=True), 1)}", 1)
        else:
            self.line(f"if {columns[0]} is None: {place} = None", 1)
            self.line("else:", 1)
            self.line(f"{place} = {self.made(part.row, zip(part.names, columns, strict=True), 2)}", 2)

    def function(self) -> Callable[..., Any]:
        source = "\n".join([f"def unpack({', '.join(self._columns)}):", *self._body])
        exec(compile(source, "<unpacking>", "exec"), self._rows)  # noqa: S102  # written here, of names of ours
        made: Callable[..., Any] = self._rows["unpack"]
        return made
