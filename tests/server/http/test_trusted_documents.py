"""Trusted documents over HTTP: IDs in both formats, and the restriction by TRUSTED_DOCUMENTS_ONLY."""

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from graphql import get_introspection_query

from domain.shop import Shop
from graph.execution.documents import DocumentRejected, Documents, sha256
from server.app import create_app
from server.runtime import ConfigurationError
from server.settings import Settings
from tests.support.http.apps import running_http_client
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_book

TITLES = "query Titles($first: Int) { books(first: $first) { nodes { title } } }"
TWO_OPERATIONS = "query First { genres { id } } query Second { __typename }"
ADD_GENRE = 'mutation { createGenre(input: {name: "Fantasy"}) { __typename } }'
UNKNOWN_ID = "0" * 64
GRAPHQL_JSON = "application/graphql-response+json"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "trusted.json"
    path.write_text(json.dumps({sha256(text): text for text in (TITLES, TWO_OPERATIONS, ADD_GENRE)}))
    return path


@pytest.fixture
async def http(settings: Settings, shop: Shop, path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with running_http_client(settings, trusted_documents=path) as http:
        yield http


@pytest.fixture
async def trusted_only_http(settings: Settings, shop: Shop, path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    async with running_http_client(settings, trusted_documents=path, trusted_documents_only=True) as http:
        yield http


def apollo_extensions(hash_: object, version: object = 1) -> dict[str, object]:
    return {"extensions": {"persistedQuery": {"version": version, "sha256Hash": hash_}}}


def get_error_codes(response: httpx2.Response) -> set[str]:
    assert "data" not in response.json()
    return {error["extensions"]["code"] for error in response.json()["errors"]}


# ── Rejected requests ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "payload", [{"documentId": UNKNOWN_ID}, {"documentId": f"sha256:{UNKNOWN_ID}"}, apollo_extensions(UNKNOWN_ID)]
)
async def test_unknown_document_id(
    http: httpx2.AsyncClient, trusted_only_http: httpx2.AsyncClient, client: ApiClient, payload: dict[str, Any]
) -> None:
    async with client.http() as without_list:
        for http_client in (http, trusted_only_http, without_list):
            for accept, status in (("application/json", 200), (GRAPHQL_JSON, 400)):
                response = await http_client.post("/graphql", json=payload, headers={"accept": accept})
                assert (response.status_code, get_error_codes(response)) == (status, {"PERSISTED_QUERY_NOT_FOUND"})
    message = (await http.post("/graphql", json=payload)).json()["errors"][0]["message"]
    assert message == "No trusted document has this ID. Send the document itself as `query`."


@pytest.mark.parametrize(
    "payload",
    [
        {"documentId": 1}, {"documentId": ""}, {"documentId": None}, {"documentId": ["a"]},
        {"extensions": {"persistedQuery": UNKNOWN_ID}}, apollo_extensions(None), apollo_extensions(1),
        apollo_extensions(""), apollo_extensions(UNKNOWN_ID, 2),
        {"documentId": sha256(TITLES)} | apollo_extensions(sha256(TWO_OPERATIONS)),
        {"documentId": sha256(TITLES), "query": ""},
        {"documentId": sha256(TITLES), "query": TITLES + " "},
        {"query": TITLES} | apollo_extensions(sha256(TWO_OPERATIONS)),
        {"query": TITLES} | apollo_extensions(sha256(TITLES), "1"),
    ],
)  # fmt: skip
async def test_missing_or_ambiguous_document(http: httpx2.AsyncClient, payload: dict[str, Any]) -> None:
    response = await http.post("/graphql", json=payload)
    assert (response.status_code, get_error_codes(response)) == (400, {"BAD_REQUEST"})


@pytest.mark.parametrize(
    "text", ["{ __typename }", TITLES + "\n", "{ this is not a document", get_introspection_query()]
)
async def test_trusted_only_rejects_other_documents(
    trusted_only_http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setattr(Documents, "_validate", lambda *_, **__: pytest.fail("the document was validated"))
    for accept, status in (("application/json", 200), (GRAPHQL_JSON, 400)):
        for payload in ({"query": text}, {"query": text} | apollo_extensions(sha256(text))):
            response = await trusted_only_http.post("/graphql", json=payload, headers={"accept": accept})
            assert (response.status_code, get_error_codes(response)) == (status, {"PERSISTED_QUERY_NOT_FOUND"})
            assert "bookstore schema documents" in response.json()["errors"][0]["message"]


async def test_trusted_only_disables_graphiql(trusted_only_http: httpx2.AsyncClient) -> None:
    page = await trusted_only_http.get("/graphql", headers={"accept": "text/html, */*;q=0.1"})
    assert (page.status_code, get_error_codes(page)) == (400, {"BAD_REQUEST"})
    assert (await trusted_only_http.get("/graphiql/graphiql.min.js")).status_code == 404


async def test_trusted_mutation_by_get_is_rejected(trusted_only_http: httpx2.AsyncClient) -> None:
    response = await trusted_only_http.get("/graphql", params={"documentId": sha256(ADD_GENRE)})
    assert (response.status_code, get_error_codes(response)) == (405, {"BAD_REQUEST"})


async def test_trusted_documents_are_charged(settings: Settings, shop: Shop, path: Path) -> None:
    expensive_query = (
        "query ($first: Int) { books(first: $first) { nodes { authors { books(first: 50) { nodes { id } } } } } }"
    )
    path.write_text(json.dumps({"expensive": expensive_query}))
    async with running_http_client(
        settings, trusted_documents=path, rate_limit_burst=20_000, rate_limit_per_second=1
    ) as http:
        payload = {"documentId": "expensive", "variables": {"first": 100}}
        assert get_error_codes(await http.post("/graphql", json=payload)) == {"QUERY_TOO_COMPLEX"}
        rejected_responses = [await http.post("/graphql", json={"documentId": UNKNOWN_ID}) for _ in range(1_001)]
    assert get_error_codes(rejected_responses[-1]) == {"RATE_LIMITED"}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "is not valid JSON"),
        ("[]", "is not an object of documents"),
        ('{"a": 1}', "is not an object of documents"),
        ('{"format": "apollo-persisted-query-manifest"}', "is not an object of documents"),
        ('{"format": "apollo-persisted-query-manifest", "operations": [{"id": "a"}]}', "is not an object of documents"),
        ("{}", "has no documents"),
        (json.dumps({UNKNOWN_ID: TITLES}), "is not the SHA-256 of its document"),
        (json.dumps({"a": "query {\n  boks { id } }"}), "document a: line 2:3: Cannot query field 'boks'"),
        (json.dumps({"a": "{ books {"}), "document a: line 1:10: Syntax Error"),
        (json.dumps({"a": "{ __schema { types { name } } }"}), "introspection has been disabled"),
        (json.dumps({"a": "{ __typename }" + " " * 10_000}), "more than 10,000 characters"),
    ],
)
async def test_invalid_list_prevents_startup(settings: Settings, path: Path, content: str, message: str) -> None:
    path.write_text(content)
    with pytest.raises(ConfigurationError) as error_info:
        create_app(settings.model_copy(update={"trusted_documents": path}))
    assert str(error_info.value).startswith(f"TRUSTED_DOCUMENTS: {path}")
    assert message in str(error_info.value)


