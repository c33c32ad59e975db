"""How the values of a field are got from its parents."""

import asyncio
import inspect
from collections.abc import Awaitable, Callable, Sequence
from functools import partial, reduce
from typing import TYPE_CHECKING, Any, Protocol

from graphql import FieldNode, GraphQLField
from strawberry import Schema
from strawberry.extensions.field_extension import build_field_extension_resolvers
from strawberry.types.field import StrawberryField

from graph.engine.arguments import Arguments
from graph.engine.asked import NOTHING, READS, Asked, asked_of
from graph.engine.batches import METADATA, Loaded

if TYPE_CHECKING:
    from graph.engine.run import Run
    from graph.engine.selections import Field

Values = Sequence[Any]
"""One for each parent; a failure stands as an exception."""


class Source(Protocol):
    deferred: bool
    """Whether it has to be waited for."""

    def now(self, field: "Field", parents: Values, run: "Run") -> Values: ...

    def asks(self, field: "Field") -> Asked:
        """What it reads of a parent."""


class Typename:
    deferred = False

    def now(self, field: "Field", parents: Values, run: "Run") -> Values:
        return [field.parent_type.name] * len(parents)

    def asks(self, field: "Field") -> Asked:
        return NOTHING


class Attribute:
    deferred = False

    def __init__(self, name: str) -> None:
        self.name = name

    def now(self, field: "Field", parents: Values, run: "Run") -> Values:
        return _each(lambda parent: getattr(parent, self.name), parents)

    def asks(self, field: "Field") -> Asked:
        return Asked(frozenset({self.name}))


class Call:
    """A resolver, with the extensions around it."""

    def __init__(self, strawberry_field: StrawberryField, arguments: Arguments) -> None:
        self.arguments = arguments
        self._reads: frozenset[str] | None = strawberry_field.metadata.get(READS)
        functions = build_field_extension_resolvers(strawberry_field) if strawberry_field.extensions else []
        self.deferred = strawberry_field.is_async or bool(functions)
        self.bare = _Resolver(strawberry_field)
        self._chain: Callable[..., Any] | None = None
        if functions:
            self._chain = reduce(lambda chained, next_: partial(next_, chained), functions, self.bare.from_extensions)

    @property
    def is_plain(self) -> bool:
        """Whether it is a function of the parent, to be called with the info and the arguments by their names."""
        return self._chain is None and self.bare.itself and not self.bare.named

    def caller(self, field: "Field", run: "Run") -> Callable[[Any], Any]:
        """What gives the value of a parent. Raises what the field fails with, whatever the parent."""
        given = self.arguments.of(run.variables)
        if self._chain is not None:
            chain, info = self._chain, run.info(field)
            return lambda parent: chain(parent, info, **given)
        return self.bare.bound(given, run.info(field) if self.bare.info else None)

    def now(self, field: "Field", parents: Values, run: "Run") -> Values:
        try:
            call = self.caller(field, run)
        except Exception as error:
            return [error] * len(parents)
        return _each(call, parents)

    async def later(self, field: "Field", parents: Values, run: "Run") -> Values:
        if len(parents) == 1:
            try:
                value = self.caller(field, run)(parents[0])
                return [await value if isinstance(value, Awaitable) else value]
            except Exception as error:
                return [error]
        return await asyncio.gather(*map(_settled, self.now(field, parents, run)))

    def asks(self, field: "Field") -> Asked:
        return Asked(self._reads)


class Batched:
    """What is loaded for all parents at once."""

    deferred = True

    def __init__(self, loaded: Loaded) -> None:
        self.batch = loaded.batch
        self.carried = loaded.batch.carried
        self.then = loaded.then
        self._reads, self._handed_on = loaded.reads, loaded.handed_on

    def now(self, field: "Field", parents: Values, run: "Run") -> Values:
        raise NotImplementedError

    async def loaded(self, parents: Values, run: "Run") -> Values:
        try:
            return await self.batch.load(parents, run.context)
        except Exception as error:
            return [error] * len(parents)

    def made(self, loaded: Values) -> Values:
        then = self.then
        return _each(lambda value: value if isinstance(value, Exception) else then(value), loaded)

    def asks(self, field: "Field") -> Asked:
        asked = Asked(self._reads)
        return Asked(loaded={self.batch: asked | asked_of(field.shape) if self._handed_on else asked})


class _Resolver:
    """A Strawberry resolver and the parameters that Strawberry fills in by their names or types."""

    def __init__(self, field: StrawberryField) -> None:
        resolver = field.base_resolver
        if resolver is None:
            default, name = field.default_resolver, field.python_name
            self.function: Callable[..., Any] = lambda source: default(source, name)
            self.itself, self.named, self.info = True, [], None
            return
        function = resolver.wrapped_func
        self.function = function if inspect.isfunction(function) else resolver
        self.itself = resolver.self_parameter is not None
        parents = (resolver.parent_parameter, resolver.root_parameter)
        self.named = [parameter.name for parameter in parents if parameter]
        self.info = resolver.info_parameter.name if resolver.info_parameter else None

    def bound(self, given: dict[str, Any], info: Any) -> Callable[[Any], Any]:
        function, named = self.function, self.named
        given = {**given, self.info: info} if self.info else given
        if named:
            itself = self.itself
            return lambda parent: function(*([parent] if itself else ()), **dict.fromkeys(named, parent), **given)
        if self.itself:
            return partial(_call_with, function, given) if given else function
        return lambda _: function(**given)

    def from_extensions(self, source: Any, info: Any, **given: Any) -> Any:
        return self.bound(given, info)(source)


def _call_with(function: Callable[..., Any], given: dict[str, Any], parent: Any) -> Any:
    return function(parent, **given)


def _each(get: Callable[[Any], Any], parents: Values) -> Values:
    values = []
    for parent in parents:
        try:
            values.append(get(parent))
        except Exception as error:
            values.append(error)
    return values


async def _settled(value: Any) -> Any:
    if not isinstance(value, Awaitable):
        return value
    try:
        return await value
    except Exception as error:
        return error


def source_of(schema: Schema, definition: GraphQLField, node: FieldNode, *, hide_suggestions: bool) -> Source:
    if node.name.value == "__typename":
        return Typename()
    field: StrawberryField = definition.extensions["strawberry-definition"]
    loaded = field.metadata.get(METADATA)
    if isinstance(loaded, Loaded) and not field.extensions:
        return Batched(loaded)
    if field.is_basic_field and field.default_resolver is getattr and field.python_name.isidentifier():
        return Attribute(field.python_name)
    return Call(field, Arguments(schema, field, definition, node, hide_suggestions=hide_suggestions))
