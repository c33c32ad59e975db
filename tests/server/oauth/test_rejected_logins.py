"""Rejected sign-ins: an error code, and no session."""

from typing import Any

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.oauth import routes
from server.settings import Settings
from tests.support.auth.oauth_flow import (
    LOGIN_TABLES,
    app_with_providers,
    assert_login_rejected,
    complete_login,
    get_frontend_params,
    get_login_code,
)
from tests.support.auth.oauth_providers import FakeGitHub, FakeOpenIDProvider
from tests.support.http.browser import Browser, open_browser

CALLBACK = "/auth/github/callback"


# ── The browser ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["google", "google/callback", "Google", "facebook", "facebook/callback?code=x"])
async def test_unknown_provider(settings: Settings, shop: Shop, github: FakeGitHub, path: str) -> None:
    async with app_with_providers(settings, github_url=github.url) as app, open_browser(app) as browser:
        response = await browser.http.get(f"/auth/{path}")
        assert (response.status_code, response.json()["error"]) == (404, "not_offered")


@pytest.mark.parametrize("provider", ["google", "github"])
async def test_access_denied_by_user(
    browser: Browser, google: FakeOpenIDProvider, github: FakeGitHub, postgres: asyncpg.Connection, provider: str
) -> None:
    google.is_denying = github.is_denying = True
    assert await assert_login_rejected(postgres, await browser.http.get(f"/auth/{provider}")) == "access_denied"


@pytest.mark.parametrize("error", ["server_error", "", "<script>", "x" * 5_000])
async def test_other_provider_error(browser: Browser, postgres: asyncpg.Connection, error: str) -> None:
    response = await browser.http.get(CALLBACK, params={"error": error})
    assert await assert_login_rejected(postgres, response) == "provider_refused"


async def _get_callback_params(browser: Browser) -> dict[str, str]:
    """Return the parameters of GitHub's callback, without following it."""
    redirect = await browser.http.get("/auth/github", follow_redirects=False)
    callback = await browser.http.get(redirect.headers["location"], follow_redirects=False)
    return dict(httpx2.URL(callback.headers["location"]).params)


@pytest.mark.parametrize("state", [None, "", "x", "Ω", "\x00", "x" * 5_000])
async def test_wrong_state(browser: Browser, postgres: asyncpg.Connection, state: str | None) -> None:
    params = await _get_callback_params(browser)
    del params["state"]
    response = await browser.http.get(CALLBACK, params=params if state is None else params | {"state": state})
    assert await assert_login_rejected(postgres, response) == "state_mismatch"
    assert await assert_login_rejected(postgres, await browser.http.get(CALLBACK, params=params)) == "state_mismatch"


async def test_callback_in_another_browser(
    browser: Browser, oauth_app: Starlette, postgres: asyncpg.Connection
) -> None:
    """A callback for the attacker does not sign in the victim's browser, also during the victim's own sign-in."""
    params = await _get_callback_params(browser)
    async with open_browser(oauth_app) as victim:
        assert await assert_login_rejected(postgres, await victim.http.get(CALLBACK, params=params)) == "state_mismatch"
        await _get_callback_params(victim)
        assert await assert_login_rejected(postgres, await victim.http.get(CALLBACK, params=params)) == "state_mismatch"


async def test_callback_from_another_provider(browser: Browser, postgres: asyncpg.Connection) -> None:
    params = await _get_callback_params(browser)
    response = await browser.http.get("/auth/google/callback", params=params)
    assert await assert_login_rejected(postgres, response) == "state_mismatch"


async def test_tampered_cookie(browser: Browser, postgres: asyncpg.Connection) -> None:
    params = await _get_callback_params(browser)
    [name] = browser.http.cookies
    cookie = browser.http.cookies[name]
    browser.http.cookies.clear()
    browser.http.cookies.set(name, "e30=" + cookie[cookie.index(".") :], "shop.test", "/auth")
    assert await assert_login_rejected(postgres, await browser.http.get(CALLBACK, params=params)) == "state_mismatch"


