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

from graph.executor import REQUIRES_KEY
from graph.kit.mutations import UserErrorExtension
from graph.kit.permissions import Permission, RequiresAuth

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
Resolver = Callable[..., Any]

SECOND, MINUTE = 1, 60


def attribute(description: str, graphql_type: Any = None) -> Any:
    """An attribute of the row, as it is."""
    return strawberry.field(description=description, graphql_type=graphql_type)


def field(
    graphql_type: Any = None,
    *,
    permission: Permission | None = None,
    name: str | None = None,
    assumed_size: int | None = None,
    requires: Collection[str] | None = None,
    max_age: int | None = None,
) -> Callable[[Resolver], Any]:
    """A field that takes work. `graphql_type` names its type where the resolver gives rows back.

    `length` is how long a list is reckoned to be, where no argument says it. `reads` are the attributes of the row that the
    resolver reads: where fields say so, the others need not be got.
    """

    def declare(resolver: Resolver) -> Any:
        metadata = {
            "assumed_size": assumed_size,
            "max_age": max_age,
            REQUIRES_KEY: None if requires is None else frozenset(requires),
        }
        return _build_field(
            resolver, graphql_type, permission.extensions if permission else [], permission, name, metadata
        )

    return declare


def query(
    permission: Permission, graphql_type: Any = None, *, max_age: int | None = None
) -> Callable[[Resolver], StrawberryField]:
    """A field of `Query`."""
    return lambda resolver: _build_field(
        resolver, graphql_type, permission.extensions, permission, metadata={"max_age": max_age}
    )


def mutation(
    permission: Permission, *, name: str | None = None, exclusive: bool = False
) -> Callable[[Resolver], StrawberryField]:
    """A field of `Mutation`: refusals become members of its union, and what was loaded before it is forgotten.

    One that must be `alone` may have no other mutation beside it in a document.
    """
    return lambda resolver: _build_field(
        resolver,
        None,
        [ResetContext(), *permission.extensions, UserErrorExtension()],
        permission,
        name,
        {"exclusive": exclusive},
    )


def _build_field(
    resolver: Resolver,
    graphql_type: Any,
    extensions: list[FieldExtension],
    permission: Permission | None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> StrawberryField:
    field_metadata = {key: value for key, value in (metadata or {}).items() if value is not None}
    if "max_age" in field_metadata and permission and permission.directive_arguments is not None:
        raise TypeError(f"{resolver.__qualname__} is not for everybody, so no cache may keep it")
    strawberry_field: StrawberryField = strawberry.field(
        resolver,
        name=name,
        description=docstring(resolver),
        graphql_type=graphql_type,
        extensions=extensions,
        metadata=field_metadata,
        directives=[RequiresAuth(**permission.directive_arguments)]
        if permission and permission.directive_arguments is not None
        else [],
    )
    return strawberry_field


class ResetContext(FieldExtension):
    async def resolve_async(self, next_: Resolver, source: Any, info: strawberry.Info, **arguments: Any) -> Any:
        info.context.invalidate()
        return await next_(source, info, **arguments)


@dataclass_transform(kw_only_default=True, field_specifiers=(attribute,))
def object_type(
    *, source_type: type | None = None, name: str | None = None, max_age: int | None = None
) -> Callable[[type[T]], type[T]]:
    """An object type, described by its docstring; `of` is the class of the rows that stand for it.

    `fresh_for` is for its columns and its ID, which are the same whoever asks; the other fields have their own.
    """

    def declare(cls: type[T]) -> type[T]:
        if source_type is not None:
            cls.is_type_of = classmethod(lambda _, row, __: isinstance(row, source_type))  # type: ignore[attr-defined]  # read by Strawberry
        if max_age is not None:
            for field_name, strawberry_field in vars(cls).items():
                if isinstance(strawberry_field, StrawberryField) and (
                    strawberry_field.base_resolver is None or field_name == "id"
                ):
                    strawberry_field.metadata = MappingProxyType({"max_age": max_age, **strawberry_field.metadata})
        return strawberry.type(cls, name=name, description=docstring(cls))

    return declare


@dataclass_transform(kw_only_default=True, field_specifiers=(attribute,))
def input_type(*, one_of: bool = False) -> Callable[[type[T]], type[T]]:
    def declare(cls: type[T]) -> type[T]:
        return strawberry.input(cls, one_of=one_of, description=docstring(cls))

    return declare


def enum_type(enum: type[E], description: str, *, name: str | None = None, **value_descriptions: str) -> type[E]:
    """An enum of the domain as part of the contract, with a sentence for each of its values."""
    strawberry_enum = strawberry.enum(enum, name=name, description=description)
    definition: StrawberryEnumDefinition = strawberry_enum.__strawberry_definition__  # type: ignore[attr-defined]  # put there above
    for value in definition.values:
        value.description = value_descriptions.pop(value.name)
    if value_descriptions:
        raise TypeError(f"{enum.__name__} has no {', '.join(value_descriptions)}")
    return strawberry_enum


def result_union(name: str, mutation_name: str) -> Any:
    return strawberry.union(name, description=f"How `{mutation_name}` can end.")


def docstring(target: Any) -> str:
    text = inspect.getdoc(target)
    if not text:
        raise TypeError(f"{target.__qualname__} has no docstring, so the contract would not describe it")
    return text
