"""Sign-in through providers with a browser: a real OpenID provider and a fake GitHub."""

import datetime as dt
from collections.abc import AsyncIterator, Iterator
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlsplit

import asyncpg
import oidc_provider_mock
import pytest
from oidc_provider_mock import User as Account
from starlette.applications import Starlette

from domain.shop import Shop
from server.settings import Settings
from tests.support.auth.oauth_flow import (
    OAUTH_LOGINS_QUERY,
    app_with_providers,
    complete_login,
    exchange_login_code,
    fetch_current_user,
    get_login_code,
    pick_google_account,
)
from tests.support.auth.oauth_providers import FakeGitHub, run_provider
from tests.support.auth.sessions import REFRESH, is_authenticated, try_login
from tests.support.email.email_links import login_with_oauth
from tests.support.http.browser import SHOP_URL, Browser, open_browser
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_user

MONA = {"email": "Mona@Example.com", "email_verified": True, "name": "Mona Lisa"}
ACCOUNTS = [Account(sub="mona", claims=MONA)]
SELECT_EMAILS = "SELECT kind, email FROM letters JOIN users ON users.id = user_id"


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with oidc_provider_mock.run_server_in_thread(require_nonce=True, user_claims=ACCOUNTS) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def github_provider() -> Iterator[FakeGitHub]:
    provider = FakeGitHub()
    with run_provider(provider):
        yield provider


@pytest.fixture
def github(github_provider: FakeGitHub) -> FakeGitHub:
    github_provider.reset()
    return github_provider


@pytest.fixture(scope="module")
async def oauth_app(settings: Settings, google: str, github_provider: FakeGitHub) -> AsyncIterator[Starlette]:
    async with app_with_providers(settings, google, github_provider.url) as app:
        yield app


@pytest.fixture
async def browser(oauth_app: Starlette, github: FakeGitHub, shop: Shop) -> AsyncIterator[Browser]:
    async with open_browser(oauth_app) as browser:
        yield browser


# ── The redirect to the provider ──────────────────────────────────────────────────────────


async def test_login_urls_use_the_public_url(browser: Browser) -> None:
    buttons = [("GOOGLE", f"{SHOP_URL}/auth/google"), ("GITHUB", f"{SHOP_URL}/auth/github")]
    assert [
        (login["provider"], login["url"]) for login in (await browser.execute(OAUTH_LOGINS_QUERY))["oauthLogins"]
    ] == buttons


async def test_no_logins_without_providers(client: ApiClient) -> None:
    assert (await client.execute(OAUTH_LOGINS_QUERY))["oauthLogins"] == []


@pytest.mark.parametrize(
    ("provider", "scope"), [("google", "openid email profile"), ("github", "read:user user:email")]
)
async def test_authorization_request(browser: Browser, provider: str, scope: str) -> None:
    response = await browser.http.get(f"/auth/{provider}", follow_redirects=False, headers={"host": "evil.test"})
    parameters = {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}
    secrets = [parameters.pop("state"), parameters.pop("code_challenge")] + (
        [parameters.pop("nonce")] if provider == "google" else []
    )
    assert parameters == {
        "response_type": "code",
        "client_id": "bookstore-client",
        "redirect_uri": f"{SHOP_URL}/auth/{provider}/callback",
        "scope": scope,
        "code_challenge_method": "S256",
    }
    assert {len(secret) for secret in secrets} == {43}
    assert len(set(secrets)) == len(secrets)


async def test_authorization_state_cookie(browser: Browser) -> None:
    response = await browser.http.get("/auth/github", follow_redirects=False)
    [cookie] = SimpleCookie(response.headers["set-cookie"]).values()
    attributes = cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"], cookie["max-age"]
    assert attributes == (True, True, "lax", "/auth", "600")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers.get_list("referrer-policy") == ["no-referrer"]


async def test_cookie_is_not_secure_on_localhost(settings: Settings, shop: Shop, github: FakeGitHub) -> None:
    async with (
        app_with_providers(settings, github_url=github.url, public_url="http://localhost:8000") as app,
        open_browser(app) as browser,
    ):
        response = await browser.http.get("/auth/github", follow_redirects=False)
        [cookie] = SimpleCookie(response.headers["set-cookie"]).values()
        assert (cookie["httponly"], cookie["secure"], cookie["path"]) == (True, "", "/auth")


# ── The callback ──────────────────────────────────────────────────────────────────────────


async def test_new_google_user_gets_an_account(browser: Browser, postgres: asyncpg.Connection) -> None:
    user = await complete_login(browser, await pick_google_account(browser, "mona"))
    del user["id"]
    assert user == {
        "email": "mona@example.com",
        "displayName": "Mona Lisa",
        "isEmailVerified": True,
        "hasPassword": False,
        "linkedProviders": ["GOOGLE"],
    }
    assert await postgres.fetch(SELECT_EMAILS) == []
    assert await postgres.fetchval("SELECT count(*) FROM carts") == 1


async def test_new_github_user_gets_the_primary_email(browser: Browser, github: FakeGitHub) -> None:
    github.emails.insert(0, {"email": "other@example.com", "primary": False, "verified": True})
    user = await complete_login(browser, await browser.http.get("/auth/github"))
    assert (user["email"], user["displayName"]) == ("mona@example.com", "Mona Octocat")
    assert user["linkedProviders"] == ["GITHUB"]


