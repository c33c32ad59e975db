"""Invalid HTTP requests: BAD_REQUEST with the matching status."""

from collections.abc import AsyncIterator

import httpx2
import pytest

from domain.shop import Shop
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_book

HELLO = b'{"query": "{ __typename }"}'
AS_JSON = {"content-type": "application/json"}
INVALID_BODIES = {
    "nothing": b"",
    "null": b"null",
    "a number": b"0",
    "a string": b'""',
    "a list": b"[]",
    "a batch": b"[" + HELLO + b"]",
    "an empty object": b"{}",
    "invalid UTF-8": b'{"query": "\xff\xfe"}',
    "a lone surrogate": rb'{"query": "{ __typename }", "variables": {"a": "\ud800"}}',
    "half a request": HELLO[:-1],
    "two requests": HELLO + HELLO,
    "lists nested 20,000 deep": b"[" * 20_000 + b"]" * 20_000,
    "objects nested 10,000 deep": b'{"a":' * 10_000 + b"1" + b"}" * 10_000,
    "NaN": b'{"query": "{ __typename }", "variables": {"a": NaN}}',
    "no document": b'{"variables": {}}',
    "an empty document": b'{"query": ""}',
    "a document that is not a string": b'{"query": ["{ __typename }"]}',
    "variables that are a list": b'{"query": "{ __typename }", "variables": []}',
    "variables that are a string": b'{"query": "{ __typename }", "variables": "{}"}',
    "an operation name that is a number": b'{"query": "{ __typename }", "operationName": 1}',
    "an operation name that is a list": b'{"query": "{ __typename }", "operationName": ["a"]}',
    "extensions that are a list": b'{"query": "{ __typename }", "extensions": []}',
}


@pytest.fixture
async def http(client: ApiClient) -> AsyncIterator[httpx2.AsyncClient]:
    async with client.http() as http:
        yield http


def is_rejected(response: httpx2.Response, status: int) -> bool:
    body = response.json()
    return (
        response.status_code == status
        and list(body) == ["errors"]
        and [error["extensions"] for error in body["errors"]] == [{"code": "BAD_REQUEST"}]
    )


@pytest.mark.parametrize("body", INVALID_BODIES.values(), ids=INVALID_BODIES)
async def test_invalid_body_is_rejected(http: httpx2.AsyncClient, body: bytes) -> None:
    assert is_rejected(await http.post("/graphql", content=body, headers=AS_JSON), 400)


@pytest.mark.parametrize(
    "query",
    [
        "",
        "query=",
        "variables={}",
        "query={a}&variables=[]",
        "query={a}&variables={",
        "query={a}&variables=%ff",
    ],
)
async def test_invalid_query_string_is_rejected(http: httpx2.AsyncClient, query: str) -> None:
    assert is_rejected(await http.get(f"/graphql?{query}"), 400)


@pytest.mark.parametrize(
    "content_type",
    [
        "", "text/plain", "application/graphql", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x",
        "application/json; charset=utf-16", "application/jsonp",
    ],
)  # fmt: skip
async def test_unsupported_media_type(http: httpx2.AsyncClient, content_type: str) -> None:
    assert is_rejected(
        await http.post("/graphql", content=HELLO, headers={"content-type": content_type}),
        415,
    )


@pytest.mark.parametrize("accept", ["text/html", "image/*", "application/xml, text/plain"])
async def test_not_acceptable(http: httpx2.AsyncClient, accept: str) -> None:
    assert is_rejected(
        await http.post("/graphql", content=HELLO, headers=AS_JSON | {"accept": accept}),
        406,
    )


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_method_not_allowed(http: httpx2.AsyncClient, method: str) -> None:
    response = await http.request(method, "/graphql", content=HELLO, headers=AS_JSON)
    assert is_rejected(response, 405)
    assert response.headers["allow"] == "GET, POST"


async def test_unserializable_response_is_too_complex(client: ApiClient, shop: Shop) -> None:
    await add_book(shop, authors=("Jane Austen",))
    levels = 60
    document = "{ books { nodes { " + "authors { books { nodes { " * levels + "id" + " } } }" * levels + " } } }"
    async with client.http() as http:
        response = await http.post("/graphql", json={"query": document})
    assert response.json()["errors"][0]["extensions"]["code"] == "QUERY_TOO_COMPLEX"
