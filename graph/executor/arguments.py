"""Coerces a field's arguments with graphql-core and Strawberry, at compile time where no variable is involved."""

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
    """Coerces the arguments of one field of a document.

    - Arguments without variables are coerced once.
    - A variable that is a whole argument of a scalar or enum type is passed on as its coerced value.
    - Variables within an input object literal are inserted into a compiled template.
    - Everything else, and everything that fails, is coerced at each execution.
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
            extension
            for extension in field.extensions
            if type(extension).map_arguments is not FieldExtension.map_arguments
        ]
        value_nodes = {argument.name.value: argument.value for argument in node.arguments or ()}
        names_with_variables = {name for name, value in value_nodes.items() if any(_find_variables(value))}
        self._variable_arguments = [
            _VariableArgument(name, value.name.value, *self._definitions[name])
            for name, value in value_nodes.items()
            if isinstance(value, VariableNode) and _needs_no_conversion(*self._definitions[name])
        ]
        compiled_names = {argument.name for argument in self._variable_arguments}
        self._input_templates = [
            template
            for name in names_with_variables - compiled_names
            if isinstance(value_nodes[name], ObjectValueNode) and (template := self._build_template(name))
        ]
        compiled_names |= {template.name for template in self._input_templates}
        self._constant_values = self._coerce_constants(
            [name for name in self._definitions if name not in names_with_variables]
        )
        self._dynamic_names = [
            name
            for name in self._definitions
            if name not in compiled_names and (self._constant_values is None or name in names_with_variables)
        ]

    def coerce(self, variables: VariableValues) -> dict[str, Any]:
        """Return the arguments by the resolver's parameter names. Raises the field error if coercion fails."""
        values = dict(self._constant_values or ())
        dynamic_names = list(self._dynamic_names)
        for argument in self._variable_arguments:
            value = variables.coerced.get(argument.variable, UNSET)
            if value is UNSET:
                if not argument.is_omittable:
                    dynamic_names.append(argument.name)
            elif value is None and argument.is_non_null:
                dynamic_names.append(argument.name)
            else:
                values[argument.parameter] = value
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
            return None  # it fails again at each execution
        return constants if all(isinstance(value, IMMUTABLE_TYPES) for value in constants.values()) else None

    def _build_template(self, name: str) -> "_InputTemplate | None":
        """Coerce the object with a placeholder for each variable, and find the placeholders in the result."""
        value = next(argument.value for argument in self._node.arguments or () if argument.name.value == name)
        placeholders = {node.name.value: object() for node in _find_variables(value)}
        try:
            [(parameter, input_object)] = self._coerce([name], VariableValues({}, dict(placeholders))).items()
            values = {field.name: getattr(input_object, field.name) for field in dataclasses.fields(input_object)}
        except Exception:
            return None
        variables_by_field = {
            field_name: variable
            for field_name, field_value in values.items()
            for variable, placeholder in placeholders.items()
            if field_value is placeholder
        }
        constant_values = {
            field_name: field_value
            for field_name, field_value in values.items()
            if field_name not in variables_by_field
        }
        if set(variables_by_field.values()) != set(placeholders) or not all(
            isinstance(constant, IMMUTABLE_TYPES) for constant in constant_values.values()
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
    """An argument that is a variable. `is_omittable`: without a value, the resolver does not receive the argument."""

    __slots__ = ("is_non_null", "is_omittable", "name", "parameter", "variable")

    def __init__(self, name: str, variable: str, argument: StrawberryArgument, definition: GraphQLArgument) -> None:
        self.name, self.variable, self.parameter = name, variable, argument.python_name
        self.is_non_null = is_non_null_type(definition.type)
        has_default = definition.default is not None or definition.default_value is not Undefined
        self.is_omittable = not self.is_non_null and not has_default


@dataclasses.dataclass(frozen=True, slots=True)
class _InputTemplate:
    """An input object of which some fields are variables."""

    name: str
    parameter: str
    input_class: type
    constant_values: dict[str, Any]
    variables_by_field: dict[str, str]

    def build(self, variables: VariableValues) -> Any:
        """Build the input object; return `None` if a variable is absent or null, which graphql-core has to coerce."""
        values = {field: variables.coerced.get(variable) for field, variable in self.variables_by_field.items()}
        return None if None in values.values() else self.input_class(**self.constant_values, **values)


def _needs_no_conversion(argument: StrawberryArgument, definition: GraphQLArgument) -> bool:
    """Return whether Strawberry passes on the values that graphql-core coerces."""
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
