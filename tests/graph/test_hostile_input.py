"""Bad values in every position cause a typed error or an empty result, never an internal error or a write."""

import random
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from tests.support.graphql.bad_values import (
    InputPosition,
    build_good_arguments,
    iterate_positions,
    list_bad_values,
    replace_at,
)
from tests.support.graphql.fuzz_client import (
    FuzzClient,
    build_fuzz_document,
    create_samples,
    list_fields_with_arguments,
)
from tests.support.graphql.schema_fields import find_field
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_admin

FIELDS = list_fields_with_arguments()
COMBINATIONS = 30
LITERALS = [
    r'"\u0000"', r'"\uD800"', r'"\u{D800}"', r'"\u{110000}"', '"""\\u0000 \x1b"""', '"\ufffe\U0010ffff"', "2147483648",
    "9" * 400, "-1e400", "0.5", "NaN", "null", "TITLE_ASC", "NONSENSE", "[]", "{}", '[["a"]]', "$undeclared",
]  # fmt: skip


@pytest.fixture
async def fuzz_client(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, record_property: Callable[[str, object], None]
) -> AsyncIterator[FuzzClient]:
    user = await add_admin(shop)
    async with client.with_token(user.token).http() as http:
        fuzz_client = FuzzClient(http, postgres, await create_samples(shop, user))
        yield fuzz_client
    record_property("requests", fuzz_client.request_count)


def _list_all_positions(name: str, samples: dict[str, Any]) -> Iterator[tuple[dict[str, Any], InputPosition]]:
    """Yield each position once, with good arguments that contain it."""
    visited = set()
    for good_arguments in build_good_arguments(find_field(name), samples):
        for position in iterate_positions(find_field(name), good_arguments):
            if position.path not in visited:
                visited.add(position.path)
                yield good_arguments, position


@pytest.mark.parametrize("name", FIELDS)
async def test_good_arguments_cause_no_request_error(fuzz_client: FuzzClient, name: str) -> None:
    """The tests below replace values of these arguments, so that only the replaced value is bad."""
    for good_arguments in build_good_arguments(find_field(name), fuzz_client.samples_for(name)):
        response = await fuzz_client.send(name, build_fuzz_document(name), good_arguments)
        assert "errors" not in response, response
    assert fuzz_client.failures == []


@pytest.mark.parametrize("name", FIELDS)
async def test_one_bad_value(fuzz_client: FuzzClient, name: str) -> None:
    for good_arguments, position in _list_all_positions(name, fuzz_client.samples_for(name)):
        for value in list_bad_values(position.type, position.good_value):
            await fuzz_client.send(name, build_fuzz_document(name), replace_at(good_arguments, position.path, value))
    assert fuzz_client.failures == []


@pytest.mark.parametrize("name", FIELDS)
async def test_several_bad_values_together(fuzz_client: FuzzClient, name: str) -> None:
    rng = random.Random(name)
    for good_arguments in build_good_arguments(find_field(name), fuzz_client.samples_for(name)):
        leaves = [
            position
            for position in iterate_positions(find_field(name), good_arguments)
            if not isinstance(position.good_value, dict)
        ]
        for _ in range(COMBINATIONS):
            variables = good_arguments
            for position in rng.sample(leaves, min(len(leaves), rng.randint(2, 4))):
                value = rng.choice(list_bad_values(position.type, position.good_value))
                variables = replace_at(variables, position.path, value)
            await fuzz_client.send(name, build_fuzz_document(name), variables)
    assert fuzz_client.failures == []


@pytest.mark.parametrize("literal", LITERALS)
async def test_a_bad_literal_in_the_document(fuzz_client: FuzzClient, literal: str) -> None:
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
        await fuzz_client.send(name, text.replace("%s", literal), {})
    assert fuzz_client.failures == []
