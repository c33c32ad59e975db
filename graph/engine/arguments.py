"""What a field is called with: as graphql-core coerces it and Strawberry converts it, once a request at most."""

import datetime as dt
import decimal
import enum
import uuid
from collections.abc import Iterator
from typing import Any

from graphql import FieldNode, GraphQLField, ValueNode, VariableNode
from graphql.execution.values import VariableValues, get_argument_values
from strawberry import UNSET, Schema
from strawberry.types.arguments import convert_arguments
from strawberry.types.field import StrawberryField

IMMUTABLE = (str, int, float, decimal.Decimal, uuid.UUID, dt.date, enum.Enum, type(None), type(UNSET))


class Arguments:
    """Of one field of a document. Those that depend on no variable, and that nobody can change, are worked out but once."""

    __slots__ = ("_constant", "_definition", "_field", "_hide_suggestions", "_node", "_schema")

    def __init__(
        self,
        schema: Schema,
        field: StrawberryField,
        definition: GraphQLField,
        node: FieldNode,
        *,
        hide_suggestions: bool,
    ) -> None:
        self._schema, self._field, self._definition, self._node = schema, field, definition, node
        self._hide_suggestions = hide_suggestions
        self._constant: dict[str, Any] | None = None if any(_variables(node)) else self._constants()

    def of(self, variables: VariableValues) -> dict[str, Any]:
        """By the names of the resolver's parameters. Raises what the field fails with."""
        return self._convert(variables) if self._constant is None else self._constant

    def _constants(self) -> dict[str, Any] | None:
        try:
            constants = self._convert(VariableValues({}, {}))
        except Exception:
            return None  # and fails in each request
        return constants if all(isinstance(value, IMMUTABLE) for value in constants.values()) else None

    def _convert(self, variables: VariableValues) -> dict[str, Any]:
        coerced = get_argument_values(self._definition, self._node, variables, hide_suggestions=self._hide_suggestions)
        converted = convert_arguments(
            coerced,
            self._field.arguments,
            scalar_registry=self._schema.schema_converter.scalar_registry,
            config=self._schema.config,
        )
        for extension in self._field.extensions:
            converted = extension.map_arguments(converted)
        return converted


def _variables(node: FieldNode) -> Iterator[VariableNode]:
    for argument in node.arguments or ():
        yield from _variables_in(argument.value)


def _variables_in(value: ValueNode) -> Iterator[VariableNode]:
    if isinstance(value, VariableNode):
        yield value
    for item in getattr(value, "values", None) or ():
        yield from _variables_in(item)
    for inner in getattr(value, "fields", None) or ():
        yield from _variables_in(inner.value)
