"""Generates the fast path of a selection set: a Python function that completes all parents if no value is unexpected.

On any unexpected value the function raises. The slow path then executes the fields again and collects the field errors.
"""

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from graphql import GraphQLEnumType, Undefined
from graphql.pyutils import is_awaitable

from graph.executor.completion import Completer, LeafCompleter, ListCompleter, ObjectCompleter
from graph.executor.resolution import AttributeResolver, BatchResolver, FunctionResolver, TypenameResolver

if TYPE_CHECKING:
    from graph.executor.execution_state import ExecutionState
    from graph.executor.selection_set import AsyncFieldGroup, Field, SelectionSet

FastPath = Callable[..., list[dict[str, Any]]]
"""Returns a result map for each parent."""

UNEXPECTED_VALUE_TESTS = {
    "String": "{0}.__class__ is not str",
    "ID": "{0}.__class__ is not str",
    "Boolean": "{0} is not True and {0} is not False",
    "Int": "{0}.__class__ is not int or not -2147483648 <= {0} <= 2147483647",
    "Float": f"{{0}}.__class__ is not float or not {-sys.float_info.max!r} <= {{0}} <= {sys.float_info.max!r}",
}
"""For each built-in scalar, a Python expression that is true if a value has to be coerced."""


class Bailout(Exception):
    """A value is unexpected, so the slow path has to be taken."""


def no_fast_path(*_: Any) -> list[dict[str, Any]]:
    """Raise `Bailout`; stands for a selection set that has no fast path."""
    raise Bailout


def compile_selection_set(
    selection_set: "SelectionSet", fields: Sequence["Field"], groups: Sequence["AsyncFieldGroup"]
) -> FastPath:
    """Compile the fast path for these fields and for the inlinable fields of these groups.

    The function takes the parents, the `ExecutionState` and, for each group, its cached values.
    """
    cached_names = [f"cached{number}" for number in range(len(groups))]
    loaded_names = {
        field: f"loaded{number}"
        for number, group in enumerate(groups)
        for field in group.fields
        if field.completer.is_inlinable
    }
    loop_names = [f"loaded{number}" for number in range(len(groups))]
    generator = _CodeGenerator(["parents", "state", *cached_names], loaded_names)
    generator.emit("result_maps = []")
    loop_header = (
        f"for parent, {', '.join(loop_names)} in zip(parents, {', '.join(cached_names)}):"
        if groups
        else "for parent in parents:"
    )
    generator.emit(loop_header)
    result_map = generator.emit_selection_set(selection_set, [*fields, *loaded_names], "parent", 1)
    generator.emit(f"result_maps.append({result_map})", 1)
    generator.emit("return result_maps")
    return generator.build_function()


