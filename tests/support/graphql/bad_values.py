"""Bad values for each input type, and the argument positions of a field to send them in."""

import json
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from graphql import (
    GraphQLEnumType,
    GraphQLField,
    GraphQLInputObjectType,
    GraphQLInputType,
    GraphQLList,
    GraphQLNonNull,
    get_named_type,
    get_nullable_type,
)

from graph.kit.ids import to_global_id
from tests.support.graphql.schema_fields import list_types_with_id

MAX_BODY_SIZE = 90_000  # bytes; fits into a request


@dataclass(frozen=True, slots=True)
class RawJson:
    """JSON text that serializers do not produce."""

    text: str


def dump_json(value: Any) -> str:
    """Serialize a value as JSON; `RawJson` is inserted as it is and may be invalid."""
    if isinstance(value, RawJson):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {dump_json(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(dump_json(item) for item in value) + "]"
    return json.dumps(value)


UNKNOWN_ID = uuid.UUID(int=7)
EXTREME_NUMBERS = [
    RawJson(text)
    for text in (
        "0",
        "-1",
        "0.5",
        "2147483647",
        "2147483648",
        "-2147483649",
        "9223372036854775808",
        "1e400",
        "-1e400",
    )
] + [RawJson("NaN"), RawJson("Infinity"), RawJson("9" * 400), RawJson("1e-400")]
WRONG_SHAPES: list[Any] = [None, True, "", [], {}, [[]], [None], {"a": 1}]
BAD_TEXTS: list[Any] = [
    "   ",
    "\0",
    "a\0b",
    RawJson(r'"\ud800"'),
    RawJson(r'"a\udc00\ud800b"'),
    "x" * 70_000,
    "\U0001f600" * 7_000,
    "\x1b[31m",
    "\u202e\ufeff\u2028",
    "& | ! : * ( ) ' \\ <-> %_",
    "'; DROP TABLE books; --",
    "12345678\n5",
    "978-0-306-40615-7\n",
]
BAD_IDS: list[Any] = [
    *(to_global_id(type_name, UNKNOWN_ID) for type_name in (*list_types_with_id(), "Nothing")),
    to_global_id("Book", UNKNOWN_ID) + "=",
    "Qm9vazo",
    "Ym9vazo3",
    "ü",
    "Book:7",
    str(UNKNOWN_ID),
]
BAD_DECIMALS: list[Any] = [
    "NaN", "sNaN", "Infinity", "-0", "1e400", "1E+5", "0.001", "0.005", "-1", "9" * 20 + ".99", "100000000.00",
    "１２", "1_000", "0x10",
]  # fmt: skip
BAD_DATES: list[Any] = [
    "0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01", "-0044-03-15", "2024-02-30", "2024-W01-1", "٢٠٢٤-٠١-٠١",
]  # fmt: skip
BAD_DATETIMES: list[Any] = [
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z",
    "2024-02-30T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00:00+99:00", "2024-01-01T25:00:00Z",
]  # fmt: skip
GOOD_VALUES: dict[str, Any] = {
    "Int": 1,
    "Float": 4.5,
    "Boolean": True,
    "Decimal": "12.90",
    "Date": "1937-09-21",
    "DateTime": "2026-03-01T09:30:00Z",
}
BAD_VALUES_BY_TYPE: dict[str, list[Any]] = {
    "String": BAD_TEXTS,
    "ID": BAD_TEXTS + BAD_IDS,
    "Decimal": BAD_TEXTS[:4] + BAD_DECIMALS,
    "Date": BAD_TEXTS[:4] + BAD_DATES,
    "DateTime": BAD_TEXTS[:4] + BAD_DATETIMES,
    "Int": ["1", "x"],
    "Float": ["1", "x", 5.01, 0.99, -0.0],
    "Boolean": ["true", RawJson("1")],
}


def list_bad_values(input_type: GraphQLInputType, good_value: Any) -> list[Any]:
    """Return bad values for an argument or input field of this type; `good_value` is a valid value."""
    named_type = get_named_type(input_type)
    values = [*WRONG_SHAPES, *EXTREME_NUMBERS]
    values += (
        ["NONSENSE", "title_asc"]
        if isinstance(named_type, GraphQLEnumType)
        else BAD_VALUES_BY_TYPE.get(named_type.name, [])
    )
    if isinstance(get_nullable_type(input_type), GraphQLList):
        [item] = good_value
        max_items = min(5_000, MAX_BODY_SIZE // (len(dump_json(item)) + 2))
        values += [[value] for value in BAD_VALUES_BY_TYPE.get(named_type.name, [])] + [
            [item] * max_items,
            [item] * 5_000,
        ]
    return values


@dataclass(frozen=True, slots=True)
class InputPosition:
    """An argument or input field, by its path in the arguments, with a valid value."""

    path: tuple[str, ...]
    type: GraphQLInputType
    good_value: Any


PAGINATION_ARGUMENTS = ("first", "last", "after", "before", "offset")
"""Mutually exclusive arguments, which valid arguments omit if they are nullable."""


def build_good_arguments(field: GraphQLField, samples: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return sets of valid arguments: one set, or several sets for input objects with `@oneOf`."""
    return _build_good_fields(
        {
            name: argument.type
            for name, argument in field.args.items()
            if name not in PAGINATION_ARGUMENTS or isinstance(argument.type, GraphQLNonNull)
        },
        samples,
    )


def _build_good_fields(types: Mapping[str, GraphQLInputType], samples: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = {name: _list_good_values(name, type_, samples) for name, type_ in types.items()}
    first_values = {name: values[0] for name, values in choices.items()}
    return [
        first_values,
        *({**first_values, name: value} for name, values in choices.items() for value in values[1:]),
    ]


def _list_good_values(name: str, input_type: GraphQLInputType, samples: Mapping[str, Any]) -> list[Any]:
    nullable_type = get_nullable_type(input_type)
    if isinstance(nullable_type, GraphQLList):
        return [[value] for value in _list_good_values(name, nullable_type.of_type, samples)]
    if isinstance(nullable_type, GraphQLEnumType):
        return list(nullable_type.values)[:1]
    if isinstance(nullable_type, GraphQLInputObjectType):
        types = {key: input_field.type for key, input_field in nullable_type.fields.items()}
        if nullable_type.is_one_of:
            return [{key: value} for key, type_ in types.items() for value in _list_good_values(key, type_, samples)]
        return _build_good_fields(types, samples)
    if nullable_type.name in GOOD_VALUES:
        return [samples.get(name, GOOD_VALUES[nullable_type.name])]
    return [samples[name]]  # raises KeyError with the name of an argument without a sample


def iterate_positions(field: GraphQLField, good_values: Mapping[str, Any]) -> Iterator[InputPosition]:
    """Yield every argument, and every field of its input objects."""
    for name, argument in field.args.items():
        yield from _iterate_nested_positions(InputPosition((name,), argument.type, good_values.get(name)))


def _iterate_nested_positions(position: InputPosition) -> Iterator[InputPosition]:
    yield position
    named_type, input_object = get_named_type(position.type), position.good_value
    if isinstance(named_type, GraphQLInputObjectType):
        input_object = input_object[0] if isinstance(input_object, list) else input_object
        for name, value in input_object.items():
            yield from _iterate_nested_positions(
                InputPosition((*position.path, name), named_type.fields[name].type, value)
            )


def replace_at(value: Any, path: tuple[str, ...], replacement: Any) -> Any:
    """Return the arguments with the value at `path` replaced; in a list, in its first item."""
    if not path:
        return replacement
    if isinstance(value, list):
        return [replace_at(value[0], path, replacement)] if value else value
    if not isinstance(value, dict):
        return value  # a bad value has replaced a parent of this position
    return {**value, path[0]: replace_at(value.get(path[0]), path[1:], replacement)}
