"""Introspection and suggestions: on in development, off in production unless enabled."""

from collections.abc import AsyncIterator

import pytest
from graphql import get_introspection_query

from domain.shop import Shop
from server.settings import Environment, Settings
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient

MISTAKES = {
    "{ bokos { totalCount } }": "Cannot query field 'bokos' on type 'Query'.",
    "{ books(frist: 1) { totalCount } }": "Unknown argument 'frist' on field 'Query.books'.",
    "{ books(sort: NEWST) { totalCount } }": "Value 'NEWST' does not exist in 'BookSort' enum.",
    "{ books(filter: {genre: []}) { totalCount } }": None,
    "query ($a: BookSrot) { books(sort: $a) { totalCount } }": "Unknown type 'BookSrot'.",
}


@pytest.fixture
async def client_without_introspection(settings: Settings, shop: Shop) -> AsyncIterator[ApiClient]:
    async with running_client(settings, introspection=False) as client:
        yield client


def test_introspection_is_off_in_production_by_default() -> None:
    values = {
        "database_url": "postgresql://db/shop",
        "public_url": "https://api.example.com",
        "secret_key": "k9" * 8 + "Zq7#pLwX" * 4,
    }
    production = Settings(_env_file=None, environment=Environment.PRODUCTION, **values)  # type: ignore[arg-type]
    assert not production.allows_introspection
    assert production.model_copy(update={"introspection": True}).allows_introspection
    development = Settings(_env_file=None, environment=Environment.DEVELOPMENT)
    assert development.allows_introspection
    assert not development.model_copy(update={"introspection": False}).allows_introspection


async def test_disabled_introspection_hides_the_schema(client_without_introspection: ApiClient) -> None:
    for document in (
        "{ __schema { types { name } } }",
        '{ __type(name: "Book") { name } }',
        "{ ...f } fragment f on Query { __schema { queryType { name } } }",
    ):
        response = await client_without_introspection.execute(document)
        assert (response.data, set(response.codes)) == (None, {"GRAPHQL_VALIDATION_FAILED"})


async def test_disabled_introspection_gives_no_suggestions(client_without_introspection: ApiClient) -> None:
    for document, message in MISTAKES.items():
        messages = [error["message"] for error in (await client_without_introspection.execute(document)).errors]
        assert messages
        assert not any("mean" in text for text in messages)
        assert message is None or messages == [message]
    response = await client_without_introspection.execute(
        "query ($a: BookSort) { books(sort: $a) { totalCount } }", a="NEWST"
    )
    assert "mean" not in response.errors[0]["message"]


async def test_disabled_introspection_allows_typename(client_without_introspection: ApiClient) -> None:
    assert (await client_without_introspection.execute("{ __typename }")).data == {"__typename": "Query"}


async def test_enabled_introspection_serves_schema_and_suggestions(client: ApiClient) -> None:
    introspection = await client.execute(get_introspection_query(descriptions=True, input_value_deprecation=True))
    assert len(introspection["__schema"]["types"]) > 150
    assert "Did you mean 'books'" in (await client.execute("{ bokos { totalCount } }")).errors[0]["message"]
