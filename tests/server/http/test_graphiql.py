"""GraphiQL is served without foreign resources, under a strict Content-Security-Policy."""

import json
import re
from collections.abc import AsyncIterator

import httpx2
import pytest
from graphql import OperationDefinitionNode, parse, validate

from graph.schema import schema
from server.http import graphiql
from server.settings import Settings
from tests.support.http.apps import running_http_client
from tests.support.http.client import ApiClient

BROWSER_HEADERS = {"accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"}


@pytest.fixture
async def http(client: ApiClient) -> AsyncIterator[httpx2.AsyncClient]:
    async with client.http() as http:
        yield http


async def test_browser_gets_page_and_assets(http: httpx2.AsyncClient) -> None:
    page = await http.get("/graphql", headers=BROWSER_HEADERS)
    assert page.status_code == 200
    assert page.headers["content-type"].startswith("text/html")
    files = re.findall(r'(?:src|href)="(/[^"]+)"', page.text)
    assert len(files) == 4
    for file in files:
        assert (await http.get(file)).status_code == 200, file


async def test_no_external_resources(http: httpx2.AsyncClient) -> None:
    page = await http.get("/graphql", headers=BROWSER_HEADERS)
    assert re.findall(r'(?:src|href)="(?!/[^/]|data:,)', page.text) == []


async def test_csp_nonce_of_the_response(
    http: httpx2.AsyncClient,
) -> None:
    pages = [await http.get("/graphql", headers=BROWSER_HEADERS) for _ in range(2)]
    nonces = []
    for page in pages:
        policy = dict(part.split(" ", 1) for part in page.headers["content-security-policy"].split("; "))
        assert policy["default-src"] == "'none'"
        assert policy["connect-src"] == "'self'"
        [nonce] = re.fullmatch(r"'nonce-([\w-]{20,})'", policy["script-src"]).groups()  # type: ignore[union-attr]  # must match
        scripts = re.findall(r"<script([^>]*)>", page.text)
        assert scripts
        assert all(f'nonce="{nonce}"' in script for script in scripts)
        nonces.append(nonce)
    assert nonces[0] != nonces[1]


async def test_api_clients_do_not_get_the_page(http: httpx2.AsyncClient) -> None:
    response = await http.get("/graphql", headers={"accept": "application/json"})
    assert response.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
    query_response = await http.get("/graphql", params={"query": "{ __typename }"}, headers=BROWSER_HEADERS)
    assert query_response.json() == {"data": {"__typename": "Query"}}


@pytest.mark.parametrize(
    "path",
    ["/graphiql/../app.py", "/graphiql/..%2fpage.html", "/graphiql/%2e%2e/__init__.py"],
)
async def test_no_other_file_is_served(http: httpx2.AsyncClient, path: str) -> None:
    assert (await http.get(path)).status_code == 404


async def test_disabled_graphiql(settings: Settings) -> None:
    async with running_http_client(settings, graphiql=False) as http:
        page = await http.get("/graphql", headers=BROWSER_HEADERS)
        assert page.json()["errors"][0]["extensions"]["code"] == "BAD_REQUEST"
        assert (await http.get("/graphiql/graphiql.min.js")).status_code == 404


def test_tab_operations_are_valid_and_have_variables() -> None:
    operations = sorted((graphiql.STATIC.parent / "operations").glob("*.graphql"))
    assert len(operations) == 9
    for path in operations:
        document = parse(path.read_text("utf-8"))
        assert validate(schema._schema, document) == [], path.name
        variables_path = path.with_suffix(".json")
        variable_names = set(json.loads(variables_path.read_text("utf-8"))) if variables_path.exists() else set()
        declared_names = {
            variable.variable.name.value
            for operation in document.definitions
            if isinstance(operation, OperationDefinitionNode)
            for variable in operation.variable_definitions or ()
        }
        assert variable_names == declared_names, path.name
