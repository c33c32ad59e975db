"""A foreign object and a missing object produce byte-identical responses."""

import json
import uuid

import asyncpg
import pytest
from graphql import GraphQLField, GraphQLInputObjectType, get_named_type, is_required_input_field

from domain.shop import Shop
from graph.kit.ids import from_global_id, to_global_id
from tests.support.graphql.fuzz_client import SNAPSHOT_SQL
from tests.support.graphql.schema_fields import (
    build_document,
    get_fields,
    get_result_type,
    iterate_fields,
    list_types_with_id,
)
from tests.support.http.client import ApiClient
from tests.support.http.probes import post_graphql
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id

pytestmark = pytest.mark.usefixtures("check_invariants")

OWN_IDS_QUERY = """{ me { id cart { id items { id } } orders { nodes { id number items { id } } } wishlist { nodes { id } }
    prebookings { nodes { id } } sessions { id } reviews { nodes { id } } } }"""
NODE_QUERY = "query ($id: ID!) { node(id: $id) { __typename id } }"
NODES_QUERY = "query ($id: ID!) { nodes(ids: [$id]) { __typename id } }"


PUBLIC_TYPES = {"Book", "Author", "Genre", "Review"}
"""Objects of these types are visible to every caller."""


def _list_documents(type_name: str) -> list[str]:
    """Return every operation whose only argument is the ID of an object of this type."""
    lookups = [
        build_document(name)
        for name, field in iterate_fields()
        if name.startswith("Query.") and field.args.keys() == {"id"} and get_result_type(field).name == type_name
    ]
    return [NODE_QUERY, NODES_QUERY, *lookups, *_list_lookups_by_id(type_name), *_list_mutations(type_name)]


def _list_lookups_by_id(type_name: str) -> list[str]:
    return [
        f"query ($id: ID!) {{ {name.partition('.')[2]}(by: {{id: $id}}) {{ id }} }}"
        for name, field in iterate_fields()
        if name.startswith("Query.") and "by" in field.args and get_result_type(field).name == type_name
    ]


def _list_mutations(type_name: str) -> list[str]:
    key = f"{type_name[0].lower()}{type_name[1:]}Id"
    selection = "__typename ... on UserError { code message } ... on NotFound { id }"
    return [
        f"mutation ($id: ID!) {{ {name}(input: {{{key}: $id}}) {{ {selection} }} }}"
        for name, field in get_fields("Mutation").items()
        if _list_required_keys(field) == [key]
    ]


def _list_required_keys(field: GraphQLField) -> list[str]:
    input_type = get_named_type(field.args["input"].type) if "input" in field.args else None
    if not isinstance(input_type, GraphQLInputObjectType):
        return []
    return [key for key, input_field in input_type.fields.items() if is_required_input_field(input_field)]


DOCUMENTS = {name: _list_documents(name) for name in list_types_with_id() if name not in PUBLIC_TYPES}
ORDER_BY_NUMBER_QUERY = "query ($number: String!) { order(by: {number: $number}) { id } }"
CREATE_OWN_ITEMS = """mutation ($book: ID!, $soldOut: ID!) {
    addToWishlist(input: {bookId: $book}) { __typename } prebook(input: {bookId: $soldOut}) { __typename } }"""


@pytest.fixture
async def owner(client: ApiClient, shop: Shop) -> Customer:
    """Return a customer who owns an object of every private type."""
    ordered_book, book_in_cart, sold_out_book = (
        await add_book(shop, stock=5),
        await add_book(shop, stock=5),
        await add_book(shop, stock=0),
    )
    owner = await add_customer(client, shop, (ordered_book, 1))
    assert (await owner.checkout())["__typename"] == "OrderPlaced"
    add_to_cart = "mutation ($book: ID!) { addToCart(input: {bookId: $book}) { __typename } }"
    assert not (await owner.execute(add_to_cart, book=book_id(book_in_cart))).errors
    assert not (
        await owner.execute(CREATE_OWN_ITEMS, book=book_id(ordered_book), soldOut=book_id(sold_out_book))
    ).errors
    return owner


def find_ids(data: object) -> set[str]:
    """Return the IDs in the data of a response, at any depth."""
    if isinstance(data, dict):
        return {data[key] for key in ("id",) if key in data}.union(*map(find_ids, data.values()))
    return set().union(*map(find_ids, data)) if isinstance(data, list) else set()


async def test_foreign_and_unknown_ids_get_equal_responses(
    owner: Customer, client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    own_data = (await owner.execute(OWN_IDS_QUERY))["me"]
    unknown_ids = {type_name: to_global_id(type_name, uuid.UUID(int=7)) for type_name in DOCUMENTS}
    callers = [client, (await add_customer(client, shop)).client]
    before = await postgres.fetch(SNAPSHOT_SQL)
    tested_types = set()
    for id_ in sorted(find_ids(own_data)):
        type_name, _ = from_global_id(id_)
        unknown_id = unknown_ids[type_name]
        tested_types.add(type_name)
        for document in DOCUMENTS[type_name]:
            for caller in callers:
                foreign = await post_graphql(caller, document, id=id_)
                missing = await post_graphql(caller, document, id=unknown_id)
                assert foreign.content.replace(id_.encode(), b"") == missing.content.replace(
                    unknown_id.encode(), b""
                ), (
                    type_name,
                    document,
                )
                assert foreign.status_code == missing.status_code
    assert tested_types == set(DOCUMENTS)
    number = own_data["orders"]["nodes"][0]["number"]
    for caller in callers:
        foreign, missing = (
            await post_graphql(caller, ORDER_BY_NUMBER_QUERY, number=number),
            await post_graphql(caller, ORDER_BY_NUMBER_QUERY, number="0000-0000-0000"),
        )
        assert foreign.content == missing.content
    assert await postgres.fetch(SNAPSHOT_SQL) == before
    assert (
        json.loads((await post_graphql(owner.client, ORDER_BY_NUMBER_QUERY, number=number)).content)["data"]["order"]
        is not None
    )
