"""Security headers of all responses, and CORS."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from domain.shop import Shop
from graph.execution import execute
from server.http.middleware import SECURITY_HEADERS
from server.settings import Settings
from tests.support.http.apps import running_app
from tests.support.http.client import ApiClient

FRONTEND = "https://www.example.com"
PREFLIGHT = {
    "origin": FRONTEND,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


@asynccontextmanager
async def running_server(settings: Settings, **overrides: Any) -> AsyncIterator[httpx2.AsyncClient]:
    """Run an application that responds to exceptions as a server does."""
    async with running_app(settings, **overrides) as app:
        transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
        async with httpx2.AsyncClient(base_url="http://shop", transport=transport) as http:
            yield http


@pytest.fixture
async def http(settings: Settings, shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    async with running_server(settings) as http:
        yield http


async def test_every_response_has_security_headers(http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    responses = [
        await http.get("/health"),
        await http.get("/ready"),
        await http.get("/nowhere"),
        await http.put("/health"),
        await http.get("/auth/google"),
        await http.post("/graphql", json={"query": "{ __typename }"}),
        await http.post("/graphql", content=b"x"),
        await http.get("/graphiql/nothing.js"),
    ]

    async def raise_error(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(execute, "_charge", raise_error)
    responses.append(await http.post("/graphql", json={"query": "{ __typename }"}))
    assert responses[-1].status_code == 500
    assert responses[-1].json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "secret" not in responses[-1].text
    for response in responses:
        assert {name: response.headers.get(name) for name in SECURITY_HEADERS} == SECURITY_HEADERS, response.request.url
        assert "strict-transport-security" not in response.headers


async def test_graphiql_keeps_its_own_csp(http: httpx2.AsyncClient) -> None:
    page = await http.get("/graphql", headers={"accept": "text/html"})
    assert "'nonce-" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_hsts_behind_tls(settings: Settings, shop: Shop) -> None:
    async with running_server(settings, public_url="https://api.example.com") as http:
        assert "max-age=31536000" in (await http.get("/health")).headers["strict-transport-security"]


async def test_no_cors_by_default(http: httpx2.AsyncClient) -> None:
    preflight = await http.options("/graphql", headers=PREFLIGHT)
    cors_response = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"origin": FRONTEND})
    assert preflight.status_code == 405
    for response in (preflight, cors_response):
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_configured_origins_are_allowed(settings: Settings, shop: Shop) -> None:
    async with running_server(settings, cors_origins=[FRONTEND]) as http:
        preflight = await http.options("/graphql", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == FRONTEND
        assert preflight.headers["access-control-allow-credentials"] == "true"
        cors_response = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"origin": FRONTEND})
        assert cors_response.headers["access-control-allow-origin"] == FRONTEND
        assert "origin" in cors_response.headers["vary"].lower()
        assert "retry-after" in cors_response.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://www.example.com.evil.org", "http://www.example.com", "null", "https://x"])
async def test_other_origins_are_not_allowed(settings: Settings, shop: Shop, origin: str) -> None:
    async with running_server(settings, cors_origins=[FRONTEND]) as http:
        preflight = await http.options("/graphql", headers=PREFLIGHT | {"origin": origin})
        assert preflight.status_code == 400
        cors_response = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"origin": origin})
        for response in (preflight, cors_response):
            assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "origin", ["*", "www.example.com", "https://a.example/path", "https://A.example", "null", "ftp://a"]
)
def test_invalid_origin_is_rejected_at_startup(origin: str) -> None:
    with pytest.raises(ValidationError, match="origins"):
        Settings(_env_file=None, cors_origins=f"{FRONTEND}, {origin}")
    assert Settings(_env_file=None, cors_origins=f"{FRONTEND},http://localhost:3000").cors_origins


async def test_form_requests_are_rejected(client: ApiClient) -> None:
    """Pages of any origin can send these without a preflight request."""
    async with client.http() as http:
        for content_type in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "text/plain"):
            response = await http.post(
                "/graphql", content=b'{"query": "{ __typename }"}', headers={"content-type": content_type}
            )
            assert response.status_code == 415
