"""The swift way: a selection written out as a Python function, for objects with which nothing is wrong.

It raises whatever it meets that is not as it should be; the careful way then finds out what that is.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphql import GraphQLEnumType, Undefined
from graphql.pyutils import is_awaitable

from graph.engine.shapes import Leaf, Listing, Object, Shape
from graph.engine.sources import Attribute, Batched, Call, Typename

if TYPE_CHECKING:
    from graph.engine.run import Run
    from graph.engine.selections import Field, Group, Selection

Swift = Callable[..., list[dict[str, Any]]]
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


def given_up(*_: Any) -> list[dict[str, Any]]:
    """For a selection that has no swift way."""
    raise Deviation


def written(selection: "Selection", fields: Sequence["Field"], groups: Sequence["Group"]) -> Swift:
    """Of the selection it completes these fields, and those of the groups: what they have at hand it takes after the parents and the run."""
    hands = [f"hand{number}" for number in range(len(groups))]
    loaded = {
        field: f"loaded{number}" for number, group in enumerate(groups) for field in group.fields if field.shape.inline
    }
    each = [f"loaded{number}" for number in range(len(groups))]
    writer = _Writer(["parents", "run", *hands], loaded)
    writer.line("rows = []")
    looped = (
        f"for parent, {', '.join(each)} in zip(parents, {', '.join(hands)}):" if groups else "for parent in parents:"
    )
    writer.line(looped)
    row = writer.selection(selection, [*fields, *loaded], "parent", 1)
    writer.line(f"rows.append({row})", 1)
    writer.line("return rows")
    return writer.function()


class _Writer:
    def __init__(self, parameters: Sequence[str], loaded: Mapping["Field", str]) -> None:
        self._parameters = parameters
        self._loaded = loaded
        self._names: dict[str, Any] = {}
        self._head: list[str] = []
        self._body: list[str] = []
        self._count = 0

    def function(self) -> Swift:
        source = "\n".join([f"def swift({', '.join(self._parameters)}):", *self._head, *self._body])
        exec(compile(source, "<swift>", "exec"), self._names)  # noqa: S102  # written here, of names made here
        swift: Swift = self._names["swift"]
        return swift

    def line(self, text: str, depth: int = 0) -> None:
        self._body.append("    " * (depth + 1) + text)

    def selection(self, selection: "Selection", fields: Collection["Field"], parent: str, depth: int) -> str:
        """Writes how these fields are completed, and tells the expression that is the row; other fields are null in it."""
        told = {field: self._field(field, parent, depth) for field in fields}
        return "{" + ", ".join(f"{field.key!r}: {told.get(field)}" for field in selection.fields) + "}"

    def _field(self, field: "Field", parent: str, depth: int) -> str:
        if isinstance(field.source, Typename):
            return repr(field.parent_type.name)
        value = self._name("v")
        self.line(f"{value} = {self._source(field, parent)}", depth)
        return self._value(field.shape, value, depth)

    def _source(self, field: "Field", parent: str) -> str:
        if isinstance(field.source, Batched):
            loaded = self._loaded.get(field, f"{parent}.{field.source.carried}")
            return f"{self._bound(field.source.then)}({loaded})"
        if isinstance(field.source, Attribute):
            return f"{parent}.{field.source.name}"
        assert isinstance(field.source, Call)
        if field.source.is_plain:
            return self._call(field.source, field, parent)
        call = self._name("c")
        self._head.append(f"    {call} = {self._bound(field.source.caller)}({self._bound(field)}, run)")
        return f"{call}({parent})"

    def _call(self, source: Call, field: "Field", parent: str) -> str:
        told = [parent]
        if source.bare.info:
            info = self._name("i")
            self._head.append(f"    {info} = run.info({self._bound(field)})")
            told.append(f"{source.bare.info}={info}")
        if field.definition.args:
            given = self._name("a")
            self._head.append(f"    {given} = {self._bound(source.arguments.of)}(run.variables)")
            told.append(f"**{given}")
        return f"{self._bound(source.bare.function)}({', '.join(told)})"

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
        self.line(f"{done} = {self.selection(shape.selection, shape.selection.fields, value, inner)}", inner)
        return done

    def _leaf(self, shape: Leaf, value: str, depth: int) -> str:
        looked_at = f"{value} = {self._bound(_looked_at(shape))}({value})"
        if shape.type.name in UNFIT:
            self.line(f"if {UNFIT[shape.type.name].format(value)}: {looked_at}", depth)
        elif isinstance(shape.type, GraphQLEnumType):
            self.line(f"{value} = {self._bound(_Names(shape))}[{value}]", depth)
        else:
            self.line(f"if {value}.__class__ not in {self._bound(shape.known)}: {looked_at}", depth)
            self.line("else:", depth)
            self.line(f"{value} = {self._bound(shape.type.coerce_output_value)}({value})", depth + 1)
            missing = f"{value} is None or {value} is {self._bound(Undefined)}"
            self.line(f"if {missing}: raise {self._bound(Deviation)}", depth + 1)
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


def _looked_at(shape: Leaf) -> Callable[[Any], Any]:
    def swiftly(value: Any) -> Any:
        if value is None or value is Undefined:
            if shape.required:
                raise Deviation
            return None
        if isinstance(value, Exception) or is_awaitable(value):
            raise Deviation
        serialized = shape.serialized(value)
        shape.known.add(value.__class__)
        return serialized

    return swiftly


class _Names(dict[Any, Any]):
    """The names of an enum's values; each is looked up once."""

    def __init__(self, shape: Leaf) -> None:
        super().__init__()
        self._look = _looked_at(shape)

    def __missing__(self, value: Any) -> Any:
        name = self[value] = self._look(value)
        return name


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
