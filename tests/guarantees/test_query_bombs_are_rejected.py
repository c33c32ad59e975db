"""The server rejects documents that exceed its limits before it validates them, without a database query."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.execution import documents
from server.settings import Settings
from tests.support.database.db_snapshots import take_snapshot
from tests.support.database.query_counter import QueryCounter, count_queries
from tests.support.graphql.hostile_documents import BOMBS, CYCLES, NOT_GRAPHQL
from tests.support.http.client import ApiClient
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_admin, add_book, book_id

pytestmark = pytest.mark.usefixtures("check_invariants")

REJECTED_DOCUMENTS = {
    **{name: (document, "QUERY_TOO_COMPLEX") for name, document in BOMBS.items()},
    **{name: (document, "GRAPHQL_VALIDATION_FAILED") for name, document in CYCLES.items()},
    **{name: (document, "GRAPHQL_PARSE_FAILED") for name, document in NOT_GRAPHQL.items()},
}
"""Documents that are rejected before validation, with the code of the error."""

RESTOCK = "updateStock(input: {bookId: $id, change: {adjustBy: 1}}) { __typename }"
CHECKOUT = 'checkout(input: {idempotencyKey: "KEY", paymentToken: "mock-approve"}) { __typename }'
REGISTER = 'register(input: {email: "KEY@example.com", password: "correct horse battery"}) { __typename }'
INVALID_COMBINATIONS = {
    "six mutations": " ".join(f"m{n}: {RESTOCK}" for n in range(6)),
    "two purchases": f"a: {CHECKOUT.replace('KEY', 'a')} b: {CHECKOUT.replace('KEY', 'b')}",
    "a purchase and another mutation": f"{RESTOCK} {CHECKOUT}",
    "thirty accounts": " ".join(f"m{n}: {REGISTER.replace('KEY', str(n))}" for n in range(30)),
}

TOO_EXPENSIVE: dict[str, tuple[str, dict[str, Any]]] = {
    "by its lists": ("{ books(first: 100) { nodes { reviews(first: 60) { nodes { id } } } } }", {}),
    "by its variables": (
        "query ($a: Int, $b: Int) { books(first: $a) { nodes { reviews(first: $b) { nodes { id } } } } }",
        {"a": 100, "b": 60},
    ),
}


EXPENSIVE_MUTATION = """mutation ($id: ID!) { addToCart(input: {bookId: $id}) { ... on CartUpdated { cart { items { book {
    reviews(first: 100) { nodes { book { reviews(first: 100) { nodes { id } } } } } } } } } } }"""


@pytest.fixture(scope="module")
async def counter(settings: Settings) -> AsyncIterator[QueryCounter]:
    """Run a server whose statements are counted."""
    async with count_queries(settings) as counter:
        yield counter


async def assert_rejected(client: ApiClient, code: str, document: str, **variables: object) -> str:
    """Assert that the document is rejected with this code, and return the message."""
    async with client.http() as http:
        response = await http.post(
            "/graphql",
            json={"query": document, "variables": variables},
            headers={"accept": "application/graphql-response+json"},
        )
    payload = response.json()
    assert (response.status_code, list(payload)) == (400, ["errors"]), response.text
    assert {error["extensions"]["code"] for error in payload["errors"]} == {code}, response.text
    return str(payload["errors"][0]["message"])


@pytest.mark.parametrize(("document", "code"), REJECTED_DOCUMENTS.values(), ids=REJECTED_DOCUMENTS)
async def test_query_bomb_is_rejected(
    counter: QueryCounter, shop: Shop, monkeypatch: pytest.MonkeyPatch, document: str, code: str
) -> None:
    def fail_validation(*_: Any, **__: Any) -> Any:
        raise AssertionError("validated")

    monkeypatch.setattr(documents, "validate", fail_validation)
    client = counter.client.with_token((await add_admin(shop)).token)
    before = counter.proxy.statements
    message = await assert_rejected(client, code, document)
    assert counter.proxy.statements == before
    assert code != "GRAPHQL_VALIDATION_FAILED" or "spreads itself" in message


@pytest.mark.parametrize("mutations", INVALID_COMBINATIONS.values(), ids=INVALID_COMBINATIONS)
async def test_exclusive_mutations_are_rejected(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection, mutations: str
) -> None:
    book = await add_book(shop)
    customer = await add_customer(counter.client, shop, (book, 1), role="ADMIN")
    before, statements = await take_snapshot(postgres), counter.proxy.statements
    parameters = "($id: ID!)" if "$id" in mutations else ""
    await assert_rejected(
        customer.client, "QUERY_TOO_COMPLEX", f"mutation {parameters} {{ {mutations} }}", id=book_id(book)
    )
    assert counter.proxy.statements == statements
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize(("document", "variables"), TOO_EXPENSIVE.values(), ids=TOO_EXPENSIVE)
async def test_too_expensive_document_is_rejected(
    counter: QueryCounter, document: str, variables: dict[str, Any]
) -> None:
    statements = counter.proxy.statements
    message = await assert_rejected(counter.client, "QUERY_TOO_COMPLEX", document, **variables)
    assert "costs 6,201, but the limit is 5,000" in message
    assert counter.proxy.statements == statements


async def test_mutation_with_too_expensive_selection_is_rejected(
    counter: QueryCounter, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop)
    customer = await add_customer(counter.client, shop, (book, 1))
    before = await take_snapshot(postgres)
    await assert_rejected(customer.client, "QUERY_TOO_COMPLEX", EXPENSIVE_MUTATION, id=book_id(book))
    assert await take_snapshot(postgres) == before
