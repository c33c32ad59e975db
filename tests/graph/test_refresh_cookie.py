"""The refresh token in a cookie: hidden from scripts, not sent by other sites, deleted with the session."""

from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from typing import Any

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.settings import Settings
from tests.support.auth.sessions import LOGIN, LOGOUT, ME_QUERY, REFRESH, REGISTER
from tests.support.email.email_links import RESET_PASSWORD, request_reset_token
from tests.support.http.apps import running_app
from tests.support.http.browser import Browser, open_browser
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, add_user

EMAIL = "anna@example.com"
LOGOUT_BY_COOKIE = "mutation { logout(input: {}) { ... on LoggedOut { sessionsEnded } } }"
REFRESH_BY_COOKIE = "mutation { refreshSession(input: {}) { __typename } }"
COUNT_LIVE_SESSIONS = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL AND user_agent <> 'tests'"
WEEK_SECONDS = 7 * 24 * 3600


@pytest.fixture
async def cookie_app(settings: Settings, shop: Shop) -> AsyncIterator[Starlette]:
    """Yield an application that keeps refresh tokens in cookies."""
    async with running_app(settings, refresh_token_cookie=True) as app:
        yield app


@pytest.fixture
async def browser(cookie_app: Starlette, shop: Shop) -> AsyncIterator[Browser]:
    await add_user(shop, EMAIL)
    async with open_browser(cookie_app) as browser:
        yield browser


def _parse_cookie(response: httpx2.Response) -> Morsel[str]:
    cookies = SimpleCookie(response.headers["set-cookie"])
    assert list(cookies) == ["refresh_token"]
    return cookies["refresh_token"]


async def _log_in(browser: Browser) -> tuple[dict[str, Any], Morsel[str]]:
    data, response = await browser.execute_with_response(LOGIN, email=EMAIL, password=PASSWORD)
    return data["login"], _parse_cookie(response)


def _is_cleared(response: httpx2.Response) -> bool:
    cookie = _parse_cookie(response)
    attributes = cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"]
    assert attributes == (True, True, "strict", "/graphql")
    return (cookie.value, cookie["max-age"]) == ("", "0")


# ── User errors ───────────────────────────────────────────────────────────────────────────


async def test_without_a_cookie_or_a_token_no_session_is_refreshed(browser: Browser) -> None:
    assert (await browser.execute(REFRESH_BY_COOKIE))["refreshSession"] == {"__typename": "InvalidToken"}
    assert (await browser.execute(LOGOUT_BY_COOKIE))["logout"] == {"sessionsEnded": 0}


async def test_a_wrong_password_sets_no_cookie(browser: Browser) -> None:
    _, response = await browser.execute_with_response(LOGIN, email=EMAIL, password="not the password")
    assert "set-cookie" not in response.headers


async def test_rejected_refresh_clears_the_cookie(browser: Browser, postgres: asyncpg.Connection) -> None:
    await _log_in(browser)
    await postgres.execute("UPDATE sessions SET revoked_at = now()")
    data, response = await browser.execute_with_response(REFRESH_BY_COOKIE)
    assert data["refreshSession"] == {"__typename": "InvalidToken"}
    assert _is_cleared(response)
    assert not browser.http.cookies


async def test_reused_stolen_cookie_ends_the_session(
    browser: Browser, cookie_app: Starlette, postgres: asyncpg.Connection
) -> None:
    _, stolen_cookie = await _log_in(browser)
    assert (await browser.execute(REFRESH_BY_COOKIE))["refreshSession"] == {"__typename": "SessionRefreshed"}
    async with open_browser(cookie_app) as thief:
        thief.http.cookies.set("refresh_token", stolen_cookie.value, "shop.test", "/graphql")
        assert (await thief.execute(REFRESH_BY_COOKIE))["refreshSession"] == {"__typename": "InvalidToken"}
    assert (await browser.execute(REFRESH_BY_COOKIE))["refreshSession"] == {"__typename": "InvalidToken"}
    assert await postgres.fetchval(COUNT_LIVE_SESSIONS) == 0


async def test_cookie_alone_does_not_authenticate(browser: Browser) -> None:
    await _log_in(browser)
    assert (await browser.execute(ME_QUERY))["me"] is None


