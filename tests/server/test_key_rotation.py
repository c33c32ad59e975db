"""The rotation of SECRET_KEY: the first key signs, all keys verify, and customers stay logged in."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.settings import Settings
from tests.support.auth.oauth_flow import app_with_providers, complete_login, get_frontend_params
from tests.support.auth.oauth_providers import FakeGitHub, FakeOpenIDProvider
from tests.support.auth.sessions import LOGIN, is_authenticated, log_in, refresh_session
from tests.support.email.email_links import list_link_tokens, request_password_reset, reset_password
from tests.support.http.apps import running_app
from tests.support.http.browser import open_browser
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_user

OLD_KEY, NEW_KEY = "rotated-out-7c1e94b02d-a8f3", "rotated-in-15bd60e7fa-c942"
STEPS = [[OLD_KEY], [OLD_KEY, NEW_KEY], [NEW_KEY, OLD_KEY], [NEW_KEY]]
"""The steps of docs/how-to/rotate-keys.md; during a rolling restart, servers of two adjacent steps run."""
EMAIL = "anna@example.com"
CALLBACK = "/auth/google/callback"


@pytest.fixture
async def rotation_apps(settings: Settings, shop: Shop) -> AsyncIterator[list[Starlette]]:
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(running_app(settings, secret_key=keys)) for keys in STEPS]


async def test_adjacent_steps_accept_each_others_tokens(rotation_apps: list[Starlette], shop: Shop) -> None:
    await add_user(shop, EMAIL)
    for before, after in pairwise(map(ApiClient, rotation_apps)):
        tokens = await log_in(before, EMAIL)
        assert await is_authenticated(after, tokens.access_token)
        tokens = await refresh_session(after, tokens)
        assert await is_authenticated(before, tokens.access_token)
        assert await is_authenticated(before, (await refresh_session(before, tokens)).access_token)


async def test_session_survives_all_steps(rotation_apps: list[Starlette], shop: Shop) -> None:
    await add_user(shop, EMAIL)
    tokens = first_tokens = await log_in(ApiClient(rotation_apps[0]), EMAIL)
    for step in map(ApiClient, rotation_apps):
        tokens = await refresh_session(step, tokens)
    assert await is_authenticated(ApiClient(rotation_apps[-1]), tokens.access_token)
    # The last step does not accept the old key; in production, the token has expired by then.
    assert not await is_authenticated(ApiClient(rotation_apps[-1]), first_tokens.access_token)


async def test_removing_a_key_without_overlap_invalidates_access_tokens_only(
    rotation_apps: list[Starlette], shop: Shop
) -> None:
    await add_user(shop, EMAIL)
    tokens = await log_in(ApiClient(rotation_apps[0]), EMAIL)
    assert not await is_authenticated(ApiClient(rotation_apps[-1]), tokens.access_token)
    assert await is_authenticated(
        ApiClient(rotation_apps[-1]), (await refresh_session(ApiClient(rotation_apps[-1]), tokens)).access_token
    )


async def test_email_is_sent_with_its_key_and_link_works_afterwards(
    rotation_apps: list[Starlette], shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    assert (await request_password_reset(ApiClient(rotation_apps[0]), EMAIL))["__typename"] == "PasswordResetRequested"
    links = [await list_link_tokens(step.state.shop, postgres, EMAIL, "RESET_PASSWORD") for step in rotation_apps]
    assert [len(step_links) for step_links in links] == [1, 1, 1, 0]
    assert (await reset_password(ApiClient(rotation_apps[-1]), links[2][0], "a horse of another colour"))[
        "__typename"
    ] == "LoggedIn"


async def test_oauth_login_survives_rotation(
    settings: Settings, shop: Shop, google: FakeOpenIDProvider, github: FakeGitHub
) -> None:
    async with AsyncExitStack() as stack:
        steps = [
            await stack.enter_async_context(app_with_providers(settings, google.url, github.url, secret_key=keys))
            for keys in STEPS
        ]
        for before, after in pairwise(steps):
            for first_app, second_app in ((before, after), (after, before)):
                response = await _log_in_across_servers(first_app, second_app)
                async with open_browser(second_app) as browser:
                    assert (await complete_login(browser, response))["email"]
        assert get_frontend_params(await _log_in_across_servers(steps[0], steps[-1]))["error"] == "state_mismatch"


async def _log_in_across_servers(first_app: Starlette, second_app: Starlette) -> httpx2.Response:
    """Start a sign-in at one server, and complete it at another server in the same browser."""
    async with open_browser(first_app) as first_browser, open_browser(second_app) as second_browser:
        redirect = await first_browser.http.get("/auth/google", follow_redirects=False)
        callback_redirect = await first_browser.http.get(redirect.headers["location"], follow_redirects=False)
        second_browser.http.cookies = first_browser.http.cookies
        return await second_browser.http.get(CALLBACK, params=httpx2.URL(callback_redirect.headers["location"]).params)


async def test_login_attempts_reset_with_a_new_first_key(
    rotation_apps: list[Starlette], shop: Shop, postgres: asyncpg.Connection
) -> None:
    """Counts are stored under a derived key, so each rotation grants one more round of attempts."""
    await add_user(shop, EMAIL)
    counts_by_step = []
    for step in rotation_apps:
        transport = httpx2.ASGITransport(step, client=("198.51.100.7", 4711))
        async with httpx2.AsyncClient(base_url="http://shop.test", transport=transport) as http:
            variables = {"email": EMAIL, "password": "not this one"}
            response = await http.post("/graphql", json={"query": LOGIN, "variables": variables})
            assert response.json()["data"]["login"]["__typename"] == "InvalidCredentials"
        counts_by_step.append(sorted(row["tries"] for row in await postgres.fetch("SELECT tries FROM throttles")))
    first_round, second_round = [1, 1, 1], [2, 2, 2]
    assert counts_by_step == [first_round, second_round, first_round + second_round, second_round + second_round]
