"""The refresh token in a cookie: scripts never see it, other sites cannot send it, and it goes when the session does."""

from collections.abc import AsyncIterator
from http.cookies import Morsel, SimpleCookie
from typing import Any

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.settings import Settings
from tests.browser import Browser, browsing, opened
from tests.client import Visitor
from tests.factories import PASSWORD, add_member
from tests.links import RESET, reset_link
from tests.sessions import LOGIN, LOGOUT, ME, REFRESH, REGISTER

EMAIL = "anna@example.com"
LOGOUT_HERE = "mutation { logout(input: {}) { ... on LoggedOut { sessionsEnded } } }"
REFRESH_HERE = "mutation { refreshSession(input: {}) { __typename } }"
ALIVE = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL AND user_agent <> 'tests'"
WEEK = 7 * 24 * 3600


@pytest.fixture
async def keeping(settings: Settings, shop: Shop) -> AsyncIterator[Starlette]:
    """A shop that keeps refresh tokens in cookies."""
    async with opened(settings, refresh_token_cookie=True) as app:
        yield app


@pytest.fixture
async def browser(keeping: Starlette, shop: Shop) -> AsyncIterator[Browser]:
    await add_member(shop, EMAIL)
    async with browsing(keeping) as browser:
        yield browser


def _cookie(response: httpx2.Response) -> Morsel[str]:
    jar = SimpleCookie(response.headers["set-cookie"])
    assert list(jar) == ["refresh_token"]
    return jar["refresh_token"]


async def _log_in(browser: Browser) -> tuple[dict[str, Any], Morsel[str]]:
    data, response = await browser.answer(LOGIN, email=EMAIL, password=PASSWORD)
    return data["login"], _cookie(response)


def _is_emptied(response: httpx2.Response) -> bool:
    cookie = _cookie(response)
    attributes = cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"]
    assert attributes == (True, True, "strict", "/graphql")
    return (cookie.value, cookie["max-age"]) == ("", "0")


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


async def test_without_a_cookie_or_a_token_no_session_is_refreshed(browser: Browser) -> None:
    assert (await browser.ask(REFRESH_HERE))["refreshSession"] == {"__typename": "InvalidToken"}
    assert (await browser.ask(LOGOUT_HERE))["logout"] == {"sessionsEnded": 0}


async def test_a_wrong_password_sets_no_cookie(browser: Browser) -> None:
    _, response = await browser.answer(LOGIN, email=EMAIL, password="not the password")
    assert "set-cookie" not in response.headers


async def test_a_refused_refresh_empties_the_cookie(browser: Browser, postgres: asyncpg.Connection) -> None:
    await _log_in(browser)
    await postgres.execute("UPDATE sessions SET revoked_at = now()")
    data, response = await browser.answer(REFRESH_HERE)
    assert data["refreshSession"] == {"__typename": "InvalidToken"}
    assert _is_emptied(response)
    assert not browser.http.cookies


async def test_a_stolen_cookie_ends_the_session_when_it_comes_again(
    browser: Browser, keeping: Starlette, postgres: asyncpg.Connection
) -> None:
    _, stolen = await _log_in(browser)
    assert (await browser.ask(REFRESH_HERE))["refreshSession"] == {"__typename": "SessionRefreshed"}
    async with browsing(keeping) as thief:
        thief.http.cookies.set("refresh_token", stolen.value, "shop.test", "/graphql")
        assert (await thief.ask(REFRESH_HERE))["refreshSession"] == {"__typename": "InvalidToken"}
    assert (await browser.ask(REFRESH_HERE))["refreshSession"] == {"__typename": "InvalidToken"}
    assert await postgres.fetchval(ALIVE) == 0


async def test_the_cookie_alone_signs_nobody_in(browser: Browser) -> None:
    await _log_in(browser)
    assert (await browser.ask(ME))["me"] is None


