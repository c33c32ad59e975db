"""The endpoint follows GraphQL over HTTP: GET and POST, two media types, and status codes."""

import json
from collections.abc import AsyncIterator

import asyncpg
import httpx2
import pytest

from domain.shop import Shop
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_admin, add_book

GRAPHQL_JSON = "application/graphql-response+json"
BOOKS = "query Titles($first: Int) { books(first: $first) { nodes { title } } }"
TWO_OPERATIONS = "query First { genres { id } } query Second { __typename }"
ADD_GENRE = 'mutation { createGenre(input: {name: "Fantasy"}) { __typename } }'


@pytest.fixture
async def http(client: ApiClient, shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    await add_book(shop, "The Hobbit")
    async with client.http() as http:
        yield http


async def test_a_query_by_post(http: httpx2.AsyncClient) -> None:
    response = await http.post(
        "/graphql",
        json={"query": BOOKS, "variables": {"first": 1}, "operationName": "Titles"},
    )
    assert response.status_code == 200
    assert response.json() == {"data": {"books": {"nodes": [{"title": "The Hobbit"}]}}}
    assert response.headers["cache-control"] == "private, no-store"


async def test_a_query_by_get(http: httpx2.AsyncClient) -> None:
    payload = {
        "query": BOOKS,
        "variables": json.dumps({"first": 1}),
        "operationName": "Titles",
    }
    response = await http.get("/graphql", params=payload)
    assert response.status_code == 200
    assert response.json() == {"data": {"books": {"nodes": [{"title": "The Hobbit"}]}}}


async def test_null_parameters_are_omitted(http: httpx2.AsyncClient) -> None:
    payload = {
        "query": "{ __typename }",
        "variables": None,
        "operationName": None,
        "extensions": None,
    }
    assert (await http.post("/graphql", json=payload)).json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("accept", ["application/json", GRAPHQL_JSON])
async def test_mutation_by_get_is_rejected(
    http: httpx2.AsyncClient, shop: Shop, postgres: asyncpg.Connection, accept: str
) -> None:
    token = (await add_admin(shop)).token
    headers = {"accept": accept, "authorization": f"Bearer {token}"}
    for query in (
        ADD_GENRE,
        ADD_GENRE.replace("mutation", "mutation Add") + " query Look { __typename }",
    ):
        response = await http.get("/graphql", params={"query": query, "operationName": "Add"}, headers=headers)
        if "Add" not in query:
            response = await http.get("/graphql", params={"query": query}, headers=headers)
        assert response.status_code == 405
        assert response.headers["allow"] == "POST"
        assert response.json()["errors"][0]["extensions"] == {"code": "BAD_REQUEST"}
        assert "data" not in response.json()
    assert await postgres.fetchval("SELECT count(*) FROM genres") == 0


async def test_operation_is_selected_by_name(
    http: httpx2.AsyncClient,
) -> None:
    response = await http.post("/graphql", json={"query": TWO_OPERATIONS, "operationName": "Second"})
    assert response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize("name", [None, "Third", ""])
async def test_missing_or_unknown_operation_name(http: httpx2.AsyncClient, name: str | None) -> None:
    response = await http.post("/graphql", json={"query": TWO_OPERATIONS, "operationName": name})
    assert [error["extensions"]["code"] for error in response.json()["errors"]] == ["BAD_USER_INPUT"]
    assert "data" not in response.json()


@pytest.mark.parametrize(
    ("accept", "media_type"),
    [
        ("", "application/json"),
        ("*/*", "application/json"),
        ("application/*", "application/json"),
        ("application/json", "application/json"),
        ("text/html, application/json;q=0.5", "application/json"),
        (GRAPHQL_JSON, GRAPHQL_JSON),
        (f"application/json, {GRAPHQL_JSON}", GRAPHQL_JSON),
    ],
)
async def test_media_type_follows_accept(http: httpx2.AsyncClient, accept: str, media_type: str) -> None:
    response = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"accept": accept})
    assert response.headers["content-type"] == f"{media_type}; charset=utf-8"
    assert response.status_code == 200


REJECTED_DOCUMENTS = {
    "{": "GRAPHQL_PARSE_FAILED",
    "{ nothing }": "GRAPHQL_VALIDATION_FAILED",
    "subscription { books }": "GRAPHQL_VALIDATION_FAILED",
    "query ($first: Int!) { books(first: $first) { totalCount } }": "BAD_USER_INPUT",
    "{ a" + " a" * 1_000 + " }": "QUERY_TOO_COMPLEX",
    "{ __typename }" + " " * 10_000: "QUERY_TOO_COMPLEX",
    "{ a" + " { a" * 400 + " }" * 401: "QUERY_TOO_COMPLEX",
}


@pytest.mark.parametrize(("document", "code"), REJECTED_DOCUMENTS.items(), ids=range(len(REJECTED_DOCUMENTS)))
async def test_status_of_documents_not_executed(http: httpx2.AsyncClient, document: str, code: str) -> None:
    for accept, status in (("application/json", 200), (GRAPHQL_JSON, 400)):
        response = await http.post("/graphql", json={"query": document}, headers={"accept": accept})
        assert response.status_code == status
        assert {error["extensions"]["code"] for error in response.json()["errors"]} == {code}
        assert "data" not in response.json()


async def test_partial_response_has_status_200(http: httpx2.AsyncClient) -> None:
    for accept in ("application/json", GRAPHQL_JSON):
        payload = {"query": '{ genres { id } node(id: "x") { id } }'}
        response = await http.post("/graphql", json=payload, headers={"accept": accept})
        assert response.status_code == 200
        assert response.json()["data"] == {"genres": [], "node": None}
        assert response.json()["errors"][0]["path"] == ["node"]


async def test_every_response_has_a_request_id(http: httpx2.AsyncClient) -> None:
    responses = [
        await http.post("/graphql", json={"query": "{ __typename }"}),
        await http.post("/graphql", content=b"null"),
        await http.get("/health"),
        await http.get("/nowhere"),
    ]
    ids = [response.headers["x-request-id"] for response in responses]
    assert len(set(ids)) == 4
    assert all(response.headers["x-content-type-options"] == "nosniff" for response in responses)


async def test_health_needs_no_database(http: httpx2.AsyncClient) -> None:
    response = await http.get("/health")
    assert (response.status_code, response.json()) == (200, {"status": "ok"})
