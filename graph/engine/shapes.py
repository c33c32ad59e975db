"""How values become what the answer holds, by their types: many at once, and carefully, for whatever may be wrong with them.

A value that is an exception is a failure. Whatever fails becomes null here; `Failures.settle` then takes what may not be null with it.
"""

from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import TYPE_CHECKING, Any, Protocol

from graphql import (
    GraphQLAbstractType,
    GraphQLError,
    GraphQLLeafType,
    GraphQLNonNull,
    GraphQLObjectType,
    GraphQLOutputType,
    Undefined,
    default_type_resolver,
    is_abstract_type,
    is_leaf_type,
    is_list_type,
    is_non_null_type,
    is_object_type,
)
from graphql.pyutils import inspect, is_awaitable, is_iterable

from graph.engine.failures import ItemPlaces, Places, SomePlaces

if TYPE_CHECKING:
    from graph.engine.run import Run
    from graph.engine.selections import Field, Selection, Selections

Values = Sequence[Any]
Jobs = list[Coroutine[Any, Any, None]]
Watch = Callable[[str, Coroutine[Any, Any, None]], Coroutine[Any, Any, None]]
"""Puts something around a job, which is told by the names of its fields."""
"""What has to be waited for until the answer is whole."""


class Shape(Protocol):
    inline: bool
    """Whether it can be written out as plain Python: nothing in it waits, nor depends on what type a value turns out to have."""

    def complete(self, values: Values, places: Places, run: "Run", jobs: Jobs) -> list[Any]: ...


class _Shape:
    """`required` says that its type is non-null."""

    def __init__(self, field: "Field", *, required: bool) -> None:
        self.field = field
        self.required = required

    def _fail(self, error: Exception, index: int, places: Places, run: "Run") -> None:
        run.failures.add(places, index, error, self.field.nodes)

    def _is_sound(self, value: Any, index: int, places: Places, run: "Run") -> bool:
        """Whether there is a value to be completed."""
        if value is None or value is Undefined:
            if self.required:
                field = self.field
                missing = f"Cannot return null for non-nullable field {field.parent_type}.{field.name}."
                self._fail(TypeError(missing), index, places, run)
            return False
        if is_awaitable(value):
            value.close() if hasattr(value, "close") else None
            value = TypeError(f"The resolver of {self.field.parent_type}.{self.field.name} must be declared async.")
        if isinstance(value, Exception):
            self._fail(value, index, places, run)
            return False
        return True


class Leaf(_Shape):
    inline = True

    def __init__(self, field: "Field", type_: GraphQLLeafType, *, required: bool) -> None:
        super().__init__(field, required=required)
        self.type = type_
        self.known: set[type] = set()
        """Classes whose values have been serialized."""

    def complete(self, values: Values, places: Places, run: "Run", jobs: Jobs) -> list[Any]:
        return [self._completed(value, index, places, run) for index, value in enumerate(values)]

    def _completed(self, value: Any, index: int, places: Places, run: "Run") -> Any:
        if not self._is_sound(value, index, places, run):
            return None
        try:
            return self.serialized(value)
        except Exception as error:
            self._fail(error, index, places, run)
            return None

    def serialized(self, value: Any) -> Any:
        coerced = self.type.coerce_output_value(value)
        if coerced is None or coerced is Undefined:
            raise TypeError(
                f"Expected `{inspect(self.type)}.coerce_output_value({inspect(value)})` to return non-nullable value,"
                f" returned: {inspect(coerced)}"
            )
        return coerced


class Listing(_Shape):
    def __init__(self, field: "Field", item: Shape, *, required: bool, items_required: bool) -> None:
        super().__init__(field, required=required)
        self.item = item
        self.items_required = items_required
        self.inline = item.inline

    def complete(self, values: Values, places: Places, run: "Run", jobs: Jobs) -> list[Any]:
        lists = [self._items(value, index, places, run) for index, value in enumerate(values)]
        lengths = [None if items is None else len(items) for items in lists]
        flat = [item for items in lists if items for item in items]
        done = self.item.complete(flat, ItemPlaces(places, lengths, not self.items_required), run, jobs)
        completed, at = [], 0
        for length in lengths:
            completed.append(None if length is None else done[at : at + length])
            at += length or 0
        return completed

    def _items(self, value: Any, index: int, places: Places, run: "Run") -> Sequence[Any] | None:
        if type(value) is list or type(value) is tuple:
            return value
        if not self._is_sound(value, index, places, run):
            return None
        try:
            return list(self.items_of(value))
        except Exception as error:
            self._fail(error, index, places, run)
            return None

    def items_of(self, value: Any) -> Iterable[Any]:
        if not is_iterable(value):
            raise GraphQLError(
                f"Expected Iterable, but did not find one for field '{self.field.parent_type}.{self.field.name}'."
            )
        return value