async def test_cookie_is_ignored_when_disabled(client: ApiClient, app: Starlette, browser: Browser) -> None:
    _, cookie = await _log_in(browser)
    async with open_browser(app) as other_browser:
        other_browser.http.cookies.set("refresh_token", cookie.value, "shop.test", "/graphql")
        assert (await other_browser.execute(REFRESH_BY_COOKIE))["refreshSession"] == {"__typename": "InvalidToken"}
        data, response = await other_browser.execute_with_response(LOGIN, email=EMAIL, password=PASSWORD)
        assert data["login"]["tokens"]["refreshToken"]
        assert "set-cookie" not in response.headers
    assert (await browser.execute(REFRESH_BY_COOKIE))["refreshSession"] == {"__typename": "SessionRefreshed"}


# ── Cookies in the browser ────────────────────────────────────────────────────────────────


async def test_login_sets_a_cookie_and_returns_no_token(browser: Browser) -> None:
    result, cookie = await _log_in(browser)
    assert result["tokens"]["refreshToken"] is None
    assert result["tokens"]["refreshTokenExpiresAt"]
    attributes = cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"], cookie["domain"]
    assert attributes == (True, True, "strict", "/graphql", "")
    assert 0 < int(cookie["max-age"]) <= WEEK_SECONDS
    assert len(cookie.value) == 86


async def test_every_login_method_sets_a_cookie(
    browser: Browser, shop: Shop, client: ApiClient, postgres: asyncpg.Connection
) -> None:
    data, response = await browser.execute_with_response(
        REGISTER, input={"email": "bob@example.com", "password": PASSWORD}
    )
    assert (data["register"]["tokens"]["refreshToken"], len(_parse_cookie(response).value)) == (None, 86)
    token = await request_reset_token(client, shop, postgres, EMAIL)
    data, response = await browser.execute_with_response(
        RESET_PASSWORD, token=token, password="a horse of another colour"
    )
    assert (data["resetPassword"]["tokens"]["refreshToken"], len(_parse_cookie(response).value)) == (None, 86)


async def test_cookie_is_rotated_with_each_refresh(browser: Browser) -> None:
    _, first = await _log_in(browser)
    data, response = await browser.execute_with_response(REFRESH, token=None)
    tokens = data["refreshSession"]["tokens"]
    assert tokens["refreshToken"] is None
    assert _parse_cookie(response).value not in ("", first.value)
    assert (await browser.execute(REFRESH_BY_COOKIE))["refreshSession"] == {"__typename": "SessionRefreshed"}
    headers = {"authorization": f"Bearer {tokens['accessToken']}"}
    me = await browser.http.post("/graphql", json={"query": ME_QUERY}, headers=headers)
    assert me.json()["data"]["me"]["email"] == EMAIL


async def test_input_token_takes_precedence_over_cookie(browser: Browser, client: ApiClient) -> None:
    await _log_in(browser)
    other_token = (await client.execute(LOGIN, email=EMAIL, password=PASSWORD))["login"]["tokens"]["refreshToken"]
    result = (await browser.execute(REFRESH, token=other_token))["refreshSession"]
    assert result["__typename"] == "SessionRefreshed"
    assert (await client.execute(REFRESH, token=other_token))["refreshSession"]["__typename"] == "InvalidToken"
    assert (await browser.execute(LOGOUT, token=""))["logout"] == {"sessionsEnded": 0}


@pytest.mark.parametrize(("everywhere", "ended_count"), [(False, 1), (True, 3)])
async def test_logout_clears_the_cookie(
    browser: Browser, client: ApiClient, postgres: asyncpg.Connection, everywhere: bool, ended_count: int
) -> None:
    await client.execute(LOGIN, email=EMAIL, password=PASSWORD)
    await _log_in(browser)
    data, response = await browser.execute_with_response(LOGOUT, token=None, everywhere=everywhere)
    assert data["logout"] == {"sessionsEnded": ended_count}
    assert _is_cleared(response)
    assert not browser.http.cookies
    assert await postgres.fetchval(COUNT_LIVE_SESSIONS) == (0 if everywhere else 1)


async def test_cookie_path_follows_public_url(settings: Settings, shop: Shop) -> None:
    await add_user(shop, EMAIL)
    overrides = {"refresh_token_cookie": True, "public_url": "https://shop.test/books/"}
    async with running_app(settings, **overrides) as app, open_browser(app) as browser:
        _, cookie = await _log_in(browser)
        assert cookie["path"] == "/books/graphql"
