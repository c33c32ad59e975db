"""Whatever is put wherever: a typed error or an empty result, never a fault, and nothing written on refusal."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from tests.client import Visitor
from tests.factories import add_administrator
from tests.hostile import Place, good_arguments, hostile_values, places, replaced
from tests.stranger import Stranger, document, fields_of, furnished, named

FIELDS = [
    f"{parent}.{name}"
    for parent in ("Query", "Mutation", "Genre", "Author", "Book", "User", "Admin")
    for name, field in fields_of(parent).items()
    if field.args
]
COMBINATIONS = 30
LITERALS = [
    r'"\u0000"', r'"\uD800"', r'"\u{D800}"', r'"\u{110000}"', '"""\\u0000 \x1b"""', '"\ufffe\U0010ffff"', "2147483648",
    "9" * 400, "-1e400", "0.5", "NaN", "null", "TITLE_ASC", "NONSENSE", "[]", "{}", '[["a"]]', "$undeclared",
]  # fmt: skip


@pytest.fixture
async def stranger(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, record_property: Callable[[str, object], None]
) -> AsyncIterator[Stranger]:
    member = await add_administrator(shop)
    async with visitor.signed_in(member.token).http() as http:
        stranger = Stranger(http, postgres, await furnished(shop, member))
        yield stranger
    record_property("requests", stranger.sent)


def _all_places(name: str, samples: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Place]]:
    """Each place once, with good arguments that have it."""
    seen = set()
    for good in good_arguments(named(name), samples):
        for place in places(named(name), good):
            if place.path not in seen:
                seen.add(place.path)
                yield good, place


@pytest.mark.parametrize("name", FIELDS)
async def test_good_arguments_are_no_wrong_call(stranger: Stranger, name: str) -> None:
    """Otherwise the tests below would get no further than the first check."""
    for good in good_arguments(named(name), stranger.samples_for(name)):
        answer = await stranger.send(name, document(name), good)
        assert "errors" not in answer, answer
    assert stranger.faults == []


@pytest.mark.parametrize("name", FIELDS)
async def test_one_bad_value(stranger: Stranger, name: str) -> None:
    for good, place in _all_places(name, stranger.samples_for(name)):
        for value in hostile_values(place.type, place.good):
            await stranger.send(name, document(name), replaced(good, place.path, value))
    assert stranger.faults == []


@pytest.mark.parametrize("name", FIELDS)
async def test_several_bad_values_at_once(stranger: Stranger, name: str) -> None:
    chance = random.Random(name)
    for good in good_arguments(named(name), stranger.samples_for(name)):
        leaves = [place for place in places(named(name), good) if not isinstance(place.good, dict)]
        for _ in range(COMBINATIONS):
            variables = good
            for place in chance.sample(leaves, min(len(leaves), chance.randint(2, 4))):
                value = chance.choice(hostile_values(place.type, place.good))
                variables = replaced(variables, place.path, value)
            await stranger.send(name, document(name), variables)
    assert stranger.faults == []


@pytest.mark.parametrize("literal", LITERALS)
async def test_a_bad_literal_in_the_document(stranger: Stranger, literal: str) -> None:
    for text in (
        "{ books(search: %s) { nodes { id } } }",
        "{ books(first: %s) { nodes { id } } }",
        "{ books(sort: %s) { nodes { id } } }",
        "{ books(filter: {price: {min: %s}, genres: %s}) { nodes { id } } }",
        "{ node(id: %s) { id } }",
        "mutation { createGenre(input: {name: %s}) { __typename ... on UserError { code } } }",
        "mutation { updateStock(input: {bookId: %s, change: {setTo: %s}}) { __typename } }",
    ):
        name = "Mutation.any" if text.startswith("mutation") else "Query.any"
        await stranger.send(name, text.replace("%s", literal), {})
    assert stranger.faults == []