class Object(_Shape):
    def __init__(self, field: "Field", type_: GraphQLObjectType, selection: "Selection", *, required: bool) -> None:
        super().__init__(field, required=required)
        self.type = type_
        self.selection = selection
        self.inline = selection.inline
        self.known: set[type] = set()
        """Classes whose objects are of this type; each is looked at once."""

    def complete(self, values: Values, places: Places, run: "Run", jobs: Jobs) -> list[Any]:
        if self.known.issuperset(map(type, values)):
            return self.selection.complete(values, places, run, jobs)
        sound = [index for index, value in enumerate(values) if self._is_one(value, index, places, run)]
        some = SomePlaces(places, sound)
        return _back(self.selection.complete([values[i] for i in sound], some, run, jobs), sound, len(values))

    def _is_one(self, value: Any, index: int, places: Places, run: "Run") -> bool:
        if not self._is_sound(value, index, places, run):
            return False
        try:
            self.admit(value, run)
        except Exception as error:
            self._fail(error, index, places, run)
            return False
        return True

    def admit(self, value: Any, run: "Run") -> None:
        """Raises over a value that is none of this type."""
        if self.type.is_type_of and not self.type.is_type_of(value, run.raw_info(self.field)):
            raise GraphQLError(f"Expected value of type '{self.type}' but got: {inspect(value)}.", self.field.nodes)
        if not isinstance(value, dict | Exception):
            self.known.add(type(value))


class Abstract(_Shape):
    """An interface or a union: which type a value has is asked of the schema."""

    inline = False

    def __init__(self, field: "Field", type_: GraphQLAbstractType, selections: "Selections", *, required: bool) -> None:
        super().__init__(field, required=required)
        self.type = type_
        self.selections = selections
        self._objects: dict[str, Object] = {}

    def complete(self, values: Values, places: Places, run: "Run", jobs: Jobs) -> list[Any]:
        by_type: dict[str, list[int]] = {}
        for index, value in enumerate(values):
            if self._is_sound(value, index, places, run):
                try:
                    by_type.setdefault(self._type_of(value, run), []).append(index)
                except Exception as error:
                    self._fail(error, index, places, run)
        completed: list[Any] = [None] * len(values)
        for name, indexes in by_type.items():
            some = SomePlaces(places, indexes)
            done = self._object(name).complete([values[i] for i in indexes], some, run, jobs)
            for index, value in zip(indexes, done, strict=True):
                completed[index] = value
        return completed

    def _object(self, name: str) -> Object:
        known = self._objects.get(name)
        if known is None:
            type_ = self.selections.schema.get_type(name)
            assert isinstance(type_, GraphQLObjectType)
            known = self._objects[name] = Object(
                self.field, type_, self.selections.below(self.field, type_), required=self.required
            )
        return known

    def _type_of(self, value: Any, run: "Run") -> str:
        resolve: Callable[..., Any] = self.type.resolve_type or default_type_resolver
        name = resolve(value, run.raw_info(self.field), self.type)
        problem = self._problem(name, value)
        if problem:
            raise GraphQLError(problem, self.field.nodes)
        assert isinstance(name, str)
        return name

    def _problem(self, name: Any, value: Any) -> str | None:
        """What graphql-core says of a type that a value cannot have here."""
        field = f"'{self.field.parent_type}.{self.field.name}'"
        must = f"Abstract type '{self.type}' must resolve to an Object type at runtime for field {field}"
        if name is None:
            return (
                f"{must}. Either the '{self.type}' type should provide a 'resolve_type' function or each possible type"
                " should provide an 'is_type_of' function."
            )
        if not isinstance(name, str):
            return f"{must} with value {inspect(value)}, received '{inspect(name)}', which is not a valid Object type name."
        type_ = self.selections.schema.get_type(name)
        if type_ is None:
            return f"Abstract type '{self.type}' was resolved to a type '{name}' that does not exist inside the schema."
        if not is_object_type(type_):
            return f"Abstract type '{self.type}' was resolved to a non-object type '{name}'."
        if not self.selections.schema.is_sub_type(self.type, type_):
            return f"Runtime Object type '{type_}' is not a possible type for '{self.type}'."
        return None


def _back(done: list[Any], indexes: Sequence[int], count: int) -> list[Any]:
    """Each in its place, and null in the places between."""
    completed: list[Any] = [None] * count
    for index, value in zip(indexes, done, strict=True):
        completed[index] = value
    return completed


def shape_of(field: "Field", type_: GraphQLOutputType, selections: "Selections") -> Shape:
    required = is_non_null_type(type_)
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    if is_list_type(type_):
        item = shape_of(field, type_.of_type, selections)
        return Listing(field, item, required=required, items_required=is_non_null_type(type_.of_type))
    if is_leaf_type(type_):
        return Leaf(field, type_, required=required)
    if is_abstract_type(type_):
        return Abstract(field, type_, selections, required=required)
    assert isinstance(type_, GraphQLObjectType)
    return Object(field, type_, selections.below(field, type_), required=required)
