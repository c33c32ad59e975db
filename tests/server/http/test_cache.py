"""Cache headers and conditional requests of the endpoint."""

from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import httpx2
import pytest

from domain.shop import Shop
from graph.kit.declare import MINUTE
from graph.kit.ids import to_global_id
from persistence.postgres.errors import Unavailable
from server.http import cache
from server.settings import Settings
from tests.support.database.query_counter import QueryCounter, count_queries
from tests.support.http.apps import running_http_client
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_admin, add_book, add_genre, add_user, book_id

PAGE_QUERY = "{ books(first: 20) { totalCount nodes { title stockQuantity authors { name } price { amount } } } }"
GENRES = "{ genres { name slug } }"
GRAPHQL_JSON = "application/graphql-response+json"
PRIVATE, ONE_SECOND = "private, no-store", "public, max-age=0, s-maxage=1, must-revalidate"
RAISE_PRICE = 'mutation ($id: ID!) { updateBook(input: {bookId: $id, price: "99.00"}) { __typename } }'
VERSION_STATEMENTS = 2


@pytest.fixture
async def http(client: ApiClient, shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    async with client.http() as http:
        yield http


@pytest.fixture
async def counter(shop: Shop, settings: Settings) -> AsyncIterator[QueryCounter]:
    async with count_queries(settings) as counter:
        yield counter


async def send_get(
    http: httpx2.AsyncClient, query: str = PAGE_QUERY, if_none_match: str | None = None, **headers: str
) -> httpx2.Response:
    all_headers = headers | ({"if-none-match": if_none_match} if if_none_match is not None else {})
    return await http.get("/graphql", params={"query": query}, headers=all_headers)


def expire_cache(shop: Shop) -> None:
    """Expire all values that are cached for a second."""
    shop.count_cache.clear()


def is_uncacheable(response: httpx2.Response) -> bool:
    return response.headers["cache-control"] == PRIVATE and "etag" not in response.headers


# ── Private responses ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "query",
    [
        "{ me { id } }",
        "{ books { nodes { title viewerHasWishlisted } } }",
        "{ books { nodes { title viewerHasWishlisted @skip(if: true) } } }",
        "{ oauthLogins { url } }",
        "{ __typename }",
        "{ __schema { queryType { name } } }",
        '{ genres { name } genre(by: {id: "nonsense"}) { name } }',
        "{ books(first: 101) { totalCount } }",
        "{ admin { users { totalCount } } }",
        "{ nothing }",
        "{",
        'mutation { createGenre(input: {name: "Fantasy"}) { __typename } }',
    ],
)
async def test_private_or_failed_responses_are_not_cached(http: httpx2.AsyncClient, query: str) -> None:
    for if_none_match in (None, "*"):
        response = await send_get(http, query, if_none_match)
        assert response.status_code != 304
        assert is_uncacheable(response)


@pytest.mark.parametrize("authorization", ["Bearer {token}", "Bearer x", "Basic YTpi", "", "Bearer"])
async def test_responses_to_signed_in_users_are_not_cached(
    http: httpx2.AsyncClient, shop: Shop, authorization: str
) -> None:
    etag = (await send_get(http)).headers["etag"]
    value = authorization.format(token=(await add_user(shop)).token)
    for if_none_match in (None, etag, "*"):
        response = await send_get(http, if_none_match=if_none_match, authorization=value)
        assert response.status_code == 200
        assert is_uncacheable(response)


async def test_post_responses_are_not_cached(http: httpx2.AsyncClient) -> None:
    etag = (await send_get(http)).headers["etag"]
    response = await http.post("/graphql", json={"query": PAGE_QUERY}, headers={"if-none-match": etag})
    assert response.status_code == 200
    assert is_uncacheable(response)


async def test_invalid_requests_are_not_cached(http: httpx2.AsyncClient) -> None:
    for response in (
        await http.get("/graphql"),
        await send_get(http, accept="image/png"),
        await http.head("/graphql", params={"query": PAGE_QUERY}),
        await http.get("/graphql", params={"documentId": "unknown"}),
        await http.get("/graphql", headers={"accept": "text/html"}),
    ):
        assert is_uncacheable(response), response.text


async def test_rate_limited_responses_are_not_cached(settings: Settings, shop: Shop) -> None:
    """A 304 costs 1, which is too much for a caller without budget."""
    async with running_http_client(settings, rate_limit_burst=20_000, rate_limit_per_second=1) as http:
        etag = (await send_get(http, PAGE_QUERY.replace("20", "100"))).headers["etag"]
        for _ in range(100):
            assert (await send_get(http, PAGE_QUERY.replace("20", "100"), etag)).status_code == 304
        while (response := await send_get(http, PAGE_QUERY.replace("20", "100"))).status_code == 200:
            pass
        assert response.status_code == 429
        assert is_uncacheable(response)
        limited_response = await send_get(http, PAGE_QUERY.replace("20", "100"), etag)
    assert (limited_response.status_code, is_uncacheable(limited_response)) == (429, True)


