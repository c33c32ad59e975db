"""What documents cost: reckoned from the sizes they ask for, told when asked, and more for administrators."""

import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.shop import Shop
from graph.cost import DEAREST, DEAREST_FOR_ADMINISTRATORS
from graph.documents import Documents
from tests.client import Visitor
from tests.factories import add_administrator, add_member

PRICES = {
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
GREEDY = "{ books(first: 100) { nodes { reviews(first: 60) { nodes { id } } } } }"  # 1 + 100 × 62
ASKING_FOR_THE_COST = {"extensions": {"cost": True}}


def price(document: str, **variables: Any) -> int:
    operations = Documents(introspection=True).get(document).operations
    return next(iter(operations.values())).price.for_(variables)


def test_what_clients_send_as_a_size_is_not_kept() -> None:
    operations = Documents(introspection=True).get(BY_VARIABLE).operations
    text = "x" * 50_000
    before = sys.getrefcount(text)
    assert next(iter(operations.values())).price.for_({"first": text}) == price(BY_VARIABLE, first=20)
    assert sys.getrefcount(text) == before


@pytest.mark.parametrize(("document", "cost"), PRICES.items(), ids=range(len(PRICES)))
def test_what_it_costs(document: str, cost: int) -> None:
    assert price(document) == cost


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
def test_variables_and_their_defaults_count(variables: dict[str, Any], size: int) -> None:
    assert price(BY_VARIABLE, **variables) == 1 + size


@given(st.integers(0, 100), st.integers(0, 100))
def test_variables_cost_what_literals_do(books: int, reviews: int) -> None:
    document = (
        "{ books(first: BOOKS) { nodes { authors { id } reviews(first: REVIEWS) { totalCount nodes { id } } } } }"
    )
    literal = document.replace("BOOKS", str(books)).replace("REVIEWS", str(reviews))
    named = "query ($books: Int, $reviews: Int) " + document.replace("BOOKS", "$books").replace("REVIEWS", "$reviews")
    assert price(named, books=books, reviews=reviews) == price(literal) == 1 + books * (1 + 3 + 6 + reviews)


async def told(visitor: Visitor, document: str) -> dict[str, Any]:
    async with visitor.http() as http:
        response = await http.post("/graphql", json={"query": document} | ASKING_FOR_THE_COST)
    answer: dict[str, Any] = response.json()
    return answer


async def test_the_cost_is_told_when_asked(visitor: Visitor) -> None:
    answer = await told(visitor, "{ books(first: 5) { nodes { id } } }")
    assert answer["extensions"] == {"cost": {"requested": 6, "limit": DEAREST}}
    reply = await visitor.http().post("/graphql", json={"query": "{ books { totalCount } }"})
    assert "extensions" not in reply.json()


async def test_administrators_may_ask_for_more(visitor: Visitor, shop: Shop) -> None:
    customer, administrator = await add_member(shop), await add_administrator(shop)
    assert (await visitor.signed_in(customer.token).ask(GREEDY)).codes == ["QUERY_TOO_COMPLEX"]
    assert (await visitor.signed_in("forged").ask(GREEDY)).codes == ["QUERY_TOO_COMPLEX"]
    answer = await told(visitor.signed_in(administrator.token), GREEDY)
    assert answer["extensions"] == {"cost": {"requested": 6_201, "limit": DEAREST_FOR_ADMINISTRATORS}}
    dearer = GREEDY.replace("books(", "a: books(")[:-1] + GREEDY.replace("books(", "b: books(")[1:]
    thrice = f"{{ {dearer[1:-1]} {GREEDY.replace('books(', 'c: books(')[1:-1]} {GREEDY.replace('books(', 'd: books(')[1:-1]} }}"
    assert (await visitor.signed_in(administrator.token).ask(thrice)).codes == ["QUERY_TOO_COMPLEX"]


async def test_a_page_out_of_range_is_an_error_and_not_a_smaller_page(visitor: Visitor) -> None:
    for arguments in ("first: 101", "last: -1", "first: 2147483647"):
        reply = await visitor.ask(f"{{ books({arguments}) {{ nodes {{ id }} }} }}")
        assert reply.codes == ["BAD_USER_INPUT"]
