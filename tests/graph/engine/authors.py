"""Writes random documents over any schema: the same ones for the same chance. Most are valid."""

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
"""Values by the names of arguments or fields of inputs, else of scalars; some of them may be bad."""

SCALARS: Samples = {
    "Int": [0, 1, 2, 3, 7, 40, -1, 2**31 - 1],
    "Float": [0.5, 1, -2.25, 1e300],
    "Boolean": [True, False],
    "String": ["", "word", 'quoted "text"', "naïve ☃"],
    "ID": ["1", "some-id", 7],
}
WRONG = ["text", 12.5, 2**40, [], {}, None, True, ["x", None]]


@dataclass
class Author:
    """Writes one document."""

    schema: GraphQLSchema
    chance: Random
    samples: Samples = field(default_factory=dict)
    depth: int = 5
    fields: int = 40
    """How many the document may have, more or less."""
    mistakes: float = 0.05
    """How many of the variables get something wrong."""
    _declared: dict[str, str] = field(default_factory=dict)
    _variables: dict[str, Any] = field(default_factory=dict)
    _fragments: dict[str, tuple[str, str]] = field(default_factory=dict)

    def write(self, kind: str, roots: Iterable[str] = ()) -> tuple[str, dict[str, Any]]:
        """The document and its variables. Without `roots`, some of the root's fields are taken."""
        root = {"query": self.schema.query_type, "mutation": self.schema.mutation_type}[kind]
        assert root is not None
        chosen = [self._field(name, root.fields[name], self.depth) for name in roots]
        body = "{ " + " ".join(chosen) + " }" if chosen else self._selection(root, self.depth)
        declared = ", ".join(f"${name}: {type_}" for name, type_ in self._declared.items())
        fragments = [f"fragment {name} on {on} {body_}" for name, (on, body_) in self._fragments.items()]
        head = f"{kind} Written({declared})" if declared else f"{kind} Written"
        return "\n".join([f"{head} {body}", *fragments]), self._variables

    # ── What is selected ──────────────────────────────────────────────────────────────────

    def _selection(self, type_: Any, depth: int) -> str:
        parts = [self._part(type_, depth) for _ in range(self.chance.randint(1, 5))]
        return "{ " + " ".join(parts) + " }"

    def _part(self, type_: Any, depth: int) -> str:
        drawn = self.chance.random()
        if drawn < 0.08 or (isinstance(type_, GraphQLUnionType) and drawn < 0.3):
            return self._aliased("__typename") + self._directives()
        if drawn < 0.2 and depth > 0:
            return f"...{self._fragment(type_, depth)}{self._directives()}"
        if (drawn < 0.38 and depth > 0) or isinstance(type_, GraphQLUnionType):
            condition = self._condition(type_, depth)
            on = f" on {condition}" if condition is not type_ or self.chance.random() < 0.5 else ""
            return f"...{on}{self._directives()} {self._selection(condition, depth - 1)}"
        return self._some_field(type_, depth)

    def _some_field(self, type_: Any, depth: int) -> str:
        names = [
            name
            for name, it in type_.fields.items()
            if is_leaf_type(get_named_type(it.type)) or (depth > 0 and self.fields > 0)
        ]
        if not names:
            return "__typename"
        name = self.chance.choice(names)
        return self._field(name, type_.fields[name], depth)

    def _field(self, name: str, field_: GraphQLField, depth: int) -> str:
        self.fields -= 1
        given = [
            f"{key}: {self._value(key, it)}"
            for key, it in field_.args.items()
            if is_required_argument(it) or self.chance.random() < 0.4
        ]
        arguments = f"({', '.join(given)})" if given else ""
        named = get_named_type(field_.type)
        below = f" {self._selection(named, depth - 1)}" if is_composite_type(named) else ""
        return self._aliased(name) + arguments + self._directives() + below

    def _aliased(self, name: str) -> str:
        return f"{self.chance.choice('abcde')}: {name}" if self.chance.random() < 0.12 else name

    def _condition(self, type_: Any, depth: int) -> Any:
        """A type that a fragment may be on here; in the depths one that is no union again."""
        if isinstance(type_, GraphQLInterfaceType | GraphQLUnionType):
            itself = [type_] if depth > 0 else []
            return self.chance.choice([*itself, *self.schema.get_possible_types(type_)])
        return self.chance.choice([type_, *type_.interfaces])

    def _fragment(self, type_: Any, depth: int) -> str:
        known = [name for name, (on, body) in self._fragments.items() if on == type_.name and body]
        if known and self.chance.random() < 0.5:
            return self.chance.choice(known)
        name = f"F{len(self._fragments)}"
        self._fragments[name] = (type_.name, "")  # not to be spread within itself
        self._fragments[name] = (type_.name, self._selection(type_, depth - 1))
        return name

    def _directives(self) -> str:
        if self.chance.random() > 0.08:
            return ""
        condition: Any = self.chance.choice([True, False])
        name = self.chance.choice(["skip", "include"])
        told = self._variable("Boolean!", condition) if self.chance.random() < 0.6 else json.dumps(condition)
        return f" @{name}(if: {told})"

    # ── What is given ─────────────────────────────────────────────────────────────────────

    def _value(self, name: str, given: GraphQLArgument | GraphQLInputField) -> str:
        type_ = get_nullable_type(given.type)
        if isinstance(type_, GraphQLInputObjectType) and not type_.is_one_of and self.chance.random() < 0.5:
            return self._object(type_)
        value = self._plain(name, given.type)
        if self.chance.random() < 0.4:
            return self._variable(str(given.type), value)
        return _literal(value, given.type)

    def _object(self, type_: GraphQLInputObjectType) -> str:
        """Written out, with variables in some places."""
        fields = {key: it for key, it in type_.fields.items() if is_required_input_field(it) or self._may_go_on()}
        return "{" + ", ".join(f"{key}: {self._value(key, it)}" for key, it in fields.items()) + "}"

    def _variable(self, type_: str, value: Any) -> str:
        name = f"v{len(self._declared)}"
        drawn = self.chance.random()
        self._declared[name] = type_
        if drawn < self.mistakes:
            self._variables[name] = self.chance.choice(WRONG)
        elif drawn < 0.9 or type_.endswith("!"):
            self._variables[name] = value
        return f"${name}"

    def _plain(self, name: str, type_: Any) -> Any:
        if isinstance(type_, GraphQLNonNull):
            return self._plain_value(name, type_.of_type)
        return None if self.chance.random() < 0.08 else self._plain_value(name, type_)

    def _plain_value(self, name: str, type_: Any) -> Any:
        if isinstance(type_, GraphQLList):
            return [self._plain(name, type_.of_type) for _ in range(self.chance.randint(0, 3))]
        if isinstance(type_, GraphQLEnumType):
            return self.chance.choice(list(type_.values))
        if isinstance(type_, GraphQLScalarType):
            return self.chance.choice(self.samples.get(name) or self.samples.get(type_.name) or SCALARS[type_.name])
        assert isinstance(type_, GraphQLInputObjectType)
        fields = {key: it for key, it in type_.fields.items() if is_required_input_field(it) or self._may_go_on()}
        if type_.is_one_of:
            key = self.chance.choice(list(type_.fields))
            return {key: self._plain_value(key, type_.fields[key].type)}
        return {key: self._plain(key, it.type) for key, it in fields.items()}

    def _may_go_on(self) -> bool:
        return self.chance.random() < 0.3


def _literal(value: Any, type_: Any) -> str:
    if isinstance(type_, GraphQLNonNull):
        type_ = type_.of_type
    if value is None:
        return "null"
    if isinstance(type_, GraphQLList):
        return "[" + ", ".join(_literal(item, type_.of_type) for item in value) + "]"
    if isinstance(type_, GraphQLInputObjectType):
        return "{" + ", ".join(f"{key}: {_literal(it, type_.fields[key].type)}" for key, it in value.items()) + "}"
    return str(value) if isinstance(type_, GraphQLEnumType) else json.dumps(value, ensure_ascii=False)


def documents(
    schema: GraphQLSchema,
    seed: int,
    count: int,
    samples: Samples,
    *,
    fits: Callable[[str], bool],
    kinds: Sequence[str] = ("query", "query", "mutation"),
) -> Iterable[tuple[str, dict[str, Any]]]:
    """So many that fit, of these kinds in turn, and their variables."""
    chance, written = Random(seed), 0
    while written < count:
        text, variables = Author(schema, chance, samples).write(kinds[written % len(kinds)])
        if fits(text):
            written += 1
            yield text, variables
