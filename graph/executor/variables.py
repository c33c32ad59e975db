"""Coerces an operation's variables, with a shortcut for values that need no coercion."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from graphql import (
    GraphQLError,
    GraphQLSchema,
    Undefined,
    VariableDefinitionNode,
    get_nullable_type,
    is_non_null_type,
)
from graphql.execution.get_variable_signature import GraphQLVariableSignature, get_variable_signature
from graphql.execution.values import VariableValues, VariableValueSource, get_variable_values

MAX_ERRORS = 50
NO_VARIABLES = VariableValues({}, {})


def _is_string(value: Any) -> bool:
    return type(value) is str


ALREADY_COERCED_TESTS: Mapping[str, Callable[[Any], bool]] = {
    "String": _is_string,
    "ID": _is_string,
    "Boolean": lambda value: type(value) is bool,
    "Int": lambda value: type(value) is int and -(2**31) <= value < 2**31,
}
"""For each built-in scalar, whether graphql-core would coerce a value to itself."""


class VariableCoercer:
    """Coerces the variables of one operation."""

    def __init__(
        self, schema: GraphQLSchema, definitions: Sequence[VariableDefinitionNode], *, hide_suggestions: bool
    ) -> None:
        self._schema, self._definitions, self._hide_suggestions = schema, definitions, hide_suggestions
        self._simple_variables = self._find_simple_variables()

    def coerce(self, inputs: Mapping[str, Any]) -> VariableValues | list[GraphQLError]:
        """Return the coerced values, or the errors if coercion fails."""
        if not self._definitions:
            return NO_VARIABLES
        coerced = self._coerce_simple(inputs) if self._simple_variables else None
        if coerced is not None:
            return coerced
        return get_variable_values(self._schema, self._definitions, dict(inputs), MAX_ERRORS, self._hide_suggestions)

    def _find_simple_variables(self) -> list[tuple[GraphQLVariableSignature, Callable[[Any], bool], bool]]:
        """Return each variable's signature, test and nullability; nothing if any variable's type has no test."""
        simple_variables = []
        for definition in self._definitions:
            signature = get_variable_signature(self._schema, definition)
            is_already_coerced = (
                None
                if isinstance(signature, GraphQLError)
                else ALREADY_COERCED_TESTS.get(str(get_nullable_type(signature.type)))
            )
            if is_already_coerced is None or isinstance(signature, GraphQLError):
                return []
            simple_variables.append((signature, is_already_coerced, not is_non_null_type(signature.type)))
        return simple_variables

    def _coerce_simple(self, inputs: Mapping[str, Any]) -> VariableValues | None:
        """Coerce without graphql-core; return `None` if a value needs coercion or a default."""
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for signature, is_already_coerced, is_nullable in self._simple_variables:
            name = signature.name
            value = inputs.get(name, Undefined)
            if is_already_coerced(value) or (value is None and is_nullable):
                coerced[name] = value
            elif value is not Undefined or not is_nullable or signature.default:
                return None
            sources[name] = VariableValueSource(signature, value)
        return VariableValues(sources, coerced)
