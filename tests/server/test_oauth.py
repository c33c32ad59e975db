"""Signing in through a provider, with a browser, at a real OpenID provider and at a GitHub of our own."""

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
from tests.arrivals import LOGINS, arrived, chosen_at_google, code_in, known_by, offering, signed_in_with
from tests.browser import SHOP, Browser, browsing
from tests.client import Visitor
from tests.factories import add_member
from tests.links import trade
from tests.oauth_providers import GitHub, at_work
from tests.sessions import REFRESH, is_let_in, try_to_log_in

MONA = {"email": "Mona@Example.com", "email_verified": True, "name": "Mona Lisa"}
ACCOUNTS = [Account(sub="mona", claims=MONA)]
LETTERS = "SELECT kind, email FROM letters JOIN users ON users.id = user_id"


@pytest.fixture(scope="module")
def google() -> Iterator[str]:
    with oidc_provider_mock.run_server_in_thread(require_nonce=True, user_claims=ACCOUNTS) as server:
        yield f"http://localhost:{server.server_port}"


@pytest.fixture(scope="module")
def octocats() -> Iterator[GitHub]:
    provider = GitHub()
    with at_work(provider):
        yield provider


@pytest.fixture
def github(octocats: GitHub) -> GitHub:
    octocats.begin_anew()
    return octocats


@pytest.fixture(scope="module")
async def offered(settings: Settings, google: str, octocats: GitHub) -> AsyncIterator[Starlette]:
    async with offering(settings, google, octocats.address) as app:
        yield app


@pytest.fixture
async def browser(offered: Starlette, github: GitHub, shop: Shop) -> AsyncIterator[Browser]:
    async with browsing(offered) as browser:
        yield browser


# ── The way there ─────────────────────────────────────────────────────────────────────────


async def test_the_buttons_lead_to_the_public_address(browser: Browser) -> None:
    buttons = [("GOOGLE", f"{SHOP}/auth/google"), ("GITHUB", f"{SHOP}/auth/github")]
    assert [(each["provider"], each["url"]) for each in (await browser.ask(LOGINS))["oauthLogins"]] == buttons


async def test_a_shop_without_providers_has_no_buttons(visitor: Visitor) -> None:
    assert (await visitor.ask(LOGINS))["oauthLogins"] == []


@pytest.mark.parametrize(
    ("provider", "scope"), [("google", "openid email profile"), ("github", "read:user user:email")]
)
async def test_what_the_provider_is_asked(browser: Browser, provider: str, scope: str) -> None:
    response = await browser.http.get(f"/auth/{provider}", follow_redirects=False, headers={"host": "evil.test"})
    asked = {name: values[0] for name, values in parse_qs(urlsplit(response.headers["location"]).query).items()}
    secrets = [asked.pop("state"), asked.pop("code_challenge")] + ([asked.pop("nonce")] if provider == "google" else [])
    assert asked == {
        "response_type": "code",
        "client_id": "bookstore-client",
        "redirect_uri": f"{SHOP}/auth/{provider}/callback",
        "scope": scope,
        "code_challenge_method": "S256",
    }
    assert {len(secret) for secret in secrets} == {43}
    assert len(set(secrets)) == len(secrets)


async def test_the_cookie_of_a_sign_in(browser: Browser) -> None:
    response = await browser.http.get("/auth/github", follow_redirects=False)
    [cookie] = SimpleCookie(response.headers["set-cookie"]).values()
    attributes = cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"], cookie["max-age"]
    assert attributes == (True, True, "lax", "/auth", "600")
    assert response.headers["cache-control"] == "no-store"
    assert response.headers.get_list("referrer-policy") == ["no-referrer"]


async def test_on_localhost_the_cookie_travels_without_tls(settings: Settings, shop: Shop, github: GitHub) -> None:
    async with (
        offering(settings, github=github.address, public_url="http://localhost:8000") as app,
        browsing(app) as browser,
    ):
        response = await browser.http.get("/auth/github", follow_redirects=False)
        [cookie] = SimpleCookie(response.headers["set-cookie"]).values()
        assert (cookie["httponly"], cookie["secure"], cookie["path"]) == (True, "", "/auth")


# ── Arriving ──────────────────────────────────────────────────────────────────────────────


async def test_a_newcomer_from_google_gets_an_account(browser: Browser, postgres: asyncpg.Connection) -> None:
    user = await arrived(browser, await chosen_at_google(browser, "mona"))
    del user["id"]
    assert user == {
        "email": "mona@example.com",
        "displayName": "Mona Lisa",
        "isEmailVerified": True,
        "hasPassword": False,
        "linkedProviders": ["GOOGLE"],
    }
    assert await postgres.fetch(LETTERS) == []
    assert await postgres.fetchval("SELECT count(*) FROM carts") == 1


