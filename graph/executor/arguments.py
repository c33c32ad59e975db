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

from graph.executor.variables import NO_VARIABLES

IMMUTABLE_TYPES = (str, int, float, decimal.Decimal, uuid.UUID, dt.date, enum.Enum, type(None), type(UNSET))


class ArgumentCoercer:
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
        get_graphql_name = schema.config.name_converter.from_argument
        self._definitions = {
            get_graphql_name(argument): (argument, definition.args[get_graphql_name(argument)])
            for argument in field.arguments
        }
        self._mapping_extensions = [
            it for it in field.extensions if type(it).map_arguments is not FieldExtension.map_arguments
        ]
        value_nodes = {it.name.value: it.value for it in node.arguments or ()}
        names_with_variables = {name for name, value in value_nodes.items() if any(_find_variables(value))}
        self._variable_arguments = [
            _VariableArgument(name, value.name.value, *self._definitions[name])
            for name, value in value_nodes.items()
            if isinstance(value, VariableNode) and _needs_no_conversion(*self._definitions[name])
        ]
        compiled_names = {it.name for it in self._variable_arguments}
        self._input_templates = [
            template
            for name in names_with_variables - compiled_names
            if isinstance(value_nodes[name], ObjectValueNode) and (template := self._build_template(name))
        ]
        compiled_names |= {form.name for form in self._input_templates}
        self._constant_values = self._coerce_constants(
            [name for name in self._definitions if name not in names_with_variables]
        )
        self._dynamic_names = [
            name
            for name in self._definitions
            if name not in compiled_names and (self._constant_values is None or name in names_with_variables)
        ]

    def coerce(self, variables: VariableValues) -> dict[str, Any]:
        """By the names of the resolver's parameters. Raises what the field fails with."""
        values = dict(self._constant_values or ())
        dynamic_names = list(self._dynamic_names)
        for it in self._variable_arguments:
            value = variables.coerced.get(it.variable, UNSET)
            if value is UNSET:
                if not it.is_omittable:
                    dynamic_names.append(it.name)
            elif value is None and it.is_non_null:
                dynamic_names.append(it.name)
            else:
                values[it.parameter] = value
        for template in self._input_templates:
            input_object = template.build(variables)
            if input_object is None:
                dynamic_names.append(template.name)
            else:
                values[template.parameter] = input_object
        if dynamic_names:
            values |= self._coerce(dynamic_names, variables)
        for extension in self._mapping_extensions:
            values = extension.map_arguments(values)
        return values

    def _coerce_constants(self, names: list[str]) -> dict[str, Any] | None:
        try:
            constants = self._coerce(names, NO_VARIABLES)
        except Exception:
            return None  # and fails in each request
        return constants if all(isinstance(value, IMMUTABLE_TYPES) for value in constants.values()) else None

    def _build_template(self, name: str) -> "_InputTemplate | None":
        """Found out by converting the object with something in place of each variable, and seeing where that comes out."""
        value = next(it.value for it in self._node.arguments or () if it.name.value == name)
        placeholders = {it.name.value: object() for it in _find_variables(value)}
        try:
            [(parameter, input_object)] = self._coerce([name], VariableValues({}, dict(placeholders))).items()
            values = {it.name: getattr(input_object, it.name) for it in dataclasses.fields(input_object)}
        except Exception:
            return None
        variables_by_field = {
            at: name_ for at, found in values.items() for name_, it in placeholders.items() if found is it
        }
        constant_values = {at: found for at, found in values.items() if at not in variables_by_field}
        if set(variables_by_field.values()) != set(placeholders) or not all(
            isinstance(it, IMMUTABLE_TYPES) for it in constant_values.values()
        ):
            return None
        return _InputTemplate(name, parameter, type(input_object), constant_values, variables_by_field)

    def _coerce(self, names: Collection[str], variables: VariableValues) -> dict[str, Any]:
        arguments = [self._definitions[name] for name in self._definitions if name in names]
        definition = cast(GraphQLField, SimpleNamespace(args={name: self._definitions[name][1] for name in names}))
        coerced = get_argument_values(definition, self._node, variables, hide_suggestions=self._hide_suggestions)
        return convert_arguments(
            coerced,
            [argument for argument, _ in arguments],
            scalar_registry=self._schema.schema_converter.scalar_registry,
            config=self._schema.config,
        )


class _VariableArgument:
    """An argument that is a variable; it is `omittable` where there is nothing in its place without it."""

    __slots__ = ("is_non_null", "is_omittable", "name", "parameter", "variable")

    def __init__(self, name: str, variable: str, argument: StrawberryArgument, definition: GraphQLArgument) -> None:
        self.name, self.variable, self.parameter = name, variable, argument.python_name
        self.is_non_null = is_non_null_type(definition.type)
        has_default = definition.default is not None or definition.default_value is not Undefined
        self.is_omittable = not self.is_non_null and not has_default


@dataclasses.dataclass(frozen=True, slots=True)
class _InputTemplate:
    """An input object in which some values are variables."""

    name: str
    parameter: str
    input_class: type
    constant_values: dict[str, Any]
    variables_by_field: dict[str, str]

    def build(self, variables: VariableValues) -> Any:
        """`None` where one of them is not there or null: what that means is for graphql-core to say."""
        values = {field: variables.coerced.get(variable) for field, variable in self.variables_by_field.items()}
        return None if None in values.values() else self.input_class(**self.constant_values, **values)


def _needs_no_conversion(argument: StrawberryArgument, definition: GraphQLArgument) -> bool:
    """Whether Strawberry takes its values as graphql-core gives them."""
    type_ = argument.type
    while isinstance(type_, StrawberryOptional) and not isinstance(type_, StrawberryMaybe):
        type_ = type_.of_type
    return (
        is_leaf_type(get_nullable_type(definition.type))
        and not isinstance(type_, StrawberryMaybe)
        and type_ is not GlobalID
    )


def _find_variables(value: ValueNode) -> Iterator[VariableNode]:
    if isinstance(value, VariableNode):
        yield value
    for item in getattr(value, "values", None) or ():
        yield from _find_variables(item)
    for inner in getattr(value, "fields", None) or ():
        yield from _find_variables(inner.value)
