"""Completes values by their types (CompleteValue in the GraphQL specification): many values of one field at once.

A value that is an exception is a field error. It becomes null here; `CollectedErrors.propagate_nulls` then propagates the null.
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

from graph.executor.null_propagation import ItemPositions, ResponsePositions, SubsetPositions

if TYPE_CHECKING:
    from graph.executor.execution_state import ExecutionState
    from graph.executor.selection_set import Field, SelectionSet, SelectionSetBuilder

Values = Sequence[Any]
"""One value per parent; an exception is a field error."""
Jobs = list[Coroutine[Any, Any, None]]
"""Coroutines to await before the response is complete."""


class Completer(Protocol):
    """Completes values of one GraphQL type."""

    is_inlinable: bool
    """Whether code can be generated for it: no type below is abstract, and each async field below can be preloaded."""

    def complete(self, values: Values, positions: ResponsePositions, state: "ExecutionState", jobs: Jobs) -> list[Any]:
        """Complete each value. Errors are added to the state; what has to be awaited is added to `jobs`."""


class _BaseCompleter:
    def __init__(self, field: "Field", *, is_non_null: bool) -> None:
        self.field = field
        self.is_non_null = is_non_null

    def _add_error(self, error: Exception, index: int, positions: ResponsePositions, state: "ExecutionState") -> None:
        state.errors.add(positions, index, error, self.field.nodes)

    def _is_completable(self, value: Any, index: int, positions: ResponsePositions, state: "ExecutionState") -> bool:
        """Return whether the value is neither null nor an error, and record the field error if it is one."""
        if value is None or value is Undefined:
            if self.is_non_null:
                field = self.field
                message = f"Cannot return null for non-nullable field {field.parent_type}.{field.name}."
                self._add_error(TypeError(message), index, positions, state)
            return False
        if is_awaitable(value):
            value.close() if hasattr(value, "close") else None
            value = TypeError(f"The resolver of {self.field.parent_type}.{self.field.name} must be declared async.")
        if isinstance(value, Exception):
            self._add_error(value, index, positions, state)
            return False
        return True


class LeafCompleter(_BaseCompleter):
    """Completes scalars and enums."""

    is_inlinable = True

    def __init__(self, field: "Field", type_: GraphQLLeafType, *, is_non_null: bool) -> None:
        super().__init__(field, is_non_null=is_non_null)
        self.type = type_
        self.accepted_classes: set[type] = set()
        """Classes of values that were coerced successfully."""

    def complete(self, values: Values, positions: ResponsePositions, state: "ExecutionState", jobs: Jobs) -> list[Any]:
        """Coerce each value to its serializable form."""
        return [self._complete_value(value, index, positions, state) for index, value in enumerate(values)]

    def _complete_value(self, value: Any, index: int, positions: ResponsePositions, state: "ExecutionState") -> Any:
        if not self._is_completable(value, index, positions, state):
            return None
        try:
            return self.coerce_result(value)
        except Exception as error:
            self._add_error(error, index, positions, state)
            return None

    def coerce_result(self, value: Any) -> Any:
        """Coerce one value (CoerceResult in the specification). Raises if the type does not accept it."""
        coerced = self.type.coerce_output_value(value)
        if coerced is None or coerced is Undefined:
            raise TypeError(
                f"Expected `{inspect(self.type)}.coerce_output_value({inspect(value)})` to return non-nullable value,"
                f" returned: {inspect(coerced)}"
            )
        return coerced


class ListCompleter(_BaseCompleter):
    """Completes lists; the items of all lists are completed together."""

    def __init__(self, field: "Field", item_completer: Completer, *, is_non_null: bool, is_item_non_null: bool) -> None:
        super().__init__(field, is_non_null=is_non_null)
        self.item_completer = item_completer
        self.is_item_non_null = is_item_non_null
        self.is_inlinable = item_completer.is_inlinable

    def complete(self, values: Values, positions: ResponsePositions, state: "ExecutionState", jobs: Jobs) -> list[Any]:
        """Complete each list to a list of completed items."""
        lists = [self._get_items(value, index, positions, state) for index, value in enumerate(values)]
        lengths = [None if items is None else len(items) for items in lists]
        flat_items = [item for items in lists if items for item in items]
        completed_items = self.item_completer.complete(
            flat_items, ItemPositions(positions, lengths, not self.is_item_non_null), state, jobs
        )
        completed, offset = [], 0
        for length in lengths:
            completed.append(None if length is None else completed_items[offset : offset + length])
            offset += length or 0
        return completed

    def _get_items(
        self, value: Any, index: int, positions: ResponsePositions, state: "ExecutionState"
    ) -> Sequence[Any] | None:
        if type(value) is list or type(value) is tuple:
            return value
        if not self._is_completable(value, index, positions, state):
            return None
        try:
            return list(self.require_iterable(value))
        except Exception as error:
            self._add_error(error, index, positions, state)
            return None

    def require_iterable(self, value: Any) -> Iterable[Any]:
        """Return the value. Raises a `GraphQLError` if it is not iterable."""
        if not is_iterable(value):
            raise GraphQLError(
                f"Expected Iterable, but did not find one for field '{self.field.parent_type}.{self.field.name}'."
            )
        return value


class ObjectCompleter(_BaseCompleter):
    """Completes objects of one object type."""

    def __init__(
        self, field: "Field", type_: GraphQLObjectType, selection_set: "SelectionSet", *, is_non_null: bool
    ) -> None:
        super().__init__(field, is_non_null=is_non_null)
        self.type = type_
        self.selection_set = selection_set
        self.is_inlinable = selection_set.is_inlinable
        self.accepted_classes: set[type] = set()
        """Classes whose instances are known to be of this type."""

    def complete(self, values: Values, positions: ResponsePositions, state: "ExecutionState", jobs: Jobs) -> list[Any]:
        """Complete each object to a result map."""
        if self.accepted_classes.issuperset(map(type, values)):
            return self.selection_set.complete(values, positions, state, jobs)
        valid_indexes = [
            index for index, value in enumerate(values) if self._is_valid_object(value, index, positions, state)
        ]
        valid_positions = SubsetPositions(positions, valid_indexes)
        return _scatter(
            self.selection_set.complete([values[i] for i in valid_indexes], valid_positions, state, jobs),
            valid_indexes,
            len(values),
        )

    def _is_valid_object(self, value: Any, index: int, positions: ResponsePositions, state: "ExecutionState") -> bool:
        if not self._is_completable(value, index, positions, state):
            return False
        try:
            self.check_type(value, state)
        except Exception as error:
            self._add_error(error, index, positions, state)
            return False
        return True

    def check_type(self, value: Any, state: "ExecutionState") -> None:
        """Raise a `GraphQLError` if the value is not of this type; otherwise remember its class."""
        if self.type.is_type_of and not self.type.is_type_of(value, state.build_raw_info(self.field)):
            raise GraphQLError(f"Expected value of type '{self.type}' but got: {inspect(value)}.", self.field.nodes)
        if not isinstance(value, dict | Exception):
            self.accepted_classes.add(type(value))


class AbstractCompleter(_BaseCompleter):
    """Completes values of an interface or a union; the schema resolves the object type of each value."""

    is_inlinable = False

    def __init__(
        self, field: "Field", type_: GraphQLAbstractType, builder: "SelectionSetBuilder", *, is_non_null: bool
    ) -> None:
        super().__init__(field, is_non_null=is_non_null)
        self.type = type_
        self.builder = builder
        self._object_completers: dict[str, ObjectCompleter] = {}

    def complete(self, values: Values, positions: ResponsePositions, state: "ExecutionState", jobs: Jobs) -> list[Any]:
        """Complete each object to a result map, all objects of one type together."""
        indexes_by_type: dict[str, list[int]] = {}
        for index, value in enumerate(values):
            if self._is_completable(value, index, positions, state):
                try:
                    indexes_by_type.setdefault(self._resolve_type(value, state), []).append(index)
                except Exception as error:
                    self._add_error(error, index, positions, state)
        completed: list[Any] = [None] * len(values)
        for name, indexes in indexes_by_type.items():
            type_positions = SubsetPositions(positions, indexes)
            completed_objects = self._get_object_completer(name).complete(
                [values[i] for i in indexes], type_positions, state, jobs
            )
            for index, value in zip(indexes, completed_objects, strict=True):
                completed[index] = value
        return completed

    def _get_object_completer(self, name: str) -> ObjectCompleter:
        completer = self._object_completers.get(name)
        if completer is None:
            type_ = self.builder.graphql_schema.get_type(name)
            assert isinstance(type_, GraphQLObjectType)
            completer = self._object_completers[name] = ObjectCompleter(
                self.field, type_, self.builder.build_subselection(self.field, type_), is_non_null=self.is_non_null
            )
        return completer

    def _resolve_type(self, value: Any, state: "ExecutionState") -> str:
        resolve: Callable[..., Any] = self.type.resolve_type or default_type_resolver
        name = resolve(value, state.build_raw_info(self.field), self.type)
        error_message = self._describe_invalid_type(name, value)
        if error_message:
            raise GraphQLError(error_message, self.field.nodes)
        assert isinstance(name, str)
        return name

    def _describe_invalid_type(self, name: Any, value: Any) -> str | None:
        """Return graphql-core's error message if the type is not valid here, else `None`."""
        field_label = f"'{self.field.parent_type}.{self.field.name}'"
        requirement = f"Abstract type '{self.type}' must resolve to an Object type at runtime for field {field_label}"
        if name is None:
            return (
                f"{requirement}. Either the '{self.type}' type should provide a 'resolve_type' function or each possible type"
                " should provide an 'is_type_of' function."
            )
        if not isinstance(name, str):
            return f"{requirement} with value {inspect(value)}, received '{inspect(name)}', which is not a valid Object type name."
        type_ = self.builder.graphql_schema.get_type(name)
        if type_ is None:
            return f"Abstract type '{self.type}' was resolved to a type '{name}' that does not exist inside the schema."
        if not is_object_type(type_):
            return f"Abstract type '{self.type}' was resolved to a non-object type '{name}'."
        if not self.builder.graphql_schema.is_sub_type(self.type, type_):
            return f"Runtime Object type '{type_}' is not a possible type for '{self.type}'."
        return None


def _scatter(completed_values: list[Any], indexes: Sequence[int], count: int) -> list[Any]:
    """Return a list of this length with the values at these indexes, and `None` elsewhere."""
    completed: list[Any] = [None] * count
    for index, value in zip(indexes, completed_values, strict=True):
        completed[index] = value
    return completed


def build_completer(field: "Field", type_: GraphQLOutputType, builder: "SelectionSetBuilder") -> Completer:
    """Build the completer for a field's type, with the selection sets below it."""
    is_non_null = is_non_null_type(type_)
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    if is_list_type(type_):
        item_completer = build_completer(field, type_.of_type, builder)
        return ListCompleter(
            field, item_completer, is_non_null=is_non_null, is_item_non_null=is_non_null_type(type_.of_type)
        )
    if is_leaf_type(type_):
        return LeafCompleter(field, type_, is_non_null=is_non_null)
    if is_abstract_type(type_):
        return AbstractCompleter(field, type_, builder, is_non_null=is_non_null)
    assert isinstance(type_, GraphQLObjectType)
    return ObjectCompleter(field, type_, builder.build_subselection(field, type_), is_non_null=is_non_null)
