"""Logging in through an OAuth provider with a browser."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
from starlette.applications import Starlette

from server.settings import Settings
from tests.support.auth.oauth_providers import CLIENT_ID, CLIENT_SECRET
from tests.support.email.email_links import LOGIN_WITH_OAUTH
from tests.support.http.apps import running_app
from tests.support.http.browser import FRONTEND_URL, SHOP_URL, Browser

ME_QUERY = """{ me { id email displayName isEmailVerified hasPassword linkedProviders } }"""
LOGIN_TABLES = ("users", "sessions", "identities", "letters", "one_time_tokens")
OAUTH_LOGINS_QUERY = "{ oauthLogins { provider url } }"


def provider_settings(google_url: str | None = None, github_url: str | None = None) -> dict[str, Any]:
    """Return settings with providers at these URLs."""
    values: dict[str, Any] = {"public_url": SHOP_URL, "frontend_url": FRONTEND_URL}
    if google_url is not None:
        values |= {"google_client_id": CLIENT_ID, "google_client_secret": CLIENT_SECRET, "google_issuer": google_url}
    if github_url is not None:
        values |= {"github_client_id": CLIENT_ID, "github_client_secret": CLIENT_SECRET}
        values |= {"github_url": github_url, "github_api_url": github_url}
    return values


@asynccontextmanager
async def app_with_providers(
    settings: Settings, google_url: str | None = None, github_url: str | None = None, **overrides: Any
) -> AsyncIterator[Starlette]:
    """Run an application that offers these providers."""
    async with running_app(settings, **(provider_settings(google_url, github_url) | overrides)) as app:
        yield app


async def pick_google_account(browser: Browser, subject: str) -> httpx2.Response:
    """Start a login with Google and pick this account on the provider's page."""
    page = await browser.http.get("/auth/google")
    assert page.url.host == "localhost", page.url
    return await browser.http.post(str(page.url), data={"sub": subject})


def get_frontend_params(response: httpx2.Response) -> Mapping[str, str]:
    """Return the query parameters of the frontend's page to which the login redirected."""
    assert response.url.host == "front.test", response.url
    assert (response.url.path, response.url.params["theme"]) == ("/welcome", "dark")
    return response.url.params


def get_login_code(response: httpx2.Response) -> str:
    """Return the login code of a successful login; the URL must contain no other login parameter."""
    assert sorted(get_frontend_params(response)) == ["code", "theme"]
    return get_frontend_params(response)["code"]


async def exchange_login_code(browser: Browser, code: str) -> dict[str, Any]:
    """Exchange the login code for tokens and return them."""
    result = (await browser.execute(LOGIN_WITH_OAUTH, code=code))["loginWithOAuth"]
    assert result["__typename"] == "LoggedIn", result
    tokens: dict[str, Any] = result["tokens"]
    return tokens


async def complete_login(browser: Browser, response: httpx2.Response) -> dict[str, Any]:
    """Exchange the response's login code and return the user who is signed in."""
    return await fetch_current_user(
        browser, (await exchange_login_code(browser, get_login_code(response)))["accessToken"]
    )


async def fetch_current_user(browser: Browser, access_token: str) -> dict[str, Any]:
    """Return the `me` of this access token."""
    headers = {"authorization": f"Bearer {access_token}"}
    body = (await browser.http.post("/graphql", json={"query": ME_QUERY}, headers=headers)).json()
    assert "errors" not in body, body
    user: dict[str, Any] = body["data"]["me"]
    return user


async def assert_login_rejected(postgres: asyncpg.Connection, response: httpx2.Response) -> str:
    """Assert that the login failed and wrote nothing, and return the error code that the frontend gets."""
    assert sorted(get_frontend_params(response)) == ["error", "theme"], response.url
    for table in LOGIN_TABLES:
        assert await postgres.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    return get_frontend_params(response)["error"]
