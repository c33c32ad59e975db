"""The cost of documents: computed from list sizes, reported on request, with a higher limit for administrators."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.shop import Shop
from graph.execution.cost import MAX_ADMIN_COST, MAX_COST
from graph.execution.documents import Documents
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_admin, add_user

DOCUMENT_COSTS = {
    "{ __typename }": 0,
    "{ __schema { types { name fields { name } } } }": 0,
    "{ me { email } }": 1,
    "{ book(by: {slug: \"x\"}) { title price { amount } genre { name } } }": 3,
    "{ book(by: {slug: \"x\"}) { authors { name } } }": 1 + 3,
    "{ book(by: {slug: \"x\"}) { ratingHistogram { count } } }": 1 + 10,
    "{ genres { name } }": 10,
    "{ genres { name books(first: 3) { nodes { id } } } }": 10 * (1 + 1 + 3),
    "{ books { nodes { id } } }": 1 + 20,
    "{ books(first: null) { nodes { id } } }": 1 + 20,
    "{ books(first: 0) { nodes { id } } }": 1,
    "{ books(first: 5) { nodes { id authors { name } } } }": 1 + 5 * (1 + 3),
    "{ books(last: 5) { edges { cursor node { id } } } }": 1 + 5 * 2,
    "{ books(first: 5) { edges { cursor } nodes { id } } }": 1 + 5 + 5,
    "{ books(first: 5) { totalCount pageInfo { endCursor } } }": 1 + 5 + 1,
    '{ books(first: 5, search: "x") { nodes { id } } }': 1 + 5 + 5,
    "{ books(first: 5) { ...page } } fragment page on BookConnection { ... { nodes { id } } }": 1 + 5,
    "{ a: books(first: 1) { ...page } b: books(first: 9) { ...page } } fragment page on BookConnection { nodes { id } }": 12,
    '{ nodes(ids: ["a", "b", "c"]) { id } }': 3,
    "mutation { logout(input: {}) { __typename } }": 10 + 1,
    "query A { me { id } } query B { __typename }": 1,
}  # fmt: skip

BY_VARIABLE = "query ($first: Int = 7, $last: Int) { books(first: $first, last: $last) { nodes { id } } }"
EXPENSIVE_DOCUMENT = "{ books(first: 100) { nodes { reviews(first: 60) { nodes { id } } } } }"  # 1 + 100 × 62
COST_REQUEST = {"extensions": {"cost": True}}


def compute_cost(document: str, **variables: Any) -> int:
    operations = Documents(introspection=True).get(document).operations
    return next(iter(operations.values())).cost.evaluate(variables)


def test_client_supplied_sizes_are_not_cached() -> None:
    operations = Documents(introspection=True).get(BY_VARIABLE).operations
    text = "x" * 50_000
    before = sys.getrefcount(text)
    assert next(iter(operations.values())).cost.evaluate({"first": text}) == compute_cost(BY_VARIABLE, first=20)
    assert sys.getrefcount(text) == before


@pytest.mark.parametrize(("document", "cost"), DOCUMENT_COSTS.items(), ids=range(len(DOCUMENT_COSTS)))
def test_cost_of_documents(document: str, cost: int) -> None:
    assert compute_cost(document) == cost


@pytest.mark.parametrize(
    ("variables", "size"),
    [
        ({}, 7),
        ({"first": 3}, 3),
        ({"first": 3.0}, 3),
        ({"first": None}, 20),
        ({"first": None, "last": 4}, 4),
        ({"first": 100}, 100),
        ({"first": 10**30}, 100),
        ({"first": -5}, 0),
        ({"first": "100"}, 20),
        ({"first": 1e300}, 100),
        ({"first": {}}, 20),
    ],
)
def test_cost_uses_variables_and_defaults(variables: dict[str, Any], size: int) -> None:
    assert compute_cost(BY_VARIABLE, **variables) == 1 + size


@given(st.integers(0, 100), st.integers(0, 100))
def test_variables_cost_the_same_as_literals(books: int, reviews: int) -> None:
    document = (
        "{ books(first: BOOKS) { nodes { authors { id } reviews(first: REVIEWS) { totalCount nodes { id } } } } }"
    )
    document_with_literals = document.replace("BOOKS", str(books)).replace("REVIEWS", str(reviews))
    document_with_variables = "query ($books: Int, $reviews: Int) " + document.replace("BOOKS", "$books").replace(
        "REVIEWS", "$reviews"
    )
    assert (
        compute_cost(document_with_variables, books=books, reviews=reviews)
        == compute_cost(document_with_literals)
        == 1 + books * (1 + 3 + 6 + reviews)
    )


async def execute_with_reported_cost(client: ApiClient, document: str) -> dict[str, Any]:
    async with client.http() as http:
        response = await http.post("/graphql", json={"query": document} | COST_REQUEST)
    payload: dict[str, Any] = response.json()
    return payload


async def test_cost_extension_on_request(client: ApiClient) -> None:
    payload = await execute_with_reported_cost(client, "{ books(first: 5) { nodes { id } } }")
    assert payload["extensions"] == {"cost": {"requested": 6, "limit": MAX_COST}}
    response = await client.http().post("/graphql", json={"query": "{ books { totalCount } }"})
    assert "extensions" not in response.json()


async def test_admins_have_a_higher_cost_limit(client: ApiClient, shop: Shop) -> None:
    customer, admin = await add_user(shop), await add_admin(shop)
    assert (await client.with_token(customer.token).execute(EXPENSIVE_DOCUMENT)).codes == ["QUERY_TOO_COMPLEX"]
    assert (await client.with_token("forged").execute(EXPENSIVE_DOCUMENT)).codes == ["QUERY_TOO_COMPLEX"]
    payload = await execute_with_reported_cost(client.with_token(admin.token), EXPENSIVE_DOCUMENT)
    assert payload["extensions"] == {"cost": {"requested": 6_201, "limit": MAX_ADMIN_COST}}
    selections = [EXPENSIVE_DOCUMENT.replace("books(", f"{alias}: books(")[1:-1] for alias in "abcd"]
    too_expensive = f"{{ {' '.join(selections)} }}"
    assert (await client.with_token(admin.token).execute(too_expensive)).codes == ["QUERY_TOO_COMPLEX"]


async def test_page_size_out_of_range_is_an_error(client: ApiClient) -> None:
    for arguments in ("first: 101", "last: -1", "first: 2147483647"):
        response = await client.execute(f"{{ books({arguments}) {{ nodes {{ id }} }} }}")
        assert response.codes == ["BAD_USER_INPUT"]