async def test_a_newcomer_from_github_has_the_primary_address(browser: Browser, github: GitHub) -> None:
    github.emails.insert(0, {"email": "other@example.com", "primary": False, "verified": True})
    user = await arrived(browser, await browser.http.get("/auth/github"))
    assert (user["email"], user["displayName"]) == ("mona@example.com", "Mona Octocat")
    assert user["linkedProviders"] == ["GITHUB"]


@pytest.mark.parametrize("name", [None, "", "M", "Mo\nna", "M" * 51, "\x00\x00\x00"])
async def test_a_name_that_we_do_not_show(browser: Browser, github: GitHub, name: str | None) -> None:
    github.user["name"] = name
    assert (await arrived(browser, await browser.http.get("/auth/github")))["displayName"] == "Reader"


async def test_who_comes_again_is_known_though_the_address_has_changed(
    browser: Browser, github: GitHub, postgres: asyncpg.Connection
) -> None:
    first = await arrived(browser, await browser.http.get("/auth/github"))
    for emails in ([{"email": "new@example.com", "primary": True, "verified": True}], []):
        github.emails = emails
        assert await arrived(browser, await browser.http.get("/auth/github")) == first
    assert await postgres.fetchval("SELECT count(*) FROM users") == 1


async def test_two_providers_with_one_address_are_one_user_who_is_told(
    browser: Browser, postgres: asyncpg.Connection
) -> None:
    first = await arrived(browser, await chosen_at_google(browser, "mona"))
    second = await arrived(browser, await browser.http.get("/auth/github"))
    assert second == first | {"linkedProviders": ["GITHUB", "GOOGLE"]}
    assert [tuple(row) for row in await postgres.fetch(LETTERS)] == [("PROVIDER_LINKED", "mona@example.com")]
    await arrived(browser, await chosen_at_google(browser, "mona"))
    assert len(await postgres.fetch(LETTERS)) == 1


async def test_a_verified_account_keeps_its_password_and_sessions(
    browser: Browser, visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, "mona@example.com", email_verified_at=dt.datetime.now(dt.UTC))
    user = await arrived(browser, await chosen_at_google(browser, "mona"))
    assert (user["id"], user["hasPassword"]) == (member.global_id, True)
    assert user["linkedProviders"] == ["GOOGLE"]
    assert await is_let_in(visitor, member.token)
    assert (await try_to_log_in(visitor, "mona@example.com"))["__typename"] == "LoggedIn"
    assert [row["kind"] for row in await postgres.fetch(LETTERS)] == ["PROVIDER_LINKED"]


# ── The code ──────────────────────────────────────────────────────────────────────────────


async def test_the_code_works_once(browser: Browser, visitor: Visitor, postgres: asyncpg.Connection) -> None:
    code = code_in(await browser.http.get("/auth/github"))
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 0
    await signed_in_with(browser, code)
    assert (await trade(visitor, code))["__typename"] == "InvalidToken"
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 1


async def test_a_code_that_comes_late_or_was_never_given(
    browser: Browser, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    code = code_in(await browser.http.get("/auth/github"))
    await postgres.execute("UPDATE one_time_tokens SET expires_at = now() - interval '1 millisecond'")
    for made_up in (code, code[:-1], "", "x" * 90_000, "\x00"):
        assert (await trade(visitor, made_up))["code"] == "AUTH_TOKEN_INVALID"
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 0


async def test_the_code_of_someone_who_has_been_deactivated(
    browser: Browser, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    code = code_in(await browser.http.get("/auth/github"))
    await postgres.execute("UPDATE users SET is_active = false")
    assert (await trade(visitor, code))["code"] == "AUTH_ACCOUNT_DEACTIVATED"
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 0


# ── Without a frontend ────────────────────────────────────────────────────────────────────


async def test_without_a_frontend_the_callback_answers_tokens(
    settings: Settings, visitor: Visitor, github: GitHub
) -> None:
    async with offering(settings, github=github.address, frontend_url=None) as app, browsing(app) as browser:
        response = await browser.http.get("/auth/github")
        tokens = response.json()
        assert response.headers["cache-control"] == "no-store"
        assert response.headers.get_list("referrer-policy") == ["no-referrer"]
        assert (await known_by(browser, tokens["accessToken"]))["email"] == "mona@example.com"
        outcome = (await browser.ask(REFRESH, token=tokens["refreshToken"]))["refreshSession"]
        assert outcome["__typename"] == "SessionRefreshed"


async def test_without_a_frontend_the_refresh_token_may_be_in_a_cookie(
    settings: Settings, visitor: Visitor, github: GitHub
) -> None:
    more: dict[str, Any] = {"frontend_url": None, "refresh_token_cookie": True}
    async with offering(settings, github=github.address, **more) as app, browsing(app) as browser:
        assert (await browser.http.get("/auth/github")).json()["refreshToken"] is None
        assert (await browser.ask(REFRESH, token=None))["refreshSession"]["__typename"] == "SessionRefreshed"