async def test_expired_callback(
    browser: Browser, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    params = await _get_callback_params(browser)
    monkeypatch.setattr(routes, "STATE_LIFETIME", -1)
    assert await assert_login_rejected(postgres, await browser.http.get(CALLBACK, params=params)) == "state_mismatch"


async def test_repeated_callback(browser: Browser, postgres: asyncpg.Connection) -> None:
    params = await _get_callback_params(browser)
    get_login_code(await browser.http.get(CALLBACK, params=params))
    assert get_frontend_params(await browser.http.get(CALLBACK, params=params))["error"] == "state_mismatch"
    assert await postgres.fetchval("SELECT count(*) FROM one_time_tokens") == 1


@pytest.mark.parametrize("code", ["", "made up", "\x00", "Ω", "x" * 5_000])
async def test_unknown_authorization_code(browser: Browser, postgres: asyncpg.Connection, code: str) -> None:
    params = await _get_callback_params(browser) | {"code": code}
    assert await assert_login_rejected(postgres, await browser.http.get(CALLBACK, params=params)) == "provider_refused"


async def test_intercepted_authorization_code(
    browser: Browser, oauth_app: Starlette, postgres: asyncpg.Connection
) -> None:
    """The code needs the verifier, which only the original browser has."""
    intercepted_code = (await _get_callback_params(browser))["code"]
    async with open_browser(oauth_app) as thief:
        params = await _get_callback_params(thief) | {"code": intercepted_code}
        assert (
            await assert_login_rejected(postgres, await thief.http.get(CALLBACK, params=params)) == "provider_refused"
        )


@pytest.mark.parametrize("provider", ["google", "github"])
async def test_wrong_issuer_parameter(browser: Browser, postgres: asyncpg.Connection, provider: str) -> None:
    redirect = await browser.http.get(f"/auth/{provider}", follow_redirects=False)
    callback = await browser.http.get(redirect.headers["location"], follow_redirects=False)
    callback_url = httpx2.URL(callback.headers["location"]).copy_merge_params({"iss": "https://attacker.test"})
    assert await assert_login_rejected(postgres, await browser.http.get(callback_url)) == "provider_refused"


async def test_missing_issuer_parameter(
    settings: Settings, shop: Shop, google: FakeOpenIDProvider, postgres: asyncpg.Connection
) -> None:
    google.metadata = {"authorization_response_iss_parameter_supported": True}
    async with app_with_providers(settings, google.url) as app, open_browser(app) as browser:
        assert await assert_login_rejected(postgres, await browser.http.get("/auth/google")) == "provider_refused"


# ── Email addresses ───────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("claims", "code"),
    [
        ({"email_verified": False}, "email_unverified"),
        ({"email_verified": None}, "email_unverified"),
        ({"email_verified": "true"}, "email_unverified"),
        ({"email_verified": 1}, "email_unverified"),
        ({"email": None}, "email_missing"),
        ({"email": ""}, "email_missing"),
        ({"email": ["mona@example.com"]}, "email_missing"),
        ({"email": "mona@example.com, all@example.com"}, "email_missing"),
        ({"email": "m\ud800na@example.com"}, "email_missing"),
    ],
)
async def test_unverified_google_email(
    browser: Browser, google: FakeOpenIDProvider, postgres: asyncpg.Connection, claims: dict[str, Any], code: str
) -> None:
    google.claims = claims
    assert await assert_login_rejected(postgres, await browser.http.get("/auth/google")) == code


@pytest.mark.parametrize(
    ("emails", "code"),
    [
        ([], "email_missing"),
        ([{"email": "mona@example.com", "primary": True, "verified": False}], "email_unverified"),
        ([{"email": "mona@example.com", "primary": False, "verified": True}], "email_missing"),
        (
            [
                {"email": "mona@example.com", "primary": False, "verified": True},
                {"email": "victim@example.com", "primary": True, "verified": False},
            ],
            "email_unverified",
        ),
        ([{"email": "mona@example.com", "primary": "true", "verified": "true"}], "provider_unavailable"),
    ],
)
async def test_unverified_github_email(
    browser: Browser, github: FakeGitHub, postgres: asyncpg.Connection, emails: list[Any], code: str
) -> None:
    github.emails = emails
    assert await assert_login_rejected(postgres, await browser.http.get("/auth/github")) == code


async def test_deactivated_user_is_rejected(browser: Browser, postgres: asyncpg.Connection) -> None:
    await complete_login(browser, await browser.http.get("/auth/github"))
    await postgres.execute("UPDATE users SET is_active = false")
    before = [await postgres.fetchval(f"SELECT count(*) FROM {table}") for table in LOGIN_TABLES]
    for provider in ("github", "google"):  # linked already, and found by email
        assert get_frontend_params(await browser.http.get(f"/auth/{provider}"))["error"] == "account_deactivated"
    assert [await postgres.fetchval(f"SELECT count(*) FROM {table}") for table in LOGIN_TABLES] == before
