"""An operation's variables: as graphql-core coerces them, and at once where a value is what its type says already."""

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

MOST_ERRORS = 50
NO_VARIABLES = VariableValues({}, {})


def _is_text(value: Any) -> bool:
    return type(value) is str


PLAIN: Mapping[str, Callable[[Any], bool]] = {
    "String": _is_text,
    "ID": _is_text,
    "Boolean": lambda value: type(value) is bool,
    "Int": lambda value: type(value) is int and -(2**31) <= value < 2**31,
}
"""When values of these scalars are what graphql-core would make of them."""


class Variables:
    def __init__(
        self, schema: GraphQLSchema, definitions: Sequence[VariableDefinitionNode], *, hide_suggestions: bool
    ) -> None:
        self._schema, self._definitions, self._hide_suggestions = schema, definitions, hide_suggestions
        self._plain = self._all_plain()

    def coerced(self, given: Mapping[str, Any]) -> VariableValues | list[GraphQLError]:
        if not self._definitions:
            return NO_VARIABLES
        plainly = self._plainly(given) if self._plain else None
        if plainly is not None:
            return plainly
        return get_variable_values(self._schema, self._definitions, dict(given), MOST_ERRORS, self._hide_suggestions)

    def _all_plain(self) -> list[tuple[GraphQLVariableSignature, Callable[[Any], bool], bool]]:
        """What each one is, with whether it may be null. Nothing, where one of them has a type that takes more."""
        plain = []
        for definition in self._definitions:
            signature = get_variable_signature(self._schema, definition)
            test = None if isinstance(signature, GraphQLError) else PLAIN.get(str(get_nullable_type(signature.type)))
            if test is None or isinstance(signature, GraphQLError):
                return []
            plain.append((signature, test, not is_non_null_type(signature.type)))
        return plain

    def _plainly(self, given: Mapping[str, Any]) -> VariableValues | None:
        """`None` where graphql-core has to look."""
        sources: dict[str, VariableValueSource] = {}
        coerced: dict[str, Any] = {}
        for signature, is_plain, nullable in self._plain:
            name = signature.name
            value = given.get(name, Undefined)
            if is_plain(value) or (value is None and nullable):
                coerced[name] = value
            elif value is not Undefined or not nullable or signature.default:
                return None
            sources[name] = VariableValueSource(signature, value)
        return VariableValues(sources, coerced)
