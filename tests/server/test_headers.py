"""Headers of every answer, and which scripts from elsewhere may read one."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx2
import pytest
from pydantic import ValidationError

from domain.shop import Shop
from graph import execution
from server.app import create_app
from server.envelope import EVERYWHERE
from server.settings import Settings
from tests.client import Visitor

FRONTEND = "https://www.example.com"
PREFLIGHT = {
    "origin": FRONTEND,
    "access-control-request-method": "POST",
    "access-control-request-headers": "authorization,content-type",
}


@asynccontextmanager
async def served(settings: Settings, **changes: Any) -> AsyncIterator[httpx2.AsyncClient]:
    app = create_app(settings.model_copy(update=changes))
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with (
        app.router.lifespan_context(app),
        httpx2.AsyncClient(base_url="http://shop", transport=transport) as http,
    ):
        yield http


@pytest.fixture
async def http(settings: Settings, shop: Shop) -> AsyncIterator[httpx2.AsyncClient]:
    async with served(settings) as http:
        yield http


async def test_every_answer_has_them(http: httpx2.AsyncClient, monkeypatch: pytest.MonkeyPatch) -> None:
    answers = [
        await http.get("/health"),
        await http.get("/ready"),
        await http.get("/nowhere"),
        await http.put("/health"),
        await http.get("/auth/google"),
        await http.post("/graphql", json={"query": "{ __typename }"}),
        await http.post("/graphql", content=b"x"),
        await http.get("/graphiql/nothing.js"),
    ]

    async def broken(*_: object) -> None:
        raise RuntimeError("secret")

    monkeypatch.setattr(execution, "_admitted", broken)
    answers.append(await http.post("/graphql", json={"query": "{ __typename }"}))
    assert answers[-1].status_code == 500
    assert answers[-1].json()["errors"][0]["extensions"]["code"] == "INTERNAL_SERVER_ERROR"
    assert "secret" not in answers[-1].text
    for answer in answers:
        assert {name: answer.headers.get(name) for name in EVERYWHERE} == EVERYWHERE, answer.request.url
        assert "strict-transport-security" not in answer.headers


async def test_the_playground_keeps_its_own_policy(http: httpx2.AsyncClient) -> None:
    page = await http.get("/graphql", headers={"accept": "text/html"})
    assert "'nonce-" in page.headers["content-security-policy"]
    assert "frame-ancestors 'none'" in page.headers["content-security-policy"]
    assert page.headers["x-content-type-options"] == "nosniff"


async def test_behind_tls_browsers_are_told_to_stay_there(settings: Settings, shop: Shop) -> None:
    async with served(settings, public_url="https://api.example.com") as http:
        assert "max-age=31536000" in (await http.get("/health")).headers["strict-transport-security"]


async def test_without_a_setting_scripts_from_elsewhere_read_nothing(http: httpx2.AsyncClient) -> None:
    preflight = await http.options("/graphql", headers=PREFLIGHT)
    answer = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"origin": FRONTEND})
    assert preflight.status_code == 405
    for response in (preflight, answer):
        assert not [name for name in response.headers if name.startswith("access-control")]


async def test_scripts_of_the_origins_that_are_named_may_ask(settings: Settings, shop: Shop) -> None:
    async with served(settings, cors_origins=[FRONTEND]) as http:
        preflight = await http.options("/graphql", headers=PREFLIGHT)
        assert preflight.status_code == 200
        assert preflight.headers["access-control-allow-origin"] == FRONTEND
        assert preflight.headers["access-control-allow-credentials"] == "true"
        answer = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"origin": FRONTEND})
        assert answer.headers["access-control-allow-origin"] == FRONTEND
        assert "origin" in answer.headers["vary"].lower()
        assert "retry-after" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://www.example.com.evil.org", "http://www.example.com", "null", "https://x"])
async def test_no_others_may(settings: Settings, shop: Shop, origin: str) -> None:
    async with served(settings, cors_origins=[FRONTEND]) as http:
        preflight = await http.options("/graphql", headers=PREFLIGHT | {"origin": origin})
        assert preflight.status_code == 400
        answer = await http.post("/graphql", json={"query": "{ __typename }"}, headers={"origin": origin})
        for response in (preflight, answer):
            assert "access-control-allow-origin" not in response.headers


@pytest.mark.parametrize(
    "origin", ["*", "www.example.com", "https://a.example/path", "https://A.example", "null", "ftp://a"]
)
def test_what_is_no_origin_is_refused_at_the_start(origin: str) -> None:
    with pytest.raises(ValidationError, match="origins"):
        Settings(_env_file=None, cors_origins=f"{FRONTEND}, {origin}")
    assert Settings(_env_file=None, cors_origins=f"{FRONTEND},http://localhost:3000").cors_origins


async def test_forms_are_not_read(visitor: Visitor) -> None:
    """They are what a page can send from anywhere without asking first."""
    async with visitor.http() as http:
        for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=a", "text/plain"):
            response = await http.post(
                "/graphql", content=b'{"query": "{ __typename }"}', headers={"content-type": kind}
            )
            assert response.status_code == 415
