"""Coming in through a provider with a browser: from the button to the frontend, and in with the code."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import httpx2
from starlette.applications import Starlette

from server.settings import Settings
from tests.browser import FRONTEND, SHOP, Browser, opened
from tests.links import TRADE
from tests.oauth_providers import CLIENT, SECRET

IN = """{ me { id email displayName isEmailVerified hasPassword linkedProviders } }"""
TRACES = ("users", "sessions", "identities", "letters", "one_time_tokens")
LOGINS = "{ oauthLogins { provider url } }"


def through(google: str | None = None, github: str | None = None) -> dict[str, Any]:
    """Settings for providers at these addresses."""
    changes: dict[str, Any] = {"public_url": SHOP, "frontend_url": FRONTEND}
    if google is not None:
        changes |= {"google_client_id": CLIENT, "google_client_secret": SECRET, "google_issuer": google}
    if github is not None:
        changes |= {"github_client_id": CLIENT, "github_client_secret": SECRET}
        changes |= {"github_url": github, "github_api_url": github}
    return changes


@asynccontextmanager
async def offering(
    settings: Settings, google: str | None = None, github: str | None = None, **more: Any
) -> AsyncIterator[Starlette]:
    """A shop that offers to sign in through these."""
    async with opened(settings, **(through(google, github) | more)) as app:
        yield app


async def chosen_at_google(browser: Browser, subject: str) -> httpx2.Response:
    """The account is picked on the page of a provider that asks."""
    page = await browser.http.get("/auth/google")
    assert page.url.host == "localhost", page.url
    return await browser.http.post(str(page.url), data={"sub": subject})


def told(response: httpx2.Response) -> Mapping[str, str]:
    """What the frontend is told in the address that the browser ends at."""
    assert response.url.host == "front.test", response.url
    assert (response.url.path, response.url.params["theme"]) == ("/welcome", "dark")
    return response.url.params


def code_in(response: httpx2.Response) -> str:
    assert sorted(told(response)) == ["code", "theme"]
    return told(response)["code"]


async def signed_in_with(browser: Browser, code: str) -> dict[str, Any]:
    """The tokens that the code is traded for."""
    outcome = (await browser.ask(TRADE, code=code))["loginWithOAuth"]
    assert outcome["__typename"] == "LoggedIn", outcome
    tokens: dict[str, Any] = outcome["tokens"]
    return tokens


async def arrived(browser: Browser, response: httpx2.Response) -> dict[str, Any]:
    """Who is in, once the code is traded."""
    return await known_by(browser, (await signed_in_with(browser, code_in(response)))["accessToken"])


async def known_by(browser: Browser, access_token: str) -> dict[str, Any]:
    headers = {"authorization": f"Bearer {access_token}"}
    answer = (await browser.http.post("/graphql", json={"query": IN}, headers=headers)).json()
    assert "errors" not in answer, answer
    user: dict[str, Any] = answer["data"]["me"]
    return user


async def nobody_in(postgres: asyncpg.Connection, response: httpx2.Response) -> str:
    """The code that the frontend is told when nobody has come in and nothing was made."""
    assert sorted(told(response)) == ["error", "theme"], response.url
    for table in TRACES:
        assert await postgres.fetchval(f"SELECT count(*) FROM {table}") == 0, table
    return told(response)["error"]
