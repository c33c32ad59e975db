"""HTTP for caches: what they may keep of what visitors ask, for how long, and when it is still the same."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
import pytest

from domain.shop import Shop
from graph.fields import MINUTE
from graph.ids import global_id
from persistence.faults import Unavailable
from server import caching
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor
from tests.counting import Counter, counting
from tests.factories import add_administrator, add_book, add_genre, add_member, book_id

PAGE = "{ books(first: 20) { totalCount nodes { title stockQuantity authors { name } price { amount } } } }"
GENRES = "{ genres { name slug } }"
GRAPHQL_JSON = "application/graphql-response+json"
PRIVATE, ONE_SECOND = "private, no-store", "public, max-age=0, s-maxage=1, must-revalidate"
RAISE = 'mutation ($id: ID!) { updateBook(input: {bookId: $id, price: "99.00"}) { __typename } }'
VERSION_STATEMENTS = 2


@pytest.fixture
async def http(visitor: Visitor, shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    async with visitor.http() as http:
        yield http


@pytest.fixture
async def counter(shop: Shop, settings: Settings) -> AsyncIterator[Counter]:
    async with counting(settings) as counter:
        yield counter


@asynccontextmanager
async def served(settings: Settings, **changes: Any) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(settings.model_copy(update=changes))
    async with app.router.lifespan_context(app), Visitor(app).http() as http:
        yield http


async def get(http: httpx2.AsyncClient, query: str = PAGE, known: str | None = None, **headers: str) -> httpx2.Response:
    given = headers | ({"if-none-match": known} if known is not None else {})
    return await http.get("/graphql", params={"query": query}, headers=given)


def a_second_passes(shop: Shop) -> None:
    """For everything that may be a second old."""
    shop.counts.clear()


def private(response: httpx2.Response) -> bool:
    return response.headers["cache-control"] == PRIVATE and "etag" not in response.headers


# ── What no cache may keep ────────────────────────────────────────────────────────────────


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
async def test_an_answer_that_is_not_for_everybody_or_has_an_error(http: httpx2.AsyncClient, query: str) -> None:
    for known in (None, "*"):
        response = await get(http, query, known)
        assert response.status_code != 304
        assert private(response)


@pytest.mark.parametrize("authorization", ["Bearer {token}", "Bearer x", "Basic YTpi", "", "Bearer"])
async def test_an_answer_to_somebody(http: httpx2.AsyncClient, shop: Shop, authorization: str) -> None:
    etag = (await get(http)).headers["etag"]
    told = authorization.format(token=(await add_member(shop)).token)
    for known in (None, etag, "*"):
        response = await get(http, known=known, authorization=told)
        assert response.status_code == 200
        assert private(response)


async def test_an_answer_by_post(http: httpx2.AsyncClient) -> None:
    etag = (await get(http)).headers["etag"]
    response = await http.post("/graphql", json={"query": PAGE}, headers={"if-none-match": etag})
    assert response.status_code == 200
    assert private(response)


async def test_what_is_no_request(http: httpx2.AsyncClient) -> None:
    for response in (
        await http.get("/graphql"),
        await get(http, accept="image/png"),
        await http.head("/graphql", params={"query": PAGE}),
        await http.get("/graphql", params={"documentId": "unknown"}),
        await http.get("/graphql", headers={"accept": "text/html"}),
    ):
        assert private(response), response.text


async def test_an_answer_that_the_budget_does_not_pay(settings: Settings, shop: Shop) -> None:
    """To learn that nothing changed costs 1, and not even that is there."""
    async with served(settings, rate_limit_burst=20_000, rate_limit_per_second=1) as http:
        etag = (await get(http, PAGE.replace("20", "100"))).headers["etag"]
        for _ in range(100):
            assert (await get(http, PAGE.replace("20", "100"), etag)).status_code == 304
        while (response := await get(http, PAGE.replace("20", "100"))).status_code == 200:
            pass
        assert response.status_code == 429
        assert private(response)
        refused = await get(http, PAGE.replace("20", "100"), etag)
    assert (refused.status_code, private(refused)) == (429, True)


# ── What they may keep ────────────────────────────────────────────────────────────────────


async def test_a_visitors_page_of_the_catalogue(http: httpx2.AsyncClient, shop: Shop) -> None:
    await add_book(shop)
    response = await get(http)
    assert response.status_code == 200
    assert response.headers["cache-control"] == ONE_SECOND
    assert response.headers["vary"] == "accept, authorization"
    assert response.headers["etag"].startswith('"')
    assert response.headers["etag"].endswith('"')
    assert "set-cookie" not in response.headers


async def test_names_of_shelves_longer(http: httpx2.AsyncClient, shop: Shop) -> None:
    await add_genre(shop)
    assert (await get(http, GENRES)).headers[
        "cache-control"
    ] == f"public, max-age=0, s-maxage={MINUTE}, must-revalidate"


@pytest.mark.parametrize("seconds", [0, 30])
async def test_a_setting_has_the_last_word(settings: Settings, shop: Shop, seconds: int) -> None:
    async with served(settings, cache_seconds=seconds) as http:
        for query in (PAGE, GENRES):
            told = (await get(http, query)).headers["cache-control"]
            assert told == f"public, max-age=0, s-maxage={seconds}, must-revalidate"
        assert private(await get(http, "{ me { id } }"))


async def test_where_scripts_from_elsewhere_may_ask_the_origin_matters(settings: Settings, shop: Shop) -> None:
    """Without it a cache would hand what it keeps for one origin to another, or to none."""
    origin = "https://www.example.com"
    async with served(settings, cors_origins=[origin]) as http:
        etag = (await get(http)).headers["etag"]
        for response in (await get(http), await get(http, origin=origin), await get(http, known=etag, origin=origin)):
            told = {name.strip().lower() for name in response.headers["vary"].split(",")}
            assert told == {"accept", "authorization", "origin"}


async def test_a_cookie_changes_nothing_of_what_visitors_see(settings: Settings, shop: Shop) -> None:
    async with served(settings, refresh_token_cookie=True) as http:
        plain, with_cookie = await get(http), await get(http, cookie="refresh_token=abc")
    assert plain.headers["etag"] == with_cookie.headers["etag"]
    assert "set-cookie" not in with_cookie.headers


async def test_trusted_documents_by_get(settings: Settings, shop: Shop, tmp_path: Any) -> None:
    (tmp_path / "list.json").write_text('{"genres": "{ genres { name } }"}')
    async with served(settings, trusted_documents=tmp_path / "list.json", trusted_documents_only=True) as http:
        response = await http.get("/graphql", params={"documentId": "genres"})
        assert response.headers["cache-control"] == f"public, max-age=0, s-maxage={MINUTE}, must-revalidate"
        headers = {"if-none-match": response.headers["etag"]}
        assert (await http.get("/graphql", params={"documentId": "genres"}, headers=headers)).status_code == 304


# ── Still the same ────────────────────────────────────────────────────────────────────────


async def test_what_has_not_changed_is_not_resolved_again(counter: Counter, shop: Shop) -> None:
    await add_book(shop, authors=("Jane Austen",))
    async with counter.visitor.http() as http:
        first = await get(http)
        before = counter.wire.statements
        again = await get(http, known=first.headers["etag"])
        assert counter.wire.statements == before
        a_second_passes(counter.shop)
        later = await get(http, known=first.headers["etag"])
        assert counter.wire.statements == before + VERSION_STATEMENTS
    for response in (again, later):
        assert (response.status_code, response.content) == (304, b"")
        assert "content-type" not in response.headers
        for name in ("etag", "cache-control", "vary"):
            assert response.headers[name] == first.headers[name]


async def test_a_new_price_is_told(http: httpx2.AsyncClient, visitor: Visitor, shop: Shop) -> None:
    book, manager = await add_book(shop), visitor.signed_in((await add_administrator(shop)).token)
    etag = (await get(http)).headers["etag"]
    assert not (await manager.ask(RAISE, id=book_id(book))).errors
    a_second_passes(shop)
    changed = await get(http, known=etag)
    assert changed.status_code == 200
    assert changed.json()["data"]["books"]["nodes"][0]["price"]["amount"] == "99.00"
    assert changed.headers["etag"] != etag
    assert (await get(http, known=etag)).status_code == 200
    assert (await get(http, known=changed.headers["etag"])).status_code == 304


async def test_a_change_elsewhere_leaves_the_etag(http: httpx2.AsyncClient, shop: Shop) -> None:
    """It is resolved again, once, and found to be the same to the byte."""
    await add_book(shop)
    etag = (await get(http)).headers["etag"]
    await add_genre(shop)
    a_second_passes(shop)
    assert (await get(http, known=etag)).status_code == 304
    assert (await get(http)).headers["etag"] == etag


async def test_a_count_is_no_older_than_the_version_it_is_told_with(
    http: httpx2.AsyncClient, visitor: Visitor, shop: Shop
) -> None:
    """Or a count of a second ago would be said to be unchanged until something else changes."""
    await add_book(shop)
    assert (await visitor.ask(PAGE))["books"]["totalCount"] == 1
    await add_book(shop)
    assert (await get(http)).json()["data"]["books"]["totalCount"] == 2


async def test_what_is_changed_but_not_committed_is_told_when_it_is(
    http: httpx2.AsyncClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_book(shop)
    async with postgres.transaction():
        await postgres.execute("UPDATE books SET title = 'Committed'")
        early = await get(http)
        assert (await get(http, known=early.headers["etag"])).status_code == 304
        a_second_passes(shop)
        assert (await get(http, known=early.headers["etag"])).status_code == 304
    a_second_passes(shop)
    late = await get(http, known=early.headers["etag"])
    assert late.json()["data"]["books"]["nodes"][0]["title"] == "Committed"


async def test_another_question_or_media_type_has_another_name(http: httpx2.AsyncClient, shop: Shop) -> None:
    await add_book(shop)
    responses = [
        await get(http, accept="application/json"),
        await get(http, accept=GRAPHQL_JSON),
        await get(http, PAGE.replace("title", "slug")),
        await http.get("/graphql", params={"query": PAGE, "extensions": '{"cost": true}'}),
    ]
    etags = {response.headers["etag"] for response in responses}
    assert len(etags) == 4
    for response in responses[1:]:
        assert (await get(http, known=response.headers["etag"], accept="application/json")).status_code == 200


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ("{}", 304), ("W/{}", 304), ('"other", {}', 304), ('W/"a,b" ,W/{}', 304), (",{},", 304), ("*", 304), (" * ", 304),
        ('"other"', 200), ('W/"other"', 200), ("", 200), ("x{}", 200), ("{}x", 200), ('"*"', 200), ("w/{}", 200),
    ],
)  # fmt: skip
async def test_if_none_match(http: httpx2.AsyncClient, shop: Shop, told: str, status: int) -> None:
    """Alike from memory and where the answer had to be made again."""
    await add_book(shop)
    known = told.replace("{}", (await get(http)).headers["etag"])
    assert (await get(http, known=known)).status_code == status
    await add_genre(shop)
    a_second_passes(shop)
    assert (await get(http, known=known)).status_code == status


async def test_several_lines_of_if_none_match(http: httpx2.AsyncClient) -> None:
    etag = (await get(http)).headers["etag"]
    lines = [("if-none-match", '"other"'), ("if-none-match", etag)]
    assert (await http.get("/graphql", params={"query": PAGE}, headers=lines)).status_code == 304


async def test_variables_are_part_of_the_question(http: httpx2.AsyncClient, shop: Shop) -> None:
    genres = [await add_genre(shop) for _ in range(2)]
    query = "query ($id: ID!) { genre(by: {id: $id}) { name } }"
    etags: list[str] = []
    for genre in genres:
        variables = f'{{"id": "{global_id("Genre", genre.id)}"}}'
        headers = {"if-none-match": etags[0]} if etags else {}
        response = await http.get("/graphql", params={"query": query, "variables": variables}, headers=headers)
        assert response.json() == {"data": {"genre": {"name": genre.name}}}
        etags.append(response.headers["etag"])
    assert etags[0] != etags[1]


async def test_without_a_version_it_is_answered_and_not_remembered(
    http: httpx2.AsyncClient, shop: Shop, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def away(_: object) -> None:
        raise Unavailable

    monkeypatch.setattr(caching, "catalog_version", away)
    book = await add_book(shop)
    etag = (await get(http)).headers["etag"]
    assert (await get(http, known=etag)).status_code == 304
    async with shop.database.transaction() as tx:
        await tx.driver.execute("UPDATE books SET price = 1")
    assert (await get(http, known=etag)).json()["data"]["books"]["nodes"][0]["title"] == book.title


async def test_what_is_remembered_is_bounded(counter: Counter, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(caching, "MOST_REMEMBERED", 2)
    questions = [f"{{ it{number}: genres {{ name }} }}" for number in range(3)]
    async with counter.visitor.http() as http:
        etags = [(await get(http, question)).headers["etag"] for question in questions]
        resolved = []
        for question, etag in zip(reversed(questions), reversed(etags), strict=True):
            before = counter.wire.statements
            assert (await get(http, question, etag)).status_code == 304
            resolved.append(counter.wire.statements > before)
    assert resolved == [False, False, True]
