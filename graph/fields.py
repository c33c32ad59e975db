"""The one way to declare types, fields, queries and mutations.

Docstrings are the descriptions in the contract. Every query and mutation names its gate: there is no default.
`fresh_for` are the seconds for which caches may keep a visitor's answer with it: not at all, where it does not say.
"""

import inspect
from collections.abc import Callable, Collection
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform

import strawberry
from strawberry.extensions import FieldExtension
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.field import StrawberryField

from graph.engine import READS
from graph.gates import Gate, RequiresAuth
from graph.refusals import Refusals

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
Resolver = Callable[..., Any]

SECOND, MINUTE = 1, 60


def column(description: str, graphql_type: Any = None) -> Any:
    """An attribute of the row, as it is."""
    return strawberry.field(description=description, graphql_type=graphql_type)


def field(
    graphql_type: Any = None,
    *,
    gate: Gate | None = None,
    name: str | None = None,
    length: int | None = None,
    reads: Collection[str] | None = None,
    fresh_for: int | None = None,
) -> Callable[[Resolver], Any]:
    """A field that takes work. `graphql_type` names its type where the resolver gives rows back.

    `length` is how long a list is reckoned to be, where no argument says it. `reads` are the attributes of the row that the
    resolver reads: where fields say so, the others need not be got.
    """

    def declare(resolver: Resolver) -> Any:
        metadata = {"length": length, "fresh_for": fresh_for, READS: None if reads is None else frozenset(reads)}
        return _field(resolver, graphql_type, gate.keepers if gate else [], gate, name, metadata)

    return declare


def query(
    gate: Gate, graphql_type: Any = None, *, fresh_for: int | None = None
) -> Callable[[Resolver], StrawberryField]:
    """A field of `Query`."""
    return lambda resolver: _field(resolver, graphql_type, gate.keepers, gate, metadata={"fresh_for": fresh_for})


def mutation(gate: Gate, *, name: str | None = None, alone: bool = False) -> Callable[[Resolver], StrawberryField]:
    """A field of `Mutation`: refusals become members of its union, and what was loaded before it is forgotten.

    One that must be `alone` may have no other mutation beside it in a document.
    """
    return lambda resolver: _field(resolver, None, [Fresh(), *gate.keepers, Refusals()], gate, name, {"alone": alone})


def _field(
    resolver: Resolver,
    graphql_type: Any,
    extensions: list[FieldExtension],
    gate: Gate | None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> StrawberryField:
    told = {key: value for key, value in (metadata or {}).items() if value is not None}
    if "fresh_for" in told and gate and gate.printed is not None:
        raise TypeError(f"{resolver.__qualname__} is not for everybody, so no cache may keep it")
    declared: StrawberryField = strawberry.field(
        resolver,
        name=name,
        description=described(resolver),
        graphql_type=graphql_type,
        extensions=extensions,
        metadata=told,
        directives=[RequiresAuth(**gate.printed)] if gate and gate.printed is not None else [],
    )
    return declared


class Fresh(FieldExtension):
    async def resolve_async(self, next_: Resolver, source: Any, info: strawberry.Info, **arguments: Any) -> Any:
        info.context.forget()
        return await next_(source, info, **arguments)


@dataclass_transform(kw_only_default=True, field_specifiers=(column,))
def shape(
    *, of: type | None = None, name: str | None = None, fresh_for: int | None = None
) -> Callable[[type[T]], type[T]]:
    """An object type, described by its docstring; `of` is the class of the rows that stand for it.

    `fresh_for` is for its columns and its ID, which are the same whoever asks; the other fields have their own.
    """

    def declare(cls: type[T]) -> type[T]:
        if of is not None:
            cls.is_type_of = classmethod(lambda _, row, __: isinstance(row, of))  # type: ignore[attr-defined]  # read by Strawberry
        if fresh_for is not None:
            for field_name, declared in vars(cls).items():
                if isinstance(declared, StrawberryField) and (declared.base_resolver is None or field_name == "id"):
                    declared.metadata = MappingProxyType({"fresh_for": fresh_for, **declared.metadata})
        return strawberry.type(cls, name=name, description=described(cls))

    return declare


@dataclass_transform(kw_only_default=True, field_specifiers=(column,))
def input_shape(*, one_of: bool = False) -> Callable[[type[T]], type[T]]:
    def declare(cls: type[T]) -> type[T]:
        return strawberry.input(cls, one_of=one_of, description=described(cls))

    return declare


def vocabulary(enum: type[E], description: str, *, name: str | None = None, **values: str) -> type[E]:
    """An enum of the domain as part of the contract, with a sentence for each of its values."""
    declared = strawberry.enum(enum, name=name, description=description)
    definition: StrawberryEnumDefinition = declared.__strawberry_definition__  # type: ignore[attr-defined]  # put there above
    for value in definition.values:
        value.description = values.pop(value.name)
    if values:
        raise TypeError(f"{enum.__name__} has no {', '.join(values)}")
    return declared


def outcomes(name: str, mutation_name: str) -> Any:
    return strawberry.union(name, description=f"How `{mutation_name}` can end.")


def described(documented: Any) -> str:
    text = inspect.getdoc(documented)
    if not text:
        raise TypeError(f"{documented.__qualname__} has no docstring, so the contract would not describe it")
    return text