class _CodeGenerator:
    """Emits the source text of one function, and binds the objects that it uses to names."""

    def __init__(self, parameters: Sequence[str], loaded_names: Mapping["Field", str]) -> None:
        self._parameters = parameters
        self._loaded_names = loaded_names
        self._namespace: dict[str, Any] = {}
        self._prologue: list[str] = []
        self._body: list[str] = []
        self._name_count = 0

    def build_function(self) -> FastPath:
        source = "\n".join([f"def fast_path({', '.join(self._parameters)}):", *self._prologue, *self._body])
        exec(compile(source, "<fast path>", "exec"), self._namespace)  # noqa: S102  # contains generated and GraphQL names only
        fast_path: FastPath = self._namespace["fast_path"]
        return fast_path

    def emit(self, text: str, depth: int = 0) -> None:
        self._body.append("    " * (depth + 1) + text)

    def emit_selection_set(
        self, selection_set: "SelectionSet", fields: Collection["Field"], parent: str, depth: int
    ) -> str:
        """Emit the completion of these fields. Returns the expression of the result map, in which other fields are `None`."""
        expressions = {field: self._emit_field(field, parent, depth) for field in fields}
        return (
            "{"
            + ", ".join(f"{field.response_name!r}: {expressions.get(field)}" for field in selection_set.fields)
            + "}"
        )

    def _emit_field(self, field: "Field", parent: str, depth: int) -> str:
        if isinstance(field.resolver, TypenameResolver):
            return repr(field.parent_type.name)
        value = self._new_name("v")
        self.emit(f"{value} = {self._emit_resolver(field, parent)}", depth)
        return self._emit_completion(field.completer, value, depth)

    def _emit_resolver(self, field: "Field", parent: str) -> str:
        if isinstance(field.resolver, BatchResolver):
            loaded_name = self._loaded_names.get(field, f"{parent}.{field.resolver.preloaded}")
            return f"{self._bind(field.resolver.transform)}({loaded_name})"
        if isinstance(field.resolver, AttributeResolver):
            return f"{parent}.{field.resolver.name}"
        assert isinstance(field.resolver, FunctionResolver)
        if field.resolver.can_call_directly:
            return self._emit_call(field.resolver, field, parent)
        call_name = self._new_name("c")
        self._prologue.append(f"    {call_name} = {self._bind(field.resolver.bind)}({self._bind(field)}, state)")
        return f"{call_name}({parent})"

    def _emit_call(self, resolver: FunctionResolver, field: "Field", parent: str) -> str:
        arguments = [parent]
        if resolver.base_resolver.info_parameter:
            info_name = self._new_name("i")
            self._prologue.append(f"    {info_name} = state.get_info({self._bind(field)})")
            arguments.append(f"{resolver.base_resolver.info_parameter}={info_name}")
        if field.definition.args:
            arguments_name = self._new_name("a")
            self._prologue.append(f"    {arguments_name} = {self._bind(resolver.arguments.coerce)}(state.variables)")
            arguments.append(f"**{arguments_name}")
        return f"{self._bind(resolver.base_resolver.function)}({', '.join(arguments)})"

    def _emit_completion(self, completer: Completer, value: str, depth: int) -> str:
        """Emit the completion of a value. Returns the name of the completed value."""
        if isinstance(completer, LeafCompleter):
            return self._emit_leaf(completer, value, depth)
        completed = self._new_name("d")
        if isinstance(completer, ListCompleter):
            self.emit(
                f"if {value}.__class__ is not list: {value} = {self._bind(_build_list_check(completer))}({value})",
                depth,
            )
            inner_depth = self._emit_null_check(completer.is_non_null, value, completed, depth)
            self.emit(f"{completed} = []", inner_depth)
            item = self._new_name("v")
            self.emit(f"for {item} in {value}:", inner_depth)
            self.emit(
                f"{completed}.append({self._emit_completion(completer.item_completer, item, inner_depth + 1)})",
                inner_depth + 1,
            )
            return completed
        assert isinstance(completer, ObjectCompleter)
        inner_depth = self._emit_null_check(completer.is_non_null, value, completed, depth)
        accepted_classes, type_check = self._bind(completer.accepted_classes), self._bind(_build_type_check(completer))
        self.emit(f"if {value}.__class__ not in {accepted_classes}: {type_check}({value}, state)", inner_depth)
        selection_set = completer.selection_set
        result_map = self.emit_selection_set(selection_set, selection_set.fields, value, inner_depth)
        self.emit(f"{completed} = {result_map}", inner_depth)
        return completed

    def _emit_leaf(self, completer: LeafCompleter, value: str, depth: int) -> str:
        coerce_statement = f"{value} = {self._bind(_build_leaf_coercer(completer))}({value})"
        if completer.type.name in UNEXPECTED_VALUE_TESTS:
            self.emit(f"if {UNEXPECTED_VALUE_TESTS[completer.type.name].format(value)}: {coerce_statement}", depth)
        elif isinstance(completer.type, GraphQLEnumType):
            self.emit(f"{value} = {self._bind(_EnumNames(completer))}[{value}]", depth)
        else:
            self.emit(
                f"if {value}.__class__ not in {self._bind(completer.accepted_classes)}: {coerce_statement}", depth
            )
            self.emit("else:", depth)
            self.emit(f"{value} = {self._bind(completer.type.coerce_output_value)}({value})", depth + 1)
            is_missing = f"{value} is None or {value} is {self._bind(Undefined)}"
            self.emit(f"if {is_missing}: raise {self._bind(Bailout)}", depth + 1)
        return value

    def _emit_null_check(self, is_non_null: bool, value: str, completed: str, depth: int) -> int:
        """Emit the null check of a nullable value. Returns the depth at which its completion continues."""
        if is_non_null:
            return depth
        self.emit(f"if {value} is None: {completed} = None", depth)
        self.emit("else:", depth)
        return depth + 1

    def _new_name(self, prefix: str) -> str:
        self._name_count += 1
        return f"{prefix}{self._name_count}"

    def _bind(self, value: Any) -> str:
        """Return a new name that the function knows this object by."""
        name = self._new_name("x")
        self._namespace[name] = value
        return name


def _build_leaf_coercer(completer: LeafCompleter) -> Callable[[Any], Any]:
    """Build a function that coerces a value, or raises `Bailout` if the value is a field error."""

    def coerce(value: Any) -> Any:
        if value is None or value is Undefined:
            if completer.is_non_null:
                raise Bailout
            return None
        if isinstance(value, Exception) or is_awaitable(value):
            raise Bailout
        coerced = completer.coerce_result(value)
        completer.accepted_classes.add(value.__class__)
        return coerced

    return coerce


class _EnumNames(dict[Any, Any]):
    """Caches the names of an enum's values."""

    def __init__(self, completer: LeafCompleter) -> None:
        super().__init__()
        self._coerce = _build_leaf_coercer(completer)

    def __missing__(self, value: Any) -> Any:
        name = self[value] = self._coerce(value)
        return name


def _build_list_check(completer: ListCompleter) -> Callable[[Any], Any]:
    """Build a function that accepts tuples and permitted nulls, and raises `Bailout` otherwise."""

    def check_list(value: Any) -> Any:
        if value.__class__ is tuple or (value is None and not completer.is_non_null):
            return value
        raise Bailout

    return check_list


def _build_type_check(completer: ObjectCompleter) -> Callable[[Any, "ExecutionState"], None]:
    """Build a function that raises unless a value is an object of the completer's type."""

    def check_object(value: Any, state: "ExecutionState") -> None:
        if value is None or value is Undefined or isinstance(value, Exception) or is_awaitable(value):
            raise Bailout
        completer.check_type(value, state)

    return check_object