async def test_missing_list_prevents_startup(settings: Settings, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read: No such file"):
        create_app(settings.model_copy(update={"trusted_documents": tmp_path / "nowhere.json"}))


# ── Executed documents ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "reference",
    [
        {"documentId": sha256(TITLES)},
        {"documentId": f"sha256:{sha256(TITLES)}"},
        apollo_extensions(sha256(TITLES)),
        {"documentId": sha256(TITLES)} | apollo_extensions(sha256(TITLES)),
        {"query": TITLES} | apollo_extensions(sha256(TITLES)),
        {"query": TITLES},
    ],
)
async def test_trusted_document_is_executed(
    http: httpx2.AsyncClient, trusted_only_http: httpx2.AsyncClient, shop: Shop, reference: dict[str, Any]
) -> None:
    await add_book(shop, "The Hobbit")
    payload = reference | {"variables": {"first": 1}, "operationName": "Titles"}
    for client in (http, trusted_only_http):
        by_post = await client.post("/graphql", json=payload)
        query_parameters = {
            name: value if isinstance(value, str) else json.dumps(value) for name, value in payload.items()
        }
        by_get = await client.get(
            "/graphql", params=query_parameters, headers={"accept": "text/html, application/json;q=0.9"}
        )
        for response in (by_post, by_get):
            assert response.json() == {"data": {"books": {"nodes": [{"title": "The Hobbit"}]}}}


async def test_operation_is_selected_by_name(trusted_only_http: httpx2.AsyncClient) -> None:
    payload = {"documentId": sha256(TWO_OPERATIONS), "operationName": "Second"}
    assert (await trusted_only_http.post("/graphql", json=payload)).json() == {"data": {"__typename": "Query"}}


async def test_other_documents_are_allowed_by_default(client: ApiClient, http: httpx2.AsyncClient) -> None:
    """Without a list, a correct hash next to the document is accepted, too."""
    async with client.http() as without_list:
        for http_client in (http, without_list):
            for payload in (
                {"query": "{ __typename }"},
                {"query": "{ __typename }"} | apollo_extensions(sha256("{ __typename }")),
            ):
                assert (await http_client.post("/graphql", json=payload)).json() == {"data": {"__typename": "Query"}}


async def test_manifest_formats_of_other_tools(settings: Settings, shop: Shop, path: Path) -> None:
    """Documents of Apollo's manifest are found by their id and by their SHA-256."""
    operation = {"id": "titles", "name": "Titles", "type": "query", "body": TITLES}
    for manifest in (
        {"format": "apollo-persisted-query-manifest", "version": 1, "operations": [operation]},
        {"titles": TITLES},
        {f"sha256:{sha256(TITLES)}": TITLES, "titles": TITLES},
    ):
        path.write_text(json.dumps(manifest))
        async with running_http_client(settings, trusted_documents=path, trusted_documents_only=True) as http:
            for id_ in ("titles", sha256(TITLES)):
                response = await http.post("/graphql", json={"documentId": id_})
                assert response.json() == {"data": {"books": {"nodes": []}}}


def test_documents_are_loaded_once_and_never_evicted(monkeypatch: pytest.MonkeyPatch) -> None:
    documents = Documents(introspection=True)
    trusted_document = documents.register_trusted(TITLES)
    monkeypatch.setattr("graph.execution.documents.MAX_CACHED_CHARACTERS", 1_000)
    documents_before = [documents.get(f"{{ field{number}: __typename }}") for number in range(100)]
    assert documents.get("{ field0: __typename }") is not documents_before[0]
    assert (
        documents.get(TITLES)
        is documents.find_trusted(sha256(TITLES))
        is documents.register_trusted(TITLES, "a")
        is trusted_document
    )


def test_too_expensive_document_is_rejected() -> None:
    expensive_query = (
        "query ($n: Int = %d) { books(first: $n) { nodes { authors { books(first: 100) { nodes { id } } } } } }"
    )
    documents = Documents(introspection=True)
    with pytest.raises(DocumentRejected):
        documents.register_trusted(expensive_query % 100)
    assert documents.register_trusted(expensive_query % 20)
