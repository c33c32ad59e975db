"""Generates random documents over any schema, reproducible by their seed. Most are valid."""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Any

from graphql import (
    GraphQLArgument,
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputField,
    GraphQLInputObjectType,
    GraphQLInterfaceType,
    GraphQLList,
    GraphQLNonNull,
    GraphQLScalarType,
    GraphQLSchema,
    GraphQLUnionType,
    get_named_type,
    get_nullable_type,
    is_composite_type,
    is_leaf_type,
    is_required_argument,
    is_required_input_field,
)

Samples = Mapping[str, list[Any]]
"""Values by the name of an argument or input field, or else of a scalar; some may be invalid."""

SCALAR_SAMPLES: Samples = {
    "Int": [0, 1, 2, 3, 7, 40, -1, 2**31 - 1],
    "Float": [0.5, 1, -2.25, 1e300],
    "Boolean": [True, False],
    "String": ["", "word", 'quoted "text"', "naïve ☃"],
    "ID": ["1", "some-id", 7],
}
INVALID_VALUES = ["text", 12.5, 2**40, [], {}, None, True, ["x", None]]


@dataclass
class DocumentGenerator:
    """Generates one document."""

    schema: GraphQLSchema
    rng: Random
    samples: Samples = field(default_factory=dict)
    max_depth: int = 5
    remaining_fields: int = 40
    """The approximate maximum number of fields."""
    invalid_variable_rate: float = 0.05
    """The share of variables that get an invalid value."""
    _variable_types: dict[str, str] = field(default_factory=dict)
    _variable_values: dict[str, Any] = field(default_factory=dict)
    _fragments: dict[str, tuple[str, str]] = field(default_factory=dict)

    def generate(self, operation_type: str, root_fields: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
        """Return the document and its variables. Without `root_fields`, root fields are chosen at random."""
        root_type = {"query": self.schema.query_type, "mutation": self.schema.mutation_type}[operation_type]
        assert root_type is not None
        selections = [self._generate_field(name, root_type.fields[name], self.max_depth) for name in root_fields]
        selection_set = (
            "{ " + " ".join(selections) + " }"
            if selections
            else self._generate_selection_set(root_type, self.max_depth)
        )
        variable_definitions = ", ".join(f"${name}: {type_}" for name, type_ in self._variable_types.items())
        fragments = [f"fragment {name} on {on} {body}" for name, (on, body) in self._fragments.items()]
        header = f"{operation_type} Generated" + (f"({variable_definitions})" if variable_definitions else "")
        return "\n".join([f"{header} {selection_set}", *fragments]), self._variable_values

    # ── Selections ────────────────────────────────────────────────────────────────────────

    def _generate_selection_set(self, type_: Any, depth: int) -> str:
        selections = [self._generate_selection(type_, depth) for _ in range(self.rng.randint(1, 5))]
        return "{ " + " ".join(selections) + " }"

    def _generate_selection(self, type_: Any, depth: int) -> str:
        draw = self.rng.random()
        if draw < 0.08 or (isinstance(type_, GraphQLUnionType) and draw < 0.3):
            return self._maybe_alias("__typename") + self._maybe_add_directive()
        if draw < 0.2 and depth > 0:
            return f"...{self._choose_fragment(type_, depth)}{self._maybe_add_directive()}"
        if (draw < 0.38 and depth > 0) or isinstance(type_, GraphQLUnionType):
            fragment_type = self._choose_fragment_type(type_, depth)
            type_condition = f" on {fragment_type}" if fragment_type is not type_ or self.rng.random() < 0.5 else ""
            return f"...{type_condition}{self._maybe_add_directive()} {self._generate_selection_set(fragment_type, depth - 1)}"
        return self._generate_random_field(type_, depth)

    def _generate_random_field(self, type_: Any, depth: int) -> str:
        names = [
            name
            for name, field_ in type_.fields.items()
            if is_leaf_type(get_named_type(field_.type)) or (depth > 0 and self.remaining_fields > 0)
        ]
        if not names:
            return "__typename"
        name = self.rng.choice(names)
        return self._generate_field(name, type_.fields[name], depth)

    def _generate_field(self, name: str, field_: GraphQLField, depth: int) -> str:
        self.remaining_fields -= 1
        argument_list = [
            f"{key}: {self._generate_argument_value(key, argument)}"
            for key, argument in field_.args.items()
            if is_required_argument(argument) or self.rng.random() < 0.4
        ]
        arguments = f"({', '.join(argument_list)})" if argument_list else ""
        named_type = get_named_type(field_.type)
        selection_set = (
            f" {self._generate_selection_set(named_type, depth - 1)}" if is_composite_type(named_type) else ""
        )
        return self._maybe_alias(name) + arguments + self._maybe_add_directive() + selection_set

    def _maybe_alias(self, name: str) -> str:
        return f"{self.rng.choice('abcde')}: {name}" if self.rng.random() < 0.12 else name

    def _choose_fragment_type(self, type_: Any, depth: int) -> Any:
        """Choose a type condition that is valid here; at depth 0 an object type."""
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            own_type = [type_] if depth > 0 else []
            return self.rng.choice([*own_type, *self.schema.get_possible_types(type_)])
        return self.rng.choice([type_, *type_.interfaces])

    def _choose_fragment(self, type_: Any, depth: int) -> str:
        fragment_names = [name for name, (on, body) in self._fragments.items() if on == type_.name and body]
        if fragment_names and self.rng.random() < 0.5:
            return self.rng.choice(fragment_names)
        name = f"F{len(self._fragments)}"
        self._fragments[name] = (type_.name, "")  # an empty body: must not be spread within itself
        self._fragments[name] = (type_.name, self._generate_selection_set(type_, depth - 1))
        return name

    def _maybe_add_directive(self) -> str:
        if self.rng.random() > 0.08:
            return ""
        condition: Any = self.rng.choice([True, False])
        name = self.rng.choice(["skip", "include"])
        argument = self._declare_variable("Boolean!", condition) if self.rng.random() < 0.6 else json.dumps(condition)
        return f" @{name}(if: {argument})"

    # ── Arguments ─────────────────────────────────────────────────────────────────────────

    def _generate_argument_value(self, name: str, definition: GraphQLArgument | GraphQLInputField) -> str:
        type_ = get_nullable_type(definition.type)
        if isinstance(type_, GraphQLInputObjectType) and not type_.is_one_of and self.rng.random() < 0.5:
            return self._generate_input_object(type_)
        value = self._choose_value(name, definition.type)
        if self.rng.random() < 0.4:
            return self._declare_variable(str(definition.type), value)
        return _print_literal(value, definition.type)

    def _generate_input_object(self, type_: GraphQLInputObjectType) -> str:
        """Generate a literal, with variables for some of its fields."""
        fields = {
            key: input_field
            for key, input_field in type_.fields.items()
            if is_required_input_field(input_field) or self._includes_optional()
        }
        return (
            "{"
            + ", ".join(
                f"{key}: {self._generate_argument_value(key, input_field)}" for key, input_field in fields.items()
            )
            + "}"
        )

    def _declare_variable(self, type_: str, value: Any) -> str:
        name = f"v{len(self._variable_types)}"
        draw = self.rng.random()
        self._variable_types[name] = type_
        if draw < self.invalid_variable_rate:
            self._variable_values[name] = self.rng.choice(INVALID_VALUES)
        elif draw < 0.9 or type_.endswith("!"):
            self._variable_values[name] = value
        return f"${name}"

    def _choose_value(self, name: str, type_: Any) -> Any:
        if isinstance(type_, GraphQLNonNull):
            return self._choose_non_null_value(name, type_.of_type)
        return None if self.rng.random() < 0.08 else self._choose_non_null_value(name, type_)

    def _choose_non_null_value(self, name: str, type_: Any) -> Any:
        if isinstance(type_, GraphQLList):
            return [self._choose_value(name, type_.of_type) for _ in range(self.rng.randint(0, 3))]
        if isinstance(type_, GraphQLEnumType):
            return self.rng.choice(list(type_.values))
        if isinstance(type_, GraphQLScalarType):
            return self.rng.choice(self.samples.get(name) or self.samples.get(type_.name) or SCALAR_SAMPLES[type_.name])
        assert isinstance(type_, GraphQLInputObjectType)
        fields = {
            key: input_field
            for key, input_field in type_.fields.items()
            if is_required_input_field(input_field) or self._includes_optional()
        }
        if type_.is_one_of:
            key = self.rng.choice(list(type_.fields))
            return {key: self._choose_non_null_value(key, type_.fields[key].type)}
        return {key: self._choose_value(key, input_field.type) for key, input_field in fields.items()}

    def _includes_optional(self) -> bool:
        return self.rng.random() < 0.3


def _print_literal(value: Any, type_: Any) -> str:
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    if value is None:
        return "null"
    if isinstance(type_, GraphQLList):
        return "[" + ", ".join(_print_literal(item, type_.of_type) for item in value) + "]"
    if isinstance(type_, GraphQLInputObjectType):
        return (
            "{"
            + ", ".join(f"{key}: {_print_literal(inner, type_.fields[key].type)}" for key, inner in value.items())
            + "}"
        )
    return str(value) if isinstance(type_, GraphQLEnumType) else json.dumps(value, ensure_ascii=False)


def generate_documents(
    schema: GraphQLSchema,
    seed: int,
    count: int,
    samples: Samples,
    *,
    is_accepted: Callable[[str], bool],
    operation_types: Sequence[str] = ("query", "query", "mutation"),
) -> Iterable[tuple[str, dict[str, Any]]]:
    """Yield `count` accepted documents with their variables; the operation types alternate."""
    rng, document_count = Random(seed), 0
    while document_count < count:
        text, variables = DocumentGenerator(schema, rng, samples).generate(
            operation_types[document_count % len(operation_types)]
        )
        if is_accepted(text):
            document_count += 1
            yield text, variables
