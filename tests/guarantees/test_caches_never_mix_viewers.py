"""Caches never mix viewers: whatever is kept of an answer may be seen by everybody, and everybody sees their own."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import pytest
from graphql import GraphQLField, GraphQLObjectType, get_named_type, is_leaf_type

from domain.shop import Shop
from graph.gates import RequiresAuth
from graph.schema import schema
from persistence.reviews import add_review
from tests.client import Visitor
from tests.factories import Member, add_administrator, add_book, add_member, book_id, fill_cart

QUESTIONS = [
    "{ books { totalCount nodes { title } } }",
    "{ genres { name } }",
    "{ me { id email displayName role cart { totalQuantity } } }",
    "{ books { nodes { title viewerHasWishlisted viewerCanReview viewerReview { id } viewerPrebooking { id } } } }",
    "{ books { nodes { reviews { nodes { rating viewerCanUpdate viewerCanDelete } } } } }",
    "{ books { nodes { reviews { nodes { reviewer { displayName } } } } } }",
    "{ books { nodes { reviews { nodes { reviewer { displayName account { email } } } } } } }",
    "{ books { nodes { title waitingPrebookings } } }",
    "{ admin { users { totalCount } } }",
    "{ genres { name } me { id } }",
    "query ($mine: Boolean = false) { books { nodes { title } } me @include(if: $mine) { email } }",
]
ACCEPTED = ["application/json", "application/graphql-response+json"]


@dataclass(slots=True)
class SharedCache:
    """Keeps whatever it may, for ever, as RFC 9111 has it: by address and by what `Vary` names."""

    http: httpx2.AsyncClient
    kept: dict[str, list[tuple[dict[str, str | None], httpx2.Response]]] = field(default_factory=dict)
    hits: int = 0

    async def get(self, query: str, headers: dict[str, str]) -> httpx2.Response:
        for varies, response in self.kept.get(query, []):
            if all(headers.get(name) == value for name, value in varies.items()):
                self.hits += 1
                return response
        response = await self.http.get("/graphql", params={"query": query}, headers=headers)
        if "public" in response.headers["cache-control"]:
            names = [name.strip() for name in response.headers["vary"].split(",")]
            self.kept.setdefault(query, []).append(({name: headers.get(name) for name in names}, response))
        return response


@pytest.fixture
async def callers(shop: Shop) -> list[Member | None]:
    """A visitor, two readers who have something of their own, and an administrator."""
    readers, book = [await add_member(shop) for _ in range(2)], await add_book(shop)
    for reader in readers:
        await fill_cart(shop, reader, (book, 1))
    async with shop.database.transaction() as tx:
        await add_review(tx, readers[0].id, book.id, 4, None)
    return [None, *readers, await add_administrator(shop)]


@pytest.fixture
async def http(visitor: Visitor) -> AsyncIterator[httpx2.AsyncClient]:
    async with visitor.http() as http:
        yield http


def told(caller: Member | None, accept: str) -> dict[str, str]:
    return {"accept": accept} | ({"authorization": f"Bearer {caller.token}"} if caller else {})


@pytest.mark.parametrize("seed", range(3))
async def test_behind_a_cache_everybody_sees_what_they_see_without(
    http: httpx2.AsyncClient, callers: list[Member | None], seed: int
) -> None:
    cache = SharedCache(http)
    asked = [(query, told(caller, accept)) for query in QUESTIONS for caller in callers for accept in ACCEPTED] * 2
    random.Random(seed).shuffle(asked)
    for query, headers in asked:
        through = await cache.get(query, headers)
        direct = await http.get("/graphql", params={"query": query}, headers=headers)
        assert "authorization" not in headers or through.headers["cache-control"] == "private, no-store"
        assert (through.content, through.headers["content-type"]) == (direct.content, direct.headers["content-type"])
    assert cache.hits > 0


async def test_only_visitors_answers_are_ever_kept(http: httpx2.AsyncClient, callers: list[Member | None]) -> None:
    for caller in callers:
        for query in QUESTIONS:
            response = await http.get("/graphql", params={"query": query}, headers=told(caller, ACCEPTED[0]))
            if caller:
                assert response.headers["cache-control"] == "private, no-store"
                assert "etag" not in response.headers


async def test_the_name_of_a_visitors_answer_is_worth_nothing_to_others(
    http: httpx2.AsyncClient, callers: list[Member | None]
) -> None:
    visitors = await http.get("/graphql", params={"query": QUESTIONS[0]})
    for caller in callers[1:]:
        headers = told(caller, ACCEPTED[0]) | {"if-none-match": visitors.headers["etag"]}
        assert (await http.get("/graphql", params={"query": QUESTIONS[0]}, headers=headers)).status_code == 200


def ways(start: GraphQLObjectType) -> dict[str, str]:
    """For each field below a type that depends on who asks a selection that leads to it."""
    found, seen, ahead = {}, {start.name}, [(start, "%s")]
    for type_, way in ahead:
        for name, told in type_.fields.items():
            kind = get_named_type(told.type)
            if name.startswith("viewer") or _is_gated(told):
                found[f"{type_.name}.{name}"] = way % (name if is_leaf_type(kind) else f"{name} {{ __typename }}")
            elif isinstance(kind, GraphQLObjectType) and kind.name not in seen:
                seen.add(kind.name)
                ahead.append((kind, way % f"{name} {{ %s }}"))
    return found


def _is_gated(told: GraphQLField) -> bool:
    return any(isinstance(it, RequiresAuth) for it in told.extensions["strawberry-definition"].directives)


async def test_no_field_that_depends_on_the_caller_is_kept(http: httpx2.AsyncClient, shop: Shop) -> None:
    """Not even a visitor's, for whom all of them are empty."""
    book = await add_book(shop)
    book_type = schema._schema.get_type("Book")
    assert isinstance(book_type, GraphQLObjectType)
    found = ways(book_type)
    assert {"Book.viewerReview", "Book.waitingPrebookings", "Review.viewerCanUpdate", "Reviewer.account"} <= set(found)
    for selection in found.values():
        query = f'{{ book(by: {{id: "{book_id(book)}"}}) {{ title {selection} }} }}'
        response = await http.get("/graphql", params={"query": query})
        assert response.json()["data"]["book"], query
        assert response.headers["cache-control"] == "private, no-store", query