async def test_a_shop_that_keeps_none_in_cookies_takes_none(visitor: Visitor, app: Starlette, browser: Browser) -> None:
    _, cookie = await _log_in(browser)
    async with browsing(app) as elsewhere:
        elsewhere.http.cookies.set("refresh_token", cookie.value, "shop.test", "/graphql")
        assert (await elsewhere.ask(REFRESH_HERE))["refreshSession"] == {"__typename": "InvalidToken"}
        data, response = await elsewhere.answer(LOGIN, email=EMAIL, password=PASSWORD)
        assert data["login"]["tokens"]["refreshToken"]
        assert "set-cookie" not in response.headers
    assert (await browser.ask(REFRESH_HERE))["refreshSession"] == {"__typename": "SessionRefreshed"}


# ── What the browser keeps ────────────────────────────────────────────────────────────────


async def test_a_login_gives_a_cookie_and_no_token(browser: Browser) -> None:
    outcome, cookie = await _log_in(browser)
    assert outcome["tokens"]["refreshToken"] is None
    assert outcome["tokens"]["refreshTokenExpiresAt"]
    attributes = cookie["httponly"], cookie["secure"], cookie["samesite"], cookie["path"], cookie["domain"]
    assert attributes == (True, True, "strict", "/graphql", "")
    assert 0 < int(cookie["max-age"]) <= WEEK
    assert len(cookie.value) == 86


async def test_every_way_to_sign_in_gives_one(
    browser: Browser, shop: Shop, visitor: Visitor, postgres: asyncpg.Connection
) -> None:
    data, response = await browser.answer(REGISTER, input={"email": "bob@example.com", "password": PASSWORD})
    assert (data["register"]["tokens"]["refreshToken"], len(_cookie(response).value)) == (None, 86)
    token = await reset_link(visitor, shop, postgres, EMAIL)
    data, response = await browser.answer(RESET, token=token, password="a horse of another colour")
    assert (data["resetPassword"]["tokens"]["refreshToken"], len(_cookie(response).value)) == (None, 86)


async def test_it_is_changed_with_each_refresh(browser: Browser) -> None:
    _, first = await _log_in(browser)
    data, response = await browser.answer(REFRESH, token=None)
    tokens = data["refreshSession"]["tokens"]
    assert tokens["refreshToken"] is None
    assert _cookie(response).value not in ("", first.value)
    assert (await browser.ask(REFRESH_HERE))["refreshSession"] == {"__typename": "SessionRefreshed"}
    access = {"authorization": f"Bearer {tokens['accessToken']}"}
    me = await browser.http.post("/graphql", json={"query": ME}, headers=access)
    assert me.json()["data"]["me"]["email"] == EMAIL


async def test_a_token_in_the_input_is_the_one_that_counts(browser: Browser, visitor: Visitor) -> None:
    await _log_in(browser)
    elsewhere = (await visitor.ask(LOGIN, email=EMAIL, password=PASSWORD))["login"]["tokens"]["refreshToken"]
    outcome = (await browser.ask(REFRESH, token=elsewhere))["refreshSession"]
    assert outcome["__typename"] == "SessionRefreshed"
    assert (await visitor.ask(REFRESH, token=elsewhere))["refreshSession"]["__typename"] == "InvalidToken"
    assert (await browser.ask(LOGOUT, token=""))["logout"] == {"sessionsEnded": 0}


@pytest.mark.parametrize(("everywhere", "ended"), [(False, 1), (True, 3)])
async def test_logging_out_empties_it(
    browser: Browser, visitor: Visitor, postgres: asyncpg.Connection, everywhere: bool, ended: int
) -> None:
    await visitor.ask(LOGIN, email=EMAIL, password=PASSWORD)
    await _log_in(browser)
    data, response = await browser.answer(LOGOUT, token=None, everywhere=everywhere)
    assert data["logout"] == {"sessionsEnded": ended}
    assert _is_emptied(response)
    assert not browser.http.cookies
    assert await postgres.fetchval(ALIVE) == (0 if everywhere else 1)


async def test_its_path_is_the_one_that_browsers_see(settings: Settings, shop: Shop) -> None:
    await add_member(shop, EMAIL)
    behind = {"refresh_token_cookie": True, "public_url": "https://shop.test/books/"}
    async with opened(settings, **behind) as app, browsing(app) as browser:
        _, cookie = await _log_in(browser)
        assert cookie["path"] == "/books/graphql"
