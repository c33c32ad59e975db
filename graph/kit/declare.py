"""Declares the types, fields and queries of the schema; mutations are declared in `graph.kit.mutations`.

Docstrings become the descriptions in the SDL. Every query names its permission: there is no default.
`max_age` is how many seconds a shared cache may keep a response to an anonymous caller. Without it no cache keeps the response.
"""

import inspect
from collections.abc import Callable, Collection
from enum import Enum
from types import MappingProxyType
from typing import Any, TypeVar, dataclass_transform

import strawberry
from strawberry import UNSET
from strawberry.extensions import FieldExtension
from strawberry.types.enum import StrawberryEnumDefinition
from strawberry.types.field import StrawberryField

from graph.executor import REQUIRES_KEY
from graph.kit.permissions import Permission, RequiresAuth

T = TypeVar("T")
E = TypeVar("E", bound=Enum)
Resolver = Callable[..., Any]

SECOND, MINUTE = 1, 60


def attribute(description: str, graphql_type: Any = None) -> Any:
    """Declare a field that is read from the row's attribute of the same name."""
    return strawberry.field(description=description, graphql_type=graphql_type)


def optional(description: str) -> Any:
    """Declare an input field that may be left out: its value is then `UNSET`."""
    return strawberry.field(default=UNSET, description=description)


def argument(description: str) -> Any:
    """Describe an argument of a resolver, inside `Annotated`."""
    return strawberry.argument(description=description)


def none_if_unset(value: T) -> T | None:
    """Return the value of an optional input field or argument, and `None` when it was left out."""
    return None if value is UNSET else value


def field(
    graphql_type: Any = None,
    *,
    permission: Permission | None = None,
    name: str | None = None,
    assumed_size: int | None = None,
    requires: Collection[str] | None = None,
    max_age: int | None = None,
) -> Callable[[Resolver], Any]:
    """Declare a field with a resolver.

    Args:
        graphql_type: The field's type, where the resolver returns a database row.
        permission: Who may read the field. Anyone who may read its object, when left out.
        name: The name in the SDL, when it is not the resolver's.
        assumed_size: The number of items that the cost of a list is computed with, where no argument sets it.
        requires: The row's attributes that the resolver reads, so that the others need not be selected.
            `None` means that it may read any.
        max_age: Seconds that a shared cache may keep the value.
    """

    def declare(resolver: Resolver) -> Any:
        metadata = {
            "assumed_size": assumed_size,
            "max_age": max_age,
            REQUIRES_KEY: None if requires is None else frozenset(requires),
        }
        return build_field(
            resolver, graphql_type, permission.extensions if permission else [], permission, name, metadata
        )

    return declare


def query(
    permission: Permission, graphql_type: Any = None, *, max_age: int | None = None
) -> Callable[[Resolver], StrawberryField]:
    """Declare a field of `Query`. `graphql_type` and `max_age` are those of `field`."""
    return lambda resolver: build_field(
        resolver, graphql_type, permission.extensions, permission, metadata={"max_age": max_age}
    )


def build_field(
    resolver: Resolver,
    graphql_type: Any,
    extensions: list[FieldExtension],
    permission: Permission | None,
    name: str | None = None,
    metadata: dict[str, Any] | None = None,
) -> StrawberryField:
    """Build the Strawberry field. Metadata that is `None` is left out.

    Raises:
        TypeError: The field needs a permission and has a `max_age`, or its resolver has no docstring.
    """
    field_metadata = {key: value for key, value in (metadata or {}).items() if value is not None}
    if "max_age" in field_metadata and permission and permission.directive_arguments is not None:
        raise TypeError(f"{resolver.__qualname__} needs a permission, so it cannot have a max_age")
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


@dataclass_transform(kw_only_default=True, field_specifiers=(attribute,))
def object_type(
    *, source_type: type | None = None, name: str | None = None, max_age: int | None = None
) -> Callable[[type[T]], type[T]]:
    """Declare an object type, described by its docstring.

    Args:
        source_type: The class of the database rows that are resolved as this type.
        name: The name in the SDL, when it is not the class's.
        max_age: Seconds that a shared cache may keep the attributes and the ID. Fields with a resolver set their own.
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
    """Declare an input type, described by its docstring. With `one_of` exactly one field must be given."""

    def declare(cls: type[T]) -> type[T]:
        return strawberry.input(cls, one_of=one_of, description=docstring(cls))

    return declare


def enum_type(enum: type[E], description: str, *, name: str | None = None, **value_descriptions: str) -> type[E]:
    """Declare an enum of the domain as a type of the schema, with a description for each value.

    Raises:
        KeyError: A value has no description.
        TypeError: A description names no value of the enum.
    """
    strawberry_enum = strawberry.enum(enum, name=name, description=description)
    definition: StrawberryEnumDefinition = strawberry_enum.__strawberry_definition__  # type: ignore[attr-defined]  # set by Strawberry
    for value in definition.values:
        value.description = value_descriptions.pop(value.name)
    if value_descriptions:
        raise TypeError(f"{enum.__name__} has no {', '.join(value_descriptions)}")
    return strawberry_enum


def docstring(target: Any) -> str:
    """Return the docstring as the description in the SDL.

    Raises:
        TypeError: There is no docstring.
    """
    text = inspect.getdoc(target)
    if not text:
        raise TypeError(f"{target.__qualname__} needs a docstring: it becomes the description in the SDL")
    return text
