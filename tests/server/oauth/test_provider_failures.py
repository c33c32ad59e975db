"""Failures of providers and of the database during a sign-in: an error code, never an internal error."""

import asyncio
import json
import threading
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import asyncpg
import pytest
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response, StreamingResponse

from domain.shop import Shop
from server.oauth import http
from server.settings import Settings
from tests.support.auth.oauth_flow import app_with_providers, assert_login_rejected, complete_login, get_login_code
from tests.support.auth.oauth_providers import FakeGitHub, FakeOAuthProvider, FakeOpenIDProvider
from tests.support.auth.sessions import try_login
from tests.support.database.locks import hold_lock
from tests.support.http.browser import Browser, open_browser
from tests.support.http.client import ApiClient
from tests.support.processes.ports import find_free_port
from tests.support.shop.factories import add_user

CALLBACK = "/auth/github/callback"


def _respond_late() -> Response:
    time.sleep(2)  # longer than the timeout in this test
    return PlainTextResponse("late")


RESPONSES: dict[str, Callable[[], Response]] = {
    "an error": lambda: PlainTextResponse("Bad gateway", 502),
    "HTML": lambda: PlainTextResponse("<html>"),
    "invalid UTF-8": lambda: Response(b"\xff\xfe\x00"),
    "an empty body": lambda: Response(b""),
    "null": lambda: JSONResponse(None),
    "a list": lambda: JSONResponse([1]),
    "a number": lambda: JSONResponse(7),
    "an empty object": lambda: JSONResponse({}),
    "another object": lambda: JSONResponse({"id": [], "issuer": 1, "access_token": {}, "id_token": None, "keys": 1}),
    "a deeply nested list": lambda: Response("[" * 100_000),
    "a redirect": lambda: RedirectResponse("https://attacker.test", 302),
    "hanging": _respond_late,
}
DISCOVERY_PATHS = ["/.well-known/openid-configuration", "/jwks"]
LOGIN_PATHS = [
    ("google", "/token"),
    ("github", "/login/oauth/access_token"),
    ("github", "/user"),
    ("github", "/user/emails"),
]


async def _assert_fails_then_recovers(
    browser: Browser,
    provider: FakeOAuthProvider,
    name: str,
    path: str,
    response_name: str,
    postgres: asyncpg.Connection,
) -> None:
    provider.overrides[path] = RESPONSES[response_name]
    assert await assert_login_rejected(postgres, await browser.http.get(f"/auth/{name}")) == "provider_unavailable"
    assert path in provider.requested_paths
    del provider.overrides[path]  # the failure is not cached
    assert await complete_login(browser, await browser.http.get(f"/auth/{name}"))


@pytest.fixture
def short_timeout(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http, "REQUEST_TIMEOUT", 1)


@pytest.mark.parametrize("response_name", RESPONSES)
@pytest.mark.parametrize(("name", "path"), LOGIN_PATHS)
async def test_failing_provider(
    browser: Browser,
    google: FakeOpenIDProvider,
    github: FakeGitHub,
    postgres: asyncpg.Connection,
    short_timeout: None,
    name: str,
    path: str,
    response_name: str,
) -> None:
    provider: FakeOAuthProvider = google if name == "google" else github
    await _assert_fails_then_recovers(browser, provider, name, path, response_name, postgres)


@pytest.mark.parametrize("response_name", RESPONSES)
@pytest.mark.parametrize("path", DISCOVERY_PATHS)
async def test_failing_discovery(
    settings: Settings,
    shop: Shop,
    google: FakeOpenIDProvider,
    postgres: asyncpg.Connection,
    short_timeout: None,
    path: str,
    response_name: str,
) -> None:
    async with app_with_providers(settings, google.url) as app, open_browser(app) as browser:
        await _assert_fails_then_recovers(browser, google, "google", path, response_name, postgres)


async def test_slow_provider(
    browser: Browser, github: FakeGitHub, postgres: asyncpg.Connection, short_timeout: None
) -> None:
    """Each byte arrives in time, but the whole response takes too long."""

    async def stream_slowly() -> AsyncIterator[bytes]:
        for _ in range(25):
            yield b" "
            await asyncio.sleep(0.1)
        yield json.dumps(github.user).encode()

    github.overrides["/user"] = lambda: StreamingResponse(stream_slowly())
    assert await assert_login_rejected(postgres, await browser.http.get("/auth/github")) == "provider_unavailable"


async def test_unreachable_provider(settings: Settings, shop: Shop, postgres: asyncpg.Connection) -> None:
    unreachable_url = f"http://localhost:{find_free_port()}"
    async with app_with_providers(settings, unreachable_url, unreachable_url) as app, open_browser(app) as browser:
        assert await assert_login_rejected(postgres, await browser.http.get("/auth/google")) == "provider_unavailable"


async def test_discovery_with_wrong_issuer(
    settings: Settings, shop: Shop, google: FakeOpenIDProvider, postgres: asyncpg.Connection
) -> None:
    google.metadata = {"issuer": "https://attacker.test"}
    async with app_with_providers(settings, google.url) as app, open_browser(app) as browser:
        assert await assert_login_rejected(postgres, await browser.http.get("/auth/google")) == "provider_unavailable"


async def test_hanging_provider_holds_no_database_connection(
    settings: Settings, shop: Shop, github: FakeGitHub
) -> None:
    """With a single database connection, other users can log in while a provider hangs."""
    await add_user(shop, "bob@example.com")
    may_respond = threading.Event()
    github.overrides["/user"] = lambda: (
        (may_respond.wait(20) and JSONResponse(github.user)) or Response(status_code=500)
    )
    pool_settings: dict[str, Any] = {"pool_size": 1, "pool_max_overflow": 0}
    async with (
        app_with_providers(settings, github_url=github.url, **pool_settings) as app,
        open_browser(app) as browser,
    ):
        callback = asyncio.create_task(browser.http.get("/auth/github"))
        while "/user" not in github.requested_paths:
            await asyncio.sleep(0.01)
        assert (await try_login(ApiClient(app), "bob@example.com"))["__typename"] == "LoggedIn"
        may_respond.set()
        get_login_code(await callback)


# ── Without a frontend or a database ──────────────────────────────────────────────────────


async def test_errors_are_json_without_a_frontend(
    settings: Settings, shop: Shop, google: FakeOpenIDProvider, github: FakeGitHub
) -> None:
    async with (
        app_with_providers(settings, google.url, github.url, frontend_url=None) as app,
        open_browser(app) as browser,
    ):
        github.emails = []
        google.overrides["/token"] = RESPONSES["an error"]
        expected = {
            "/auth/github": (403, "email_missing"),
            "/auth/google": (502, "provider_unavailable"),
            f"{CALLBACK}?error=access_denied": (403, "access_denied"),
            f"{CALLBACK}?code=x&state=y": (400, "state_mismatch"),
        }
        for path, expected_error in expected.items():
            response = await browser.http.get(path)
            payload = response.json()
            assert (response.status_code, payload["error"]) == expected_error
            assert sorted(payload) == ["error", "message"]
            assert response.headers["cache-control"] == "no-store"


async def test_hanging_database(browser: Browser, settings: Settings, postgres: asyncpg.Connection) -> None:
    assert settings.database_url is not None
    async with hold_lock(settings.database_url, "LOCK TABLE identities IN ACCESS EXCLUSIVE MODE"):
        response = await browser.http.get("/auth/github")
    assert await assert_login_rejected(postgres, response) == "shop_unavailable"
