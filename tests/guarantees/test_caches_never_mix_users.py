"""Shared caches never store a response that depends on the caller."""

import random
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

import httpx2
import pytest
from graphql import GraphQLField, GraphQLObjectType, get_named_type, is_leaf_type

from domain.shop import Shop
from graph.kit.permissions import RequiresAuth
from graph.schema import schema
from persistence.reviews import add_review
from tests.support.http.client import ApiClient
from tests.support.shop.factories import SignedInUser, add_admin, add_book, add_user, book_id, fill_cart

QUERIES = [
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
ACCEPT_HEADERS = ["application/json", "application/graphql-response+json"]


@dataclass(slots=True)
class SharedCache:
    """Stores every response that RFC 9111 allows, without limit, by URL and the headers that `Vary` names."""

    http: httpx2.AsyncClient
    stored_responses: dict[str, list[tuple[dict[str, str | None], httpx2.Response]]] = field(default_factory=dict)
    hits: int = 0

    async def get(self, query: str, headers: dict[str, str]) -> httpx2.Response:
        for varying_headers, response in self.stored_responses.get(query, []):
            if all(headers.get(name) == value for name, value in varying_headers.items()):
                self.hits += 1
                return response
        response = await self.http.get("/graphql", params={"query": query}, headers=headers)
        if "public" in response.headers["cache-control"]:
            names = [name.strip() for name in response.headers["vary"].split(",")]
            self.stored_responses.setdefault(query, []).append(({name: headers.get(name) for name in names}, response))
        return response


@pytest.fixture
async def callers(shop: Shop) -> list[SignedInUser | None]:
    """Return an anonymous caller (`None`), two users with data of their own, and an administrator."""
    users, book = [await add_user(shop) for _ in range(2)], await add_book(shop)
    for user in users:
        await fill_cart(shop, user, (book, 1))
    async with shop.database.transaction() as tx:
        await add_review(tx, users[0].id, book.id, 4, None)
    return [None, *users, await add_admin(shop)]


@pytest.fixture
async def http(client: ApiClient) -> AsyncIterator[httpx2.AsyncClient]:
    async with client.http() as http:
        yield http


def build_headers(user: SignedInUser | None, accept: str) -> dict[str, str]:
    return {"accept": accept} | ({"authorization": f"Bearer {user.token}"} if user else {})


@pytest.mark.parametrize("seed", range(3))
async def test_responses_behind_a_cache_equal_uncached_ones(
    http: httpx2.AsyncClient, callers: list[SignedInUser | None], seed: int
) -> None:
    cache = SharedCache(http)
    requests = [
        (query, build_headers(caller, accept)) for query in QUERIES for caller in callers for accept in ACCEPT_HEADERS
    ] * 2
    random.Random(seed).shuffle(requests)
    for query, headers in requests:
        cached = await cache.get(query, headers)
        uncached = await http.get("/graphql", params={"query": query}, headers=headers)
        assert "authorization" not in headers or cached.headers["cache-control"] == "private, no-store"
        assert (cached.content, cached.headers["content-type"]) == (uncached.content, uncached.headers["content-type"])
    assert cache.hits > 0


async def test_only_anonymous_responses_are_cached(
    http: httpx2.AsyncClient, callers: list[SignedInUser | None]
) -> None:
    for caller in callers:
        for query in QUERIES:
            response = await http.get(
                "/graphql", params={"query": query}, headers=build_headers(caller, ACCEPT_HEADERS[0])
            )
            if caller:
                assert response.headers["cache-control"] == "private, no-store"
                assert "etag" not in response.headers


async def test_anonymous_etag_is_ignored_for_signed_in_users(
    http: httpx2.AsyncClient, callers: list[SignedInUser | None]
) -> None:
    anonymous_response = await http.get("/graphql", params={"query": QUERIES[0]})
    for caller in callers[1:]:
        headers = build_headers(caller, ACCEPT_HEADERS[0]) | {"if-none-match": anonymous_response.headers["etag"]}
        assert (await http.get("/graphql", params={"query": QUERIES[0]}, headers=headers)).status_code == 200


def find_paths(start: GraphQLObjectType) -> dict[str, str]:
    """Return a selection for each field below `start` whose value depends on the caller."""
    paths, visited, queue = {}, {start.name}, [(start, "%s")]
    for type_, path in queue:
        for name, field_ in type_.fields.items():
            result_type = get_named_type(field_.type)
            if name.startswith("viewer") or _has_auth_directive(field_):
                paths[f"{type_.name}.{name}"] = path % (
                    name if is_leaf_type(result_type) else f"{name} {{ __typename }}"
                )
            elif isinstance(result_type, GraphQLObjectType) and result_type.name not in visited:
                visited.add(result_type.name)
                queue.append((result_type, path % f"{name} {{ %s }}"))
    return paths


def _has_auth_directive(field_: GraphQLField) -> bool:
    return any(
        isinstance(directive, RequiresAuth) for directive in field_.extensions["strawberry-definition"].directives
    )


async def test_caller_dependent_fields_are_not_cacheable(http: httpx2.AsyncClient, shop: Shop) -> None:
    """The responses to anonymous callers, whose values are all null, are not cacheable either."""
    book = await add_book(shop)
    book_type = schema._schema.get_type("Book")
    assert isinstance(book_type, GraphQLObjectType)
    paths = find_paths(book_type)
    assert {"Book.viewerReview", "Book.waitingPrebookings", "Review.viewerCanUpdate", "Reviewer.account"} <= set(paths)
    for selection in paths.values():
        query = f'{{ book(by: {{id: "{book_id(book)}"}}) {{ title {selection} }} }}'
        response = await http.get("/graphql", params={"query": query})
        assert response.json()["data"]["book"], query
        assert response.headers["cache-control"] == "private, no-store", query