# ── Public responses ──────────────────────────────────────────────────────────────────────


async def test_anonymous_catalog_page_is_cached(http: httpx2.AsyncClient, shop: Shop) -> None:
    await add_book(shop)
    response = await send_get(http)
    assert response.status_code == 200
    assert response.headers["cache-control"] == ONE_SECOND
    assert response.headers["vary"] == "accept, authorization"
    assert response.headers["etag"].startswith('"')
    assert response.headers["etag"].endswith('"')
    assert "set-cookie" not in response.headers


async def test_genre_names_are_cached_longer(http: httpx2.AsyncClient, shop: Shop) -> None:
    await add_genre(shop)
    assert (await send_get(http, GENRES)).headers[
        "cache-control"
    ] == f"public, max-age=0, s-maxage={MINUTE}, must-revalidate"


@pytest.mark.parametrize("seconds", [0, 30])
async def test_setting_overrides_max_age(settings: Settings, shop: Shop, seconds: int) -> None:
    async with running_http_client(settings, cache_seconds=seconds) as http:
        for query in (PAGE_QUERY, GENRES):
            value = (await send_get(http, query)).headers["cache-control"]
            assert value == f"public, max-age=0, s-maxage={seconds}, must-revalidate"
        assert is_uncacheable(await send_get(http, "{ me { id } }"))


async def test_vary_origin_with_cors(settings: Settings, shop: Shop) -> None:
    """Otherwise a cache would serve the response for one origin to requests with another origin or none."""
    origin = "https://www.example.com"
    async with running_http_client(settings, cors_origins=[origin]) as http:
        etag = (await send_get(http)).headers["etag"]
        for response in (
            await send_get(http),
            await send_get(http, origin=origin),
            await send_get(http, if_none_match=etag, origin=origin),
        ):
            names = {name.strip().lower() for name in response.headers["vary"].split(",")}
            assert names == {"accept", "authorization", "origin"}


async def test_cookies_do_not_affect_anonymous_responses(settings: Settings, shop: Shop) -> None:
    async with running_http_client(settings, refresh_token_cookie=True) as http:
        without_cookie, with_cookie = await send_get(http), await send_get(http, cookie="refresh_token=abc")
    assert without_cookie.headers["etag"] == with_cookie.headers["etag"]
    assert "set-cookie" not in with_cookie.headers


async def test_trusted_documents_by_get_are_cached(settings: Settings, shop: Shop, tmp_path: Any) -> None:
    (tmp_path / "list.json").write_text('{"genres": "{ genres { name } }"}')
    async with running_http_client(
        settings, trusted_documents=tmp_path / "list.json", trusted_documents_only=True
    ) as http:
        response = await http.get("/graphql", params={"documentId": "genres"})
        assert response.headers["cache-control"] == f"public, max-age=0, s-maxage={MINUTE}, must-revalidate"
        headers = {"if-none-match": response.headers["etag"]}
        assert (await http.get("/graphql", params={"documentId": "genres"}, headers=headers)).status_code == 304


# ── Conditional requests ──────────────────────────────────────────────────────────────────


async def test_unchanged_response_is_not_executed_again(counter: QueryCounter, shop: Shop) -> None:
    await add_book(shop, authors=("Jane Austen",))
    async with counter.client.http() as http:
        first = await send_get(http)
        before = counter.proxy.statements
        cached_response = await send_get(http, if_none_match=first.headers["etag"])
        assert counter.proxy.statements == before
        expire_cache(counter.shop)
        recomputed_response = await send_get(http, if_none_match=first.headers["etag"])
        assert counter.proxy.statements == before + VERSION_STATEMENTS
    for response in (cached_response, recomputed_response):
        assert (response.status_code, response.content) == (304, b"")
        assert "content-type" not in response.headers
        for name in ("etag", "cache-control", "vary"):
            assert response.headers[name] == first.headers[name]


async def test_price_change_changes_the_etag(http: httpx2.AsyncClient, client: ApiClient, shop: Shop) -> None:
    book, admin = await add_book(shop), client.with_token((await add_admin(shop)).token)
    etag = (await send_get(http)).headers["etag"]
    assert not (await admin.execute(RAISE_PRICE, id=book_id(book))).errors
    expire_cache(shop)
    changed = await send_get(http, if_none_match=etag)
    assert changed.status_code == 200
    assert changed.json()["data"]["books"]["nodes"][0]["price"]["amount"] == "99.00"
    assert changed.headers["etag"] != etag
    assert (await send_get(http, if_none_match=etag)).status_code == 200
    assert (await send_get(http, if_none_match=changed.headers["etag"])).status_code == 304


async def test_unrelated_change_keeps_the_etag(http: httpx2.AsyncClient, shop: Shop) -> None:
    """The query is executed again, and the response has the same bytes."""
    await add_book(shop)
    etag = (await send_get(http)).headers["etag"]
    await add_genre(shop)
    expire_cache(shop)
    assert (await send_get(http, if_none_match=etag)).status_code == 304
    assert (await send_get(http)).headers["etag"] == etag


