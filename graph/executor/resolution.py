"""Resolves field values from parents (ResolveFieldValue in the GraphQL specification), for many parents at once."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Protocol

from graphql import FieldNode, GraphQLField
from strawberry import Schema
from strawberry.extensions.field_extension import build_field_extension_resolvers
from strawberry.types.field import StrawberryField

from graph.executor.arguments import ArgumentCoercer
from graph.executor.batch_field import BATCH_FIELD_KEY, BatchField
from graph.executor.completion import Values
from graph.executor.lookahead import NO_ATTRIBUTES, REQUIRES_KEY, Lookahead, compute_lookahead

if TYPE_CHECKING:
    from graph.executor.execution_state import ExecutionState
    from graph.executor.selection_set import Field


class Resolver(Protocol):
    """Resolves the values of one field."""

    is_async: bool
    """Whether its values have to be awaited."""

    def resolve_sync(self, field: "Field", parents: Values, state: "ExecutionState") -> Values:
        """Return a value for each parent; an exception is a field error."""

    def get_lookahead(self, field: "Field") -> Lookahead:
        """Return what the resolver reads of a parent."""


class TypenameResolver:
    """Resolves `__typename`."""

    is_async = False

    def resolve_sync(self, field: "Field", parents: Values, state: "ExecutionState") -> Values:
        """Return the name of the parent type."""
        return [field.parent_type.name] * len(parents)

    def get_lookahead(self, field: "Field") -> Lookahead:
        """Return that no attribute is read."""
        return NO_ATTRIBUTES


class AttributeResolver:
    """Reads an attribute of each parent."""

    is_async = False

    def __init__(self, name: str) -> None:
        self.name = name

    def resolve_sync(self, field: "Field", parents: Values, state: "ExecutionState") -> Values:
        """Return the attribute of each parent."""
        return _map_capturing_errors(lambda parent: getattr(parent, self.name), parents)

    def get_lookahead(self, field: "Field") -> Lookahead:
        """Return the attribute's name."""
        return Lookahead(frozenset({self.name}))


class FunctionResolver:
    """Calls a resolver function with its field extensions."""

    def __init__(self, strawberry_field: StrawberryField, arguments: ArgumentCoercer) -> None:
        self.arguments = arguments
        self._requires: frozenset[str] | None = strawberry_field.metadata.get(REQUIRES_KEY)
        extension_resolvers = build_field_extension_resolvers(strawberry_field) if strawberry_field.extensions else []
        self.is_async = strawberry_field.is_async or bool(extension_resolvers)
        self.base_resolver = _StrawberryResolver(strawberry_field)
        self._extension_chain: Callable[..., Any] | None = None
        if extension_resolvers:
            self._extension_chain = reduce(
                lambda chained, next_: partial(next_, chained), extension_resolvers, self.base_resolver.call
            )

    @property
    def can_call_directly(self) -> bool:
        """Whether the function takes the parent as its only positional argument, and no extension wraps it."""
        return (
            self._extension_chain is None
            and self.base_resolver.has_self_parameter
            and not self.base_resolver.parent_parameters
        )

    def bind(self, field: "Field", state: "ExecutionState") -> Callable[[Any], Any]:
        """Coerce the arguments, and return a function from parent to value. Raises the field error if coercion fails."""
        arguments = self.arguments.coerce(state.variables)
        if self._extension_chain is not None:
            chain, info = self._extension_chain, state.get_info(field)
            return lambda parent: chain(parent, info, **arguments)
        return self.base_resolver.bind(arguments, state.get_info(field) if self.base_resolver.info_parameter else None)

    def resolve_sync(self, field: "Field", parents: Values, state: "ExecutionState") -> Values:
        """Call the function for each parent; an awaitable value is returned as it is."""
        try:
            call = self.bind(field, state)
        except Exception as error:
            return [error] * len(parents)
        return _map_capturing_errors(call, parents)

    async def resolve_async(self, field: "Field", parents: Values, state: "ExecutionState") -> Values:
        """Call the function for each parent, and await the values concurrently."""
        if len(parents) == 1:
            try:
                value = self.bind(field, state)(parents[0])
                return [await value if isinstance(value, Awaitable) else value]
            except Exception as error:
                return [error]
        return await asyncio.gather(*map(_await_capturing_errors, self.resolve_sync(field, parents, state)))

    def get_lookahead(self, field: "Field") -> Lookahead:
        """Return the attributes that the field declares to require."""
        return Lookahead(self._requires)


