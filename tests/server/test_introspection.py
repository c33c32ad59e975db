"""Who may learn the schema from the server: everybody in development, nobody in production unless it is switched on."""

from collections.abc import AsyncIterator

import pytest
from graphql import get_introspection_query

from domain.shop import Shop
from server.app import create_app
from server.settings import Environment, Settings
from tests.client import Visitor

MISTAKES = {
    "{ bokos { totalCount } }": "Cannot query field 'bokos' on type 'Query'.",
    "{ books(frist: 1) { totalCount } }": "Unknown argument 'frist' on field 'Query.books'.",
    "{ books(sort: NEWST) { totalCount } }": "Value 'NEWST' does not exist in 'BookSort' enum.",
    "{ books(filter: {genre: []}) { totalCount } }": None,
    "query ($a: BookSrot) { books(sort: $a) { totalCount } }": "Unknown type 'BookSrot'.",
}


@pytest.fixture
async def closed(settings: Settings, shop: Shop) -> AsyncIterator[Visitor]:
    app = create_app(settings.model_copy(update={"introspection": False}))
    async with app.router.lifespan_context(app):
        yield Visitor(app)


def test_it_is_off_in_production_unless_it_is_switched_on() -> None:
    shop = {
        "database_url": "postgresql://db/shop",
        "public_url": "https://api.example.com",
        "secret_key": "k9" * 8 + "Zq7#pLwX" * 4,
    }
    production = Settings(_env_file=None, environment=Environment.PRODUCTION, **shop)  # type: ignore[arg-type]
    assert not production.allows_introspection
    assert production.model_copy(update={"introspection": True}).allows_introspection
    development = Settings(_env_file=None, environment=Environment.DEVELOPMENT)
    assert development.allows_introspection
    assert not development.model_copy(update={"introspection": False}).allows_introspection


async def test_switched_off_the_schema_is_not_told(closed: Visitor) -> None:
    for document in (
        "{ __schema { types { name } } }",
        '{ __type(name: "Book") { name } }',
        "{ ...f } fragment f on Query { __schema { queryType { name } } }",
    ):
        reply = await closed.ask(document)
        assert (reply.data, set(reply.codes)) == (None, {"GRAPHQL_VALIDATION_FAILED"})


async def test_switched_off_mistakes_are_not_corrected(closed: Visitor) -> None:
    for document, message in MISTAKES.items():
        messages = [error["message"] for error in (await closed.ask(document)).errors]
        assert messages
        assert not any("mean" in told for told in messages)
        assert message is None or messages == [message]
    reply = await closed.ask("query ($a: BookSort) { books(sort: $a) { totalCount } }", a="NEWST")
    assert "mean" not in reply.errors[0]["message"]


async def test_switched_off_documents_are_answered_and_types_are_named(closed: Visitor) -> None:
    assert (await closed.ask("{ __typename }")).data == {"__typename": "Query"}


async def test_switched_on_tools_learn_the_schema_and_people_are_corrected(visitor: Visitor) -> None:
    told = await visitor.ask(get_introspection_query(descriptions=True, input_value_deprecation=True))
    assert len(told["__schema"]["types"]) > 150
    assert "Did you mean 'books'" in (await visitor.ask("{ bokos { totalCount } }")).errors[0]["message"]
