"""What attackers and broken clients send: bad values for each type, and the places in the schema to put them."""

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

from graph.ids import global_id

BODY = 90_000  # bytes: what still fits into a request


@dataclass(frozen=True, slots=True)
class Raw:
    """JSON as it stands, for what no serialiser would write."""

    text: str


def written(value: Any) -> str:
    """As JSON; where it holds `Raw`, perhaps not quite."""
    if isinstance(value, Raw):
        return value.text
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(name)}: {written(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(written(item) for item in value) + "]"
    return json.dumps(value)


NOWHERE = uuid.UUID(int=7)
NUMBERS = [
    Raw(text)
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
] + [Raw("NaN"), Raw("Infinity"), Raw("9" * 400), Raw("1e-400")]
SHAPES: list[Any] = [None, True, "", [], {}, [[]], [None], {"a": 1}]
TEXTS: list[Any] = [
    "   ",
    "\0",
    "a\0b",
    Raw(r'"\ud800"'),
    Raw(r'"a\udc00\ud800b"'),
    "x" * 70_000,
    "\U0001f600" * 7_000,
    "\x1b[31m",
    "\u202e\ufeff\u2028",
    "& | ! : * ( ) ' \\ <-> %_",
    "'; DROP TABLE books; --",
    "12345678\n5",
    "978-0-306-40615-7\n",
]
IDS: list[Any] = [
    *(
        global_id(kind, NOWHERE)
        for kind in (
            "Book",
            "Author",
            "Genre",
            "User",
            "Cart",
            "Order",
            "Session",
            "Review",
            "WishlistItem",
            "Prebooking",
            "Nothing",
        )
    ),
    global_id("Book", NOWHERE) + "=",
    "Qm9vazo",
    "Ym9vazo3",
    "ü",
    "Book:7",
    str(NOWHERE),
]
DECIMALS: list[Any] = [
    "NaN", "sNaN", "Infinity", "-0", "1e400", "1E+5", "0.001", "0.005", "-1", "9" * 20 + ".99", "100000000.00",
    "１２", "1_000", "0x10",
]  # fmt: skip
DATES: list[Any] = [
    "0000-01-01", "0001-01-01", "9999-12-31", "10000-01-01", "-0044-03-15", "2024-02-30", "2024-W01-1", "٢٠٢٤-٠١-٠١",
]  # fmt: skip
INSTANTS: list[Any] = [
    "0000-01-01T00:00:00Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "10000-01-01T00:00:00Z",
    "2024-02-30T00:00:00Z", "2024-01-01", "2024-01-01T00:00:00", "2024-01-01T00:00:00+99:00", "2024-01-01T25:00:00Z",
]  # fmt: skip
GOOD: dict[str, Any] = {
    "Int": 1,
    "Float": 4.5,
    "Boolean": True,
    "Decimal": "12.90",
    "Date": "1937-09-21",
    "DateTime": "2026-03-01T09:30:00Z",
}
BY_TYPE: dict[str, list[Any]] = {
    "String": TEXTS,
    "ID": TEXTS + IDS,
    "Decimal": TEXTS[:4] + DECIMALS,
    "Date": TEXTS[:4] + DATES,
    "DateTime": TEXTS[:4] + INSTANTS,
    "Int": ["1", "x"],
    "Float": ["1", "x", 5.01, 0.99, -0.0],
    "Boolean": ["true", Raw("1")],
}


def hostile_values(kind: GraphQLInputType, good: Any) -> list[Any]:
    """For an argument or field of this type, of which `good` is a value without fault."""
    named = get_named_type(kind)
    values = [*SHAPES, *NUMBERS]
    values += ["NONSENSE", "title_asc"] if isinstance(named, GraphQLEnumType) else BY_TYPE.get(named.name, [])
    if isinstance(get_nullable_type(kind), GraphQLList):
        [item] = good
        fitting = min(5_000, BODY // (len(written(item)) + 2))
        values += [[value] for value in BY_TYPE.get(named.name, [])] + [
            [item] * fitting,
            [item] * 5_000,
        ]
    return values


@dataclass(frozen=True, slots=True)
class Place:
    """Somewhere in the arguments of a field, and the good value that stands there."""

    path: tuple[str, ...]
    type: GraphQLInputType
    good: Any


PAGING = ("first", "last", "after", "before", "offset")
"""Good arguments do without them where they can, since they exclude one another."""


def good_arguments(field: GraphQLField, samples: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Arguments without fault: one set, or several where one of several keys has to be chosen."""
    return _good_fields(
        {
            name: each.type
            for name, each in field.args.items()
            if name not in PAGING or isinstance(each.type, GraphQLNonNull)
        },
        samples,
    )


def _good_fields(types: Mapping[str, GraphQLInputType], samples: Mapping[str, Any]) -> list[dict[str, Any]]:
    choices = {name: _good_values(name, kind, samples) for name, kind in types.items()}
    first = {name: values[0] for name, values in choices.items()}
    return [
        first,
        *({**first, name: value} for name, values in choices.items() for value in values[1:]),
    ]


def _good_values(name: str, kind: GraphQLInputType, samples: Mapping[str, Any]) -> list[Any]:
    bare = get_nullable_type(kind)
    if isinstance(bare, GraphQLList):
        return [[value] for value in _good_values(name, bare.of_type, samples)]
    if isinstance(bare, GraphQLEnumType):
        return list(bare.values)[:1]
    if isinstance(bare, GraphQLInputObjectType):
        types = {key: each.type for key, each in bare.fields.items()}
        if bare.is_one_of:
            return [{key: value} for key, each in types.items() for value in _good_values(key, each, samples)]
        return _good_fields(types, samples)
    return [
        samples.get(
            name,
            GOOD.get(bare.name),
        )
    ]


def places(field: GraphQLField, good: Mapping[str, Any]) -> Iterator[Place]:
    """Every argument, and every field of the input objects among them."""
    for name, argument in field.args.items():
        yield from _below(Place((name,), argument.type, good.get(name)))


def _below(place: Place) -> Iterator[Place]:
    yield place
    named, inside = get_named_type(place.type), place.good
    if isinstance(named, GraphQLInputObjectType):
        inside = inside[0] if isinstance(inside, list) else inside
        for name, value in inside.items():
            yield from _below(Place((*place.path, name), named.fields[name].type, value))


def replaced(value: Any, path: tuple[str, ...], by: Any) -> Any:
    """The same arguments with another value in one place; of a list, in its first item."""
    if not path:
        return by
    if isinstance(value, list):
        return [replaced(value[0], path, by)] if value else value
    if not isinstance(value, dict):
        return value  # a bad value that stands in the way already
    return {**value, path[0]: replaced(value.get(path[0]), path[1:], by)}