class BatchResolver:
    """Loads the values of all parents with one call of a batch loader."""

    is_async = True

    def __init__(self, batch_field: BatchField) -> None:
        self.loader = batch_field.loader
        self.preloaded = batch_field.loader.preloaded
        self.transform = batch_field.transform
        self._requires, self._is_passthrough = batch_field.requires, batch_field.is_passthrough

    def resolve_sync(self, field: "Field", parents: Values, state: "ExecutionState") -> Values:
        """Not supported: batch fields are async."""
        raise NotImplementedError

    async def load(self, parents: Values, state: "ExecutionState") -> Values:
        """Load the values; if the loader itself fails, its exception is the error of each parent."""
        try:
            return await self.loader.load(parents, state.context)
        except Exception as error:
            return [error] * len(parents)

    def transform_all(self, loaded_values: Values) -> Values:
        """Compute this field's values from the loaded values."""
        transform = self.transform
        return _map_capturing_errors(
            lambda value: value if isinstance(value, Exception) else transform(value), loaded_values
        )

    def get_lookahead(self, field: "Field") -> Lookahead:
        """Return what is needed of the loaded values."""
        lookahead = Lookahead(self._requires)
        return Lookahead(
            by_loader={
                self.loader: lookahead | compute_lookahead(field.completer) if self._is_passthrough else lookahead
            }
        )


class _StrawberryResolver:
    """A Strawberry resolver function, and which of its parameters receive the parent and the info."""

    def __init__(self, field: StrawberryField) -> None:
        resolver = field.base_resolver
        if resolver is None:
            default, name = field.default_resolver, field.python_name
            self.function: Callable[..., Any] = lambda source: default(source, name)
            self.has_self_parameter, self.parent_parameters, self.info_parameter = True, [], None
            return
        function = resolver.wrapped_func
        self.function = function if inspect.isfunction(function) else resolver
        self.has_self_parameter = resolver.self_parameter is not None
        parameters = (resolver.parent_parameter, resolver.root_parameter)
        self.parent_parameters = [parameter.name for parameter in parameters if parameter]
        self.info_parameter = resolver.info_parameter.name if resolver.info_parameter else None

    def bind(self, arguments: dict[str, Any], info: Any) -> Callable[[Any], Any]:
        function, parent_parameters = self.function, self.parent_parameters
        arguments = {**arguments, self.info_parameter: info} if self.info_parameter else arguments
        if parent_parameters:
            has_self_parameter = self.has_self_parameter
            return lambda parent: function(
                *([parent] if has_self_parameter else ()), **dict.fromkeys(parent_parameters, parent), **arguments
            )
        if self.has_self_parameter:
            return partial(_call_with_parent, function, arguments) if arguments else function
        return lambda _: function(**arguments)

    def call(self, source: Any, info: Any, **arguments: Any) -> Any:
        return self.bind(arguments, info)(source)


def _call_with_parent(function: Callable[..., Any], arguments: dict[str, Any], parent: Any) -> Any:
    return function(parent, **arguments)


def _map_capturing_errors(function: Callable[[Any], Any], parents: Values) -> Values:
    values = []
    for parent in parents:
        try:
            values.append(function(parent))
        except Exception as error:
            values.append(error)
    return values


async def _await_capturing_errors(value: Any) -> Any:
    if not isinstance(value, Awaitable):
        return value
    try:
        return await value
    except Exception as error:
        return error


def build_resolver(schema: Schema, definition: GraphQLField, node: FieldNode, *, hide_suggestions: bool) -> Resolver:
    """Build the resolver of a field."""
    if node.name.value == "__typename":
        return TypenameResolver()
    field: StrawberryField = definition.extensions["strawberry-definition"]
    batch_field = field.metadata.get(BATCH_FIELD_KEY)
    if isinstance(batch_field, BatchField) and not field.extensions:
        return BatchResolver(batch_field)
    if field.is_basic_field and field.default_resolver is getattr and field.python_name.isidentifier():
        return AttributeResolver(field.python_name)
    return FunctionResolver(field, ArgumentCoercer(schema, field, definition, node, hide_suggestions=hide_suggestions))