@pytest.mark.parametrize(
    ("name", "display_name"),
    [
        (None, "Reader"),
        ("", "Reader"),
        ("\x00\x00\x00", "Reader"),
        ("\u3164", "Reader"),
        ("\u0301", "Reader"),
        ("M", "M"),
        ("Mo\nna", "Mo na"),
        ("\u202eMona\u200b  Octo\u00adcat ", "Mona Octocat"),
        ("M" * 67, "M" * 50),
        ("Mona Octocat " * 6, "Mona Octocat Mona Octocat Mona Octocat Mona"),
    ],
)
async def test_provider_name_becomes_a_display_name(
    browser: Browser, github: FakeGitHub, name: str | None, display_name: str
) -> None:
    github.user["name"] = name
    assert (await complete_login(browser, await browser.http.get("/auth/github")))["displayName"] == display_name


async def test_returning_user_is_recognized_after_email_change(
    browser: Browser, github: FakeGitHub, postgres: asyncpg.Connection
) -> None:
    first = await complete_login(browser, await browser.http.get("/auth/github"))
    for emails in ([{"email": "new@example.com", "primary": True, "verified": True}], []):
        github.emails = emails
        assert await complete_login(browser, await browser.http.get("/auth/github")) == first
    assert await postgres.fetchval("SELECT count(*) FROM users") == 1


async def test_second_provider_is_linked_and_user_is_notified(browser: Browser, postgres: asyncpg.Connection) -> None:
    first = await complete_login(browser, await pick_google_account(browser, "mona"))
    second = await complete_login(browser, await browser.http.get("/auth/github"))
    assert second == first | {"linkedProviders": ["GITHUB", "GOOGLE"]}
    assert [tuple(row) for row in await postgres.fetch(SELECT_EMAILS)] == [("PROVIDER_LINKED", "mona@example.com")]
    await complete_login(browser, await pick_google_account(browser, "mona"))
    assert len(await postgres.fetch(SELECT_EMAILS)) == 1


async def test_linking_keeps_password_and_sessions_of_verified_account(
    browser: Browser, client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    existing_user = await add_user(shop, "mona@example.com", email_verified_at=dt.datetime.now(dt.UTC))
    user = await complete_login(browser, await pick_google_account(browser, "mona"))
    assert (user["id"], user["hasPassword"]) == (existing_user.global_id, True)
    assert user["linkedProviders"] == ["GOOGLE"]
    assert await is_authenticated(client, existing_user.token)
    assert (await try_login(client, "mona@example.com"))["__typename"] == "LoggedIn"
    assert [row["kind"] for row in await postgres.fetch(SELECT_EMAILS)] == ["PROVIDER_LINKED"]


# ── The login code ────────────────────────────────────────────────────────────────────────


async def test_login_code_works_once(browser: Browser, client: ApiClient, postgres: asyncpg.Connection) -> None:
    code = get_login_code(await browser.http.get("/auth/github"))
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 0
    await exchange_login_code(browser, code)
    assert (await login_with_oauth(client, code))["__typename"] == "InvalidToken"
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 1


async def test_expired_or_unknown_login_code(browser: Browser, client: ApiClient, postgres: asyncpg.Connection) -> None:
    code = get_login_code(await browser.http.get("/auth/github"))
    await postgres.execute("UPDATE one_time_tokens SET expires_at = now() - interval '1 millisecond'")
    for invalid_code in (code, code[:-1], "", "x" * 90_000, "\x00"):
        assert (await login_with_oauth(client, invalid_code))["code"] == "AUTH_TOKEN_INVALID"
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 0


async def test_login_code_of_a_deactivated_user(
    browser: Browser, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    code = get_login_code(await browser.http.get("/auth/github"))
    await postgres.execute("UPDATE users SET is_active = false")
    assert (await login_with_oauth(client, code))["code"] == "AUTH_ACCOUNT_DEACTIVATED"
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 0


# ── Without a frontend ────────────────────────────────────────────────────────────────────


async def test_callback_returns_tokens_without_a_frontend(
    settings: Settings, client: ApiClient, github: FakeGitHub
) -> None:
    async with (
        app_with_providers(settings, github_url=github.url, frontend_url=None) as app,
        open_browser(app) as browser,
    ):
        response = await browser.http.get("/auth/github")
        tokens = response.json()
        assert response.headers["cache-control"] == "no-store"
        assert response.headers.get_list("referrer-policy") == ["no-referrer"]
        assert (await fetch_current_user(browser, tokens["accessToken"]))["email"] == "mona@example.com"
        result = (await browser.execute(REFRESH, token=tokens["refreshToken"]))["refreshSession"]
        assert result["__typename"] == "SessionRefreshed"


async def test_callback_sets_refresh_cookie_without_a_frontend(
    settings: Settings, client: ApiClient, github: FakeGitHub
) -> None:
    overrides: dict[str, Any] = {"frontend_url": None, "refresh_token_cookie": True}
    async with app_with_providers(settings, github_url=github.url, **overrides) as app, open_browser(app) as browser:
        assert (await browser.http.get("/auth/github")).json()["refreshToken"] is None
        assert (await browser.execute(REFRESH, token=None))["refreshSession"]["__typename"] == "SessionRefreshed"
