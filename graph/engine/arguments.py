"""What a field is called with: as graphql-core coerces it and Strawberry converts it, and as much of it as can be, but once."""

import dataclasses
import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Collection, Iterator
from types import SimpleNamespace
from typing import Any, cast

from graphql import (
    FieldNode,
    GraphQLArgument,
    GraphQLField,
    ObjectValueNode,
    Undefined,
    ValueNode,
    VariableNode,
    get_nullable_type,
    is_leaf_type,
    is_non_null_type,
)
from graphql.execution.values import VariableValues, get_argument_values
from strawberry import UNSET, Schema
from strawberry.extensions import FieldExtension
from strawberry.relay import GlobalID
from strawberry.types.arguments import StrawberryArgument, convert_arguments
from strawberry.types.base import StrawberryMaybe, StrawberryOptional
from strawberry.types.field import StrawberryField

from graph.engine.variables import NO_VARIABLES

IMMUTABLE = (str, int, float, decimal.Decimal, uuid.UUID, dt.date, enum.Enum, type(None), type(UNSET))


class Arguments:
    """Of one field of a document.

    What no variable touches is worked out but once. A variable that is an argument by itself, and a scalar or of an enum, is
    handed on as it is, or put where it belongs in an input object that is written out. The rest, and whatever fails, is worked
    out in each request.
    """

    def __init__(
        self,
        schema: Schema,
        field: StrawberryField,
        definition: GraphQLField,
        node: FieldNode,
        *,
        hide_suggestions: bool,
    ) -> None:
        self._schema, self._node, self._hide_suggestions = schema, node, hide_suggestions
        name_of = schema.config.name_converter.from_argument
        self._known = {
            name_of(argument): (argument, definition.args[name_of(argument)]) for argument in field.arguments
        }
        self._mapped_by = [it for it in field.extensions if type(it).map_arguments is not FieldExtension.map_arguments]
        told = {it.name.value: it.value for it in node.arguments or ()}
        touched = {name for name, value in told.items() if any(_variables_in(value))}
        self._handed_on = [
            _HandedOn(name, value.name.value, *self._known[name])
            for name, value in told.items()
            if isinstance(value, VariableNode) and _is_plain(*self._known[name])
        ]
        handed_on = {it.name for it in self._handed_on}
        self._forms = [
            form
            for name in touched - handed_on
            if isinstance(told[name], ObjectValueNode) and (form := self._form(name))
        ]
        handed_on |= {form.name for form in self._forms}
        self._constant = self._constants([name for name in self._known if name not in touched])
        self._rest = [
            name for name in self._known if name not in handed_on and (self._constant is None or name in touched)
        ]

    def of(self, variables: VariableValues) -> dict[str, Any]:
        """By the names of the resolver's parameters. Raises what the field fails with."""
        given = dict(self._constant or ())
        rest = list(self._rest)
        for it in self._handed_on:
            value = variables.coerced.get(it.variable, UNSET)
            if value is UNSET:
                if not it.omittable:
                    rest.append(it.name)
            elif value is None and it.required:
                rest.append(it.name)
            else:
                given[it.parameter] = value
        for form in self._forms:
            filled = form.filled(variables)
            if filled is None:
                rest.append(form.name)
            else:
                given[form.parameter] = filled
        if rest:
            given |= self._converted(rest, variables)
        for extension in self._mapped_by:
            given = extension.map_arguments(given)
        return given

    def _constants(self, names: list[str]) -> dict[str, Any] | None:
        try:
            constants = self._converted(names, NO_VARIABLES)
        except Exception:
            return None  # and fails in each request
        return constants if all(isinstance(value, IMMUTABLE) for value in constants.values()) else None

    def _form(self, name: str) -> "_Form | None":
        """Found out by converting the object with something in place of each variable, and seeing where that comes out."""
        value = next(it.value for it in self._node.arguments or () if it.name.value == name)
        stands_for = {it.name.value: object() for it in _variables_in(value)}
        try:
            [(parameter, made)] = self._converted([name], VariableValues({}, dict(stands_for))).items()
            values = {it.name: getattr(made, it.name) for it in dataclasses.fields(made)}
        except Exception:
            return None
        holes = {at: name_ for at, found in values.items() for name_, it in stands_for.items() if found is it}
        fixed = {at: found for at, found in values.items() if at not in holes}
        if set(holes.values()) != set(stands_for) or not all(isinstance(it, IMMUTABLE) for it in fixed.values()):
            return None
        return _Form(name, parameter, type(made), fixed, holes)

    def _converted(self, names: Collection[str], variables: VariableValues) -> dict[str, Any]:
        some = [self._known[name] for name in self._known if name in names]
        definition = cast(GraphQLField, SimpleNamespace(args={name: self._known[name][1] for name in names}))
        coerced = get_argument_values(definition, self._node, variables, hide_suggestions=self._hide_suggestions)
        return convert_arguments(
            coerced,
            [argument for argument, _ in some],
            scalar_registry=self._schema.schema_converter.scalar_registry,
            config=self._schema.config,
        )


class _HandedOn:
    """An argument that is a variable; it is `omittable` where there is nothing in its place without it."""

    __slots__ = ("name", "omittable", "parameter", "required", "variable")

    def __init__(self, name: str, variable: str, argument: StrawberryArgument, definition: GraphQLArgument) -> None:
        self.name, self.variable, self.parameter = name, variable, argument.python_name
        self.required = is_non_null_type(definition.type)
        has_default = definition.default is not None or definition.default_value is not Undefined
        self.omittable = not self.required and not has_default


@dataclasses.dataclass(frozen=True, slots=True)
class _Form:
    """An input object in which some values are variables."""

    name: str
    parameter: str
    type: type
    fixed: dict[str, Any]
    holes: dict[str, str]

    def filled(self, variables: VariableValues) -> Any:
        """`None` where one of them is not there or null: what that means is for graphql-core to say."""
        values = {at: variables.coerced.get(variable) for at, variable in self.holes.items()}
        return None if None in values.values() else self.type(**self.fixed, **values)


def _is_plain(argument: StrawberryArgument, definition: GraphQLArgument) -> bool:
    """Whether Strawberry takes its values as graphql-core gives them."""
    type_ = argument.type
    while isinstance(type_, StrawberryOptional) and not isinstance(type_, StrawberryMaybe):
        type_ = type_.of_type
    return (
        is_leaf_type(get_nullable_type(definition.type))
        and not isinstance(type_, StrawberryMaybe)
        and type_ is not GlobalID
    )


def _variables_in(value: ValueNode) -> Iterator[VariableNode]:
    if isinstance(value, VariableNode):
        yield value
    for item in getattr(value, "values", None) or ():
        yield from _variables_in(item)
    for inner in getattr(value, "fields", None) or ():
        yield from _variables_in(inner.value)
