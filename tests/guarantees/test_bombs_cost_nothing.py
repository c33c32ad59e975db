"""Bombs cost nothing: a document beyond the limits is refused before anything slow looks at it, and nothing is done."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph import documents
from server.settings import Settings
from tests.client import Visitor
from tests.counting import Counter, counting
from tests.customers import add_customer
from tests.factories import add_administrator, add_book, book_id
from tests.hostile_documents import BOMBS, CYCLES, NOT_GRAPHQL
from tests.memory import remembered

pytestmark = pytest.mark.usefixtures("sound")

UNSEEN = {
    **{name: (document, "QUERY_TOO_COMPLEX") for name, document in BOMBS.items()},
    **{name: (document, "GRAPHQL_VALIDATION_FAILED") for name, document in CYCLES.items()},
    **{name: (document, "GRAPHQL_PARSE_FAILED") for name, document in NOT_GRAPHQL.items()},
}
"""What validation does not get to see, and the code that it is refused with."""

RESTOCK = "updateStock(input: {bookId: $id, change: {adjustBy: 1}}) { __typename }"
CHECKOUT = 'checkout(input: {idempotencyKey: "KEY", paymentToken: "mock-approve"}) { __typename }'
REGISTER = 'register(input: {email: "KEY@example.com", password: "correct horse battery"}) { __typename }'
TOGETHER = {
    "six mutations": " ".join(f"m{n}: {RESTOCK}" for n in range(6)),
    "two purchases": f"a: {CHECKOUT.replace('KEY', 'a')} b: {CHECKOUT.replace('KEY', 'b')}",
    "a purchase beside something else": f"{RESTOCK} {CHECKOUT}",
    "thirty accounts": " ".join(f"m{n}: {REGISTER.replace('KEY', str(n))}" for n in range(30)),
}

TOO_DEAR: dict[str, tuple[str, dict[str, Any]]] = {
    "by its lists": ("{ books(first: 100) { nodes { reviews(first: 60) { nodes { id } } } } }", {}),
    "by its variables": (
        "query ($a: Int, $b: Int) { books(first: $a) { nodes { reviews(first: $b) { nodes { id } } } } }",
        {"a": 100, "b": 60},
    ),
}


CURIOUS = """mutation ($id: ID!) { addToCart(input: {bookId: $id}) { ... on CartUpdated { cart { items { book {
    reviews(first: 100) { nodes { book { reviews(first: 100) { nodes { id } } } } } } } } } } }"""


@pytest.fixture(scope="module")
async def counter(settings: Settings) -> AsyncIterator[Counter]:
    """A shop whose statements are counted."""
    async with counting(settings) as counter:
        yield counter


async def is_refused(visitor: Visitor, code: str, document: str, **variables: object) -> str:
    """With this code and nothing else; the message."""
    async with visitor.http() as http:
        response = await http.post(
            "/graphql",
            json={"query": document, "variables": variables},
            headers={"accept": "application/graphql-response+json"},
        )
    told = response.json()
    assert (response.status_code, list(told)) == (400, ["errors"]), response.text
    assert {error["extensions"]["code"] for error in told["errors"]} == {code}, response.text
    return str(told["errors"][0]["message"])


@pytest.mark.parametrize(("document", "code"), UNSEEN.values(), ids=UNSEEN)
async def test_a_bomb(counter: Counter, shop: Shop, monkeypatch: pytest.MonkeyPatch, document: str, code: str) -> None:
    def slow(*_: Any, **__: Any) -> Any:
        raise AssertionError("validated")

    monkeypatch.setattr(documents, "validate", slow)
    visitor = counter.visitor.signed_in((await add_administrator(shop)).token)
    before = counter.wire.statements
    message = await is_refused(visitor, code, document)
    assert counter.wire.statements == before
    assert code != "GRAPHQL_VALIDATION_FAILED" or "spreads itself" in message


@pytest.mark.parametrize("mutations", TOGETHER.values(), ids=TOGETHER)
async def test_mutations_that_may_not_stand_together(
    counter: Counter, shop: Shop, postgres: asyncpg.Connection, mutations: str
) -> None:
    book = await add_book(shop)
    customer = await add_customer(counter.visitor, shop, (book, 1), role="ADMIN")
    before, statements = await remembered(postgres), counter.wire.statements
    parameters = "($id: ID!)" if "$id" in mutations else ""
    await is_refused(
        customer.visitor, "QUERY_TOO_COMPLEX", f"mutation {parameters} {{ {mutations} }}", id=book_id(book)
    )
    assert counter.wire.statements == statements
    assert await remembered(postgres) == before


@pytest.mark.parametrize(("document", "variables"), TOO_DEAR.values(), ids=TOO_DEAR)
async def test_a_document_that_is_too_dear(counter: Counter, document: str, variables: dict[str, Any]) -> None:
    statements = counter.wire.statements
    message = await is_refused(counter.visitor, "QUERY_TOO_COMPLEX", document, **variables)
    assert "costs 6,201 and may cost 5,000" in message
    assert counter.wire.statements == statements


async def test_a_change_that_is_too_curious_about_its_outcome(
    counter: Counter, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop)
    customer = await add_customer(counter.visitor, shop, (book, 1))
    before = await remembered(postgres)
    await is_refused(customer.visitor, "QUERY_TOO_COMPLEX", CURIOUS, id=book_id(book))
    assert await remembered(postgres) == before