async def test_total_count_matches_its_catalog_version(http: httpx2.AsyncClient, client: ApiClient, shop: Shop) -> None:
    """Otherwise the ETag would confirm an outdated count until the next change."""
    await add_book(shop)
    assert (await client.execute(PAGE_QUERY))["books"]["totalCount"] == 1
    await add_book(shop)
    assert (await send_get(http)).json()["data"]["books"]["totalCount"] == 2


async def test_uncommitted_change_is_visible_after_commit(
    http: httpx2.AsyncClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_book(shop)
    async with postgres.transaction():
        await postgres.execute("UPDATE books SET title = 'Committed'")
        old_response = await send_get(http)
        assert (await send_get(http, if_none_match=old_response.headers["etag"])).status_code == 304
        expire_cache(shop)
        assert (await send_get(http, if_none_match=old_response.headers["etag"])).status_code == 304
    expire_cache(shop)
    new_response = await send_get(http, if_none_match=old_response.headers["etag"])
    assert new_response.json()["data"]["books"]["nodes"][0]["title"] == "Committed"


async def test_etag_depends_on_request_and_media_type(http: httpx2.AsyncClient, shop: Shop) -> None:
    await add_book(shop)
    responses = [
        await send_get(http, accept="application/json"),
        await send_get(http, accept=GRAPHQL_JSON),
        await send_get(http, PAGE_QUERY.replace("title", "slug")),
        await http.get("/graphql", params={"query": PAGE_QUERY, "extensions": '{"cost": true}'}),
    ]
    etags = {response.headers["etag"] for response in responses}
    assert len(etags) == 4
    for response in responses[1:]:
        assert (
            await send_get(http, if_none_match=response.headers["etag"], accept="application/json")
        ).status_code == 200


@pytest.mark.parametrize(
    ("value", "status"),
    [
        ("{}", 304), ("W/{}", 304), ('"other", {}', 304), ('W/"a,b" ,W/{}', 304), (",{},", 304), ("*", 304), (" * ", 304),
        ('"other"', 200), ('W/"other"', 200), ("", 200), ("x{}", 200), ("{}x", 200), ('"*"', 200), ("w/{}", 200),
    ],
)  # fmt: skip
async def test_if_none_match(http: httpx2.AsyncClient, shop: Shop, value: str, status: int) -> None:
    """The server responds equally with and without a cached ETag."""
    await add_book(shop)
    if_none_match = value.replace("{}", (await send_get(http)).headers["etag"])
    assert (await send_get(http, if_none_match=if_none_match)).status_code == status
    await add_genre(shop)
    expire_cache(shop)
    assert (await send_get(http, if_none_match=if_none_match)).status_code == status


async def test_multiple_if_none_match_headers(http: httpx2.AsyncClient) -> None:
    etag = (await send_get(http)).headers["etag"]
    lines = [("if-none-match", '"other"'), ("if-none-match", etag)]
    assert (await http.get("/graphql", params={"query": PAGE_QUERY}, headers=lines)).status_code == 304


async def test_etag_depends_on_variables(http: httpx2.AsyncClient, shop: Shop) -> None:
    genres = [await add_genre(shop) for _ in range(2)]
    query = "query ($id: ID!) { genre(by: {id: $id}) { name } }"
    etags: list[str] = []
    for genre in genres:
        variables = f'{{"id": "{to_global_id("Genre", genre.id)}"}}'
        headers = {"if-none-match": etags[0]} if etags else {}
        response = await http.get("/graphql", params={"query": query, "variables": variables}, headers=headers)
        assert response.json() == {"data": {"genre": {"name": genre.name}}}
        etags.append(response.headers["etag"])
    assert etags[0] != etags[1]


async def test_response_without_a_catalog_version_has_no_cached_etag(
    http: httpx2.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def fail(_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(cache, "get_catalog_version", fail)
    book = await add_book(shop)
    etag = (await send_get(http)).headers["etag"]
    assert (await send_get(http, if_none_match=etag)).status_code == 304
    async with shop.database.transaction() as tx:
        await tx.driver_connection.execute("UPDATE books SET price = 1")
    assert (await send_get(http, if_none_match=etag)).json()["data"]["books"]["nodes"][0]["title"] == book.title


async def test_etag_cache_is_bounded(counter: QueryCounter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache, "MAX_CACHED_ETAGS", 2)
    queries = [f"{{ field{number}: genres {{ name }} }}" for number in range(3)]
    async with counter.client.http() as http:
        etags = [(await send_get(http, query)).headers["etag"] for query in queries]
        was_resolved = []
        for query, etag in zip(reversed(queries), reversed(etags), strict=True):
            before = counter.proxy.statements
            assert (await send_get(http, query, etag)).status_code == 304
            was_resolved.append(counter.proxy.statements > before)
    assert was_resolved == [False, False, True]
