"""What is another's and what does not exist are told in the same words, byte for byte, and nothing is changed."""

import json
import uuid

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, book_id
from tests.faulty import ask
from tests.stranger import SNAPSHOT

pytestmark = pytest.mark.usefixtures("sound")

OWN = """{ me { id cart { id items { id } } orders { nodes { id number } } wishlist { nodes { id } }
    prebookings { nodes { id } } sessions { id } reviews { nodes { id } } } }"""
NODE = "query ($id: ID!) { node(id: $id) { __typename id } }"
NODES = "query ($id: ID!) { nodes(ids: [$id]) { __typename id } }"


def mutation(name: str, key: str, more: str = "") -> str:
    told = "__typename ... on UserError { code message } ... on NotFound { id }"
    return f"mutation ($id: ID!) {{ {name}(input: {{{key}: $id{more}}}) {{ {told} }} }}"


DOCUMENTS = {
    "User": [NODE, NODES],
    "Cart": [NODE, NODES],
    "CartItem": [NODE, NODES],
    "Order": [
        NODE,
        NODES,
        "query ($id: ID!) { order(by: {id: $id}) { id } }",
        mutation("cancelOrder", "orderId"),
    ],
    "WishlistItem": [NODE, NODES],
    "Prebooking": [NODE, NODES, mutation("cancelPrebooking", "prebookingId")],
    "Session": [NODE, NODES, mutation("revokeSession", "sessionId")],
}
NUMBER = "query ($number: String!) { order(by: {number: $number}) { id } }"
MAKE = """mutation ($book: ID!, $gone: ID!) {
    addToWishlist(input: {bookId: $book}) { __typename } prebook(input: {bookId: $gone}) { __typename } }"""


@pytest.fixture
async def owner(visitor: Visitor, shop: Shop) -> Customer:
    """With one of everything."""
    bought, carted, gone = await add_book(shop, stock=5), await add_book(shop, stock=5), await add_book(shop, stock=0)
    owner = await add_customer(visitor, shop, (bought, 1))
    assert (await owner.buys())["__typename"] == "OrderPlaced"
    add = "mutation ($book: ID!) { addToCart(input: {bookId: $book}) { __typename } }"
    assert not (await owner.ask(add, book=book_id(carted))).errors
    assert not (await owner.ask(MAKE, book=book_id(bought), gone=book_id(gone))).errors
    return owner


def ids_in(answer: object) -> set[str]:
    if isinstance(answer, dict):
        return {answer[key] for key in ("id",) if key in answer}.union(*map(ids_in, answer.values()))
    return set().union(*map(ids_in, answer)) if isinstance(answer, list) else set()


async def test_every_way_to_what_is_anothers(
    owner: Customer, visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    me = (await owner.ask(OWN))["me"]
    nobodys = {kind: global_id(kind, uuid.UUID(int=7)) for kind in DOCUMENTS}
    callers = [visitor, (await add_customer(visitor, shop)).visitor]
    before = await postgres.fetch(SNAPSHOT)
    tried = set()
    for id_ in sorted(ids_in(me)):
        node = (await owner.ask(NODE, id=id_))["node"]
        kind = node["__typename"] if node else next(kind for kind in DOCUMENTS if id_[:6] == nobodys[kind][:6])
        tried.add(kind)
        for document in DOCUMENTS[kind]:
            for caller in callers:
                foreign = await ask(caller, document, id=id_)
                absent = await ask(caller, document, id=nobodys[kind])
                assert foreign.content.replace(id_.encode(), b"") == absent.content.replace(
                    nobodys[kind].encode(), b""
                ), (kind, document)
                assert foreign.status_code == absent.status_code
    assert tried == set(DOCUMENTS)
    number = me["orders"]["nodes"][0]["number"]
    for caller in callers:
        foreign, absent = await ask(caller, NUMBER, number=number), await ask(caller, NUMBER, number="0000-0000-0000")
        assert foreign.content == absent.content
    assert await postgres.fetch(SNAPSHOT) == before
    assert json.loads((await ask(owner.visitor, NUMBER, number=number)).content)["data"]["order"] is not None
