"""The swift way: a selection written out as a Python function, for objects with which nothing is wrong.

It raises whatever it meets that is not as it should be; the careful way then finds out what that is.
"""

import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from graphql import Undefined
from graphql.pyutils import is_awaitable

from graph.engine.shapes import Leaf, Listing, Object, Shape
from graph.engine.sources import Attribute, Call, Typename

if TYPE_CHECKING:
    from graph.engine.run import Run
    from graph.engine.selections import Field, Selection

Swift = Callable[[Sequence[Any], "Run"], list[dict[str, Any]]]
"""The rows of some parents."""

UNFIT = {
    "String": "{0}.__class__ is not str",
    "ID": "{0}.__class__ is not str",
    "Boolean": "{0} is not True and {0} is not False",
    "Int": "{0}.__class__ is not int or not -2147483648 <= {0} <= 2147483647",
    "Float": f"{{0}}.__class__ is not float or not {-sys.float_info.max!r} <= {{0}} <= {sys.float_info.max!r}",
}
"""When a value of a built-in scalar has to be looked at closely."""


class Deviation(Exception):
    """Something is not as it should be."""


def written(selection: "Selection") -> Swift:
    writer = _Writer()
    writer.line("rows = []")
    writer.line("for parent in parents:")
    with_rows = writer.selection(selection, "parent", 1)
    writer.line(f"rows.append({with_rows})", 1)
    writer.line("return rows")
    return writer.function()


class _Writer:
    def __init__(self) -> None:
        self._names: dict[str, Any] = {}
        self._head: list[str] = []
        self._body: list[str] = []
        self._count = 0

    def function(self) -> Swift:
        source = "\n".join(["def swift(parents, run):", *self._head, *self._body])
        exec(compile(source, "<swift>", "exec"), self._names)  # noqa: S102  # written here, of names made here
        swift: Swift = self._names["swift"]
        return swift

    def line(self, text: str, depth: int = 0) -> None:
        self._body.append("    " * (depth + 1) + text)

    def selection(self, selection: "Selection", parent: str, depth: int) -> str:
        """Writes what comes before, and tells the expression that is the row."""
        told = {field: self._field(field, parent, depth) for field in selection.swift_fields}
        return "{" + ", ".join(f"{field.key!r}: {told.get(field)}" for field in selection.fields) + "}"

    def _field(self, field: "Field", parent: str, depth: int) -> str:
        if isinstance(field.source, Typename):
            return repr(field.parent_type.name)
        value = self._name("v")
        self.line(f"{value} = {self._source(field, parent)}", depth)
        return self._value(field.shape, value, depth)

    def _source(self, field: "Field", parent: str) -> str:
        if isinstance(field.source, Attribute):
            return f"{parent}.{field.source.name}"
        assert isinstance(field.source, Call)
        call = self._name("c")
        self._head.append(f"    {call} = {self._bound(field.source.caller)}({self._bound(field)}, run)")
        return f"{call}({parent})"

    def _value(self, shape: Shape, value: str, depth: int) -> str:
        """Writes how a value is completed; tells the name or expression of what it becomes."""
        if isinstance(shape, Leaf):
            return self._leaf(shape, value, depth)
        done = self._name("d")
        if isinstance(shape, Listing):
            self.line(f"if {value}.__class__ is not list: {value} = {self._bound(_items(shape))}({value})", depth)
            inner = self._unless_null(shape.required, value, done, depth)
            self.line(f"{done} = []", inner)
            item = self._name("v")
            self.line(f"for {item} in {value}:", inner)
            self.line(f"{done}.append({self._value(shape.item, item, inner + 1)})", inner + 1)
            return done
        assert isinstance(shape, Object)
        inner = self._unless_null(shape.required, value, done, depth)
        self.line(
            f"if {value}.__class__ not in {self._bound(shape.known)}: {self._bound(_admitted(shape))}({value}, run)",
            inner,
        )
        self.line(f"{done} = {self.selection(shape.selection, value, inner)}", inner)
        return done

    def _leaf(self, shape: Leaf, value: str, depth: int) -> str:
        unfit = UNFIT.get(shape.type.name)
        serialized = f"{value} = {self._bound(_serialized(shape))}({value})"
        self.line(f"if {unfit.format(value)}: {serialized}" if unfit else serialized, depth)
        return value

    def _unless_null(self, required: bool, value: str, done: str, depth: int) -> int:
        """How deep to write on."""
        if required:
            return depth
        self.line(f"if {value} is None: {done} = None", depth)
        self.line("else:", depth)
        return depth + 1

    def _name(self, kind: str) -> str:
        self._count += 1
        return f"{kind}{self._count}"

    def _bound(self, thing: Any) -> str:
        """The name that a thing has in the function."""
        name = self._name("x")
        self._names[name] = thing
        return name


def _serialized(shape: Leaf) -> Callable[[Any], Any]:
    serialized, required = shape.serialized, shape.required

    def swiftly(value: Any) -> Any:
        if value is None or value is Undefined:
            if required:
                raise Deviation
            return None
        if isinstance(value, Exception) or is_awaitable(value):
            raise Deviation
        return serialized(value)

    return swiftly


def _items(shape: Listing) -> Callable[[Any], Any]:
    def swiftly(value: Any) -> Any:
        if value.__class__ is tuple or (value is None and not shape.required):
            return value
        raise Deviation

    return swiftly


def _admitted(shape: Object) -> Callable[[Any, "Run"], None]:
    def swiftly(value: Any, run: "Run") -> None:
        if value is None or value is Undefined or isinstance(value, Exception) or is_awaitable(value):
            raise Deviation
        shape.admit(value, run)

    return swiftly
