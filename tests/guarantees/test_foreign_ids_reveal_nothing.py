"""What is another's and what does not exist are told in the same words, byte for byte, and nothing is changed."""

import json
import uuid

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from tests.support.graphql.fuzz_client import SNAPSHOT_SQL
from tests.support.http.client import ApiClient
from tests.support.http.fault_app import post_graphql
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id

pytestmark = pytest.mark.usefixtures("check_invariants")

OWN_IDS_QUERY = """{ me { id cart { id items { id } } orders { nodes { id number } } wishlist { nodes { id } }
    prebookings { nodes { id } } sessions { id } reviews { nodes { id } } } }"""
NODE = "query ($id: ID!) { node(id: $id) { __typename id } }"
NODES = "query ($id: ID!) { nodes(ids: [$id]) { __typename id } }"


def build_mutation(name: str, key: str, more: str = "") -> str:
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
        build_mutation("cancelOrder", "orderId"),
    ],
    "WishlistItem": [NODE, NODES],
    "Prebooking": [NODE, NODES, build_mutation("cancelPrebooking", "prebookingId")],
    "Session": [NODE, NODES, build_mutation("revokeSession", "sessionId")],
}
NUMBER = "query ($number: String!) { order(by: {number: $number}) { id } }"
CREATE_OWN_ITEMS = """mutation ($book: ID!, $gone: ID!) {
    addToWishlist(input: {bookId: $book}) { __typename } prebook(input: {bookId: $gone}) { __typename } }"""


@pytest.fixture
async def owner(client: ApiClient, shop: Shop) -> Customer:
    """With one of everything."""
    bought, carted, gone = await add_book(shop, stock=5), await add_book(shop, stock=5), await add_book(shop, stock=0)
    owner = await add_customer(client, shop, (bought, 1))
    assert (await owner.checkout())["__typename"] == "OrderPlaced"
    add = "mutation ($book: ID!) { addToCart(input: {bookId: $book}) { __typename } }"
    assert not (await owner.execute(add, book=book_id(carted))).errors
    assert not (await owner.execute(CREATE_OWN_ITEMS, book=book_id(bought), gone=book_id(gone))).errors
    return owner


def find_ids(answer: object) -> set[str]:
    if isinstance(answer, dict):
        return {answer[key] for key in ("id",) if key in answer}.union(*map(find_ids, answer.values()))
    return set().union(*map(find_ids, answer)) if isinstance(answer, list) else set()


async def test_foreign_and_unknown_ids_get_equal_responses(
    owner: Customer, client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    me = (await owner.execute(OWN_IDS_QUERY))["me"]
    nobodys = {kind: to_global_id(kind, uuid.UUID(int=7)) for kind in DOCUMENTS}
    callers = [client, (await add_customer(client, shop)).client]
    before = await postgres.fetch(SNAPSHOT_SQL)
    tried = set()
    for id_ in sorted(find_ids(me)):
        node = (await owner.execute(NODE, id=id_))["node"]
        kind = node["__typename"] if node else next(kind for kind in DOCUMENTS if id_[:6] == nobodys[kind][:6])
        tried.add(kind)
        for document in DOCUMENTS[kind]:
            for caller in callers:
                foreign = await post_graphql(caller, document, id=id_)
                absent = await post_graphql(caller, document, id=nobodys[kind])
                assert foreign.content.replace(id_.encode(), b"") == absent.content.replace(
                    nobodys[kind].encode(), b""
                ), (kind, document)
                assert foreign.status_code == absent.status_code
    assert tried == set(DOCUMENTS)
    number = me["orders"]["nodes"][0]["number"]
    for caller in callers:
        foreign, absent = (
            await post_graphql(caller, NUMBER, number=number),
            await post_graphql(caller, NUMBER, number="0000-0000-0000"),
        )
        assert foreign.content == absent.content
    assert await postgres.fetch(SNAPSHOT_SQL) == before
    assert json.loads((await post_graphql(owner.client, NUMBER, number=number)).content)["data"]["order"] is not None
