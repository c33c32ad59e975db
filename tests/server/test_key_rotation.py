"""Secrets are rotated under customers who notice nothing: the first signs, all verify."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from itertools import pairwise

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.settings import Settings
from tests.arrivals import arrived, offering, told
from tests.browser import browsing, opened
from tests.client import Visitor
from tests.factories import add_member
from tests.links import ask_for_reset, links_to, reset
from tests.oauth_providers import GitHub, OpenID
from tests.sessions import LOGIN, is_let_in, log_in, refreshed

OLD, NEW = "rotated-out-7c1e94b02d-a8f3", "rotated-in-15bd60e7fa-c942"
STEPS = [[OLD], [OLD, NEW], [NEW, OLD], [NEW]]
"""As docs/operations.md has them; while replicas are restarted, two neighbours are at work at once."""
EMAIL = "anna@example.com"
CALLBACK = "/auth/google/callback"


@pytest.fixture
async def steps(settings: Settings, shop: Shop) -> AsyncIterator[list[Starlette]]:
    async with AsyncExitStack() as open_:
        yield [await open_.enter_async_context(opened(settings, secret_key=keys)) for keys in STEPS]


async def test_neighbours_take_each_others_tokens(steps: list[Starlette], shop: Shop) -> None:
    await add_member(shop, EMAIL)
    for before, after in pairwise(map(Visitor, steps)):
        held = await log_in(before, EMAIL)
        assert await is_let_in(after, held.access)
        held = await refreshed(after, held)
        assert await is_let_in(before, held.access)
        assert await is_let_in(before, (await refreshed(before, held)).access)


async def test_a_session_outlives_all_steps(steps: list[Starlette], shop: Shop) -> None:
    await add_member(shop, EMAIL)
    held = first = await log_in(Visitor(steps[0]), EMAIL)
    for step in map(Visitor, steps):
        held = await refreshed(step, held)
    assert await is_let_in(Visitor(steps[-1]), held.access)
    assert not await is_let_in(Visitor(steps[-1]), first.access)  # it would have expired meanwhile


async def test_a_key_that_is_dropped_at_once_costs_an_access_token_and_no_session(
    steps: list[Starlette], shop: Shop
) -> None:
    await add_member(shop, EMAIL)
    held = await log_in(Visitor(steps[0]), EMAIL)
    assert not await is_let_in(Visitor(steps[-1]), held.access)
    assert await is_let_in(Visitor(steps[-1]), (await refreshed(Visitor(steps[-1]), held)).access)


async def test_a_letter_is_posted_while_its_key_is_there_and_its_link_works_afterwards(
    steps: list[Starlette], shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    assert (await ask_for_reset(Visitor(steps[0]), EMAIL))["__typename"] == "PasswordResetRequested"
    links = [await links_to(step.state.shop, postgres, EMAIL, "RESET_PASSWORD") for step in steps]
    assert [len(found) for found in links] == [1, 1, 1, 0]
    assert (await reset(Visitor(steps[-1]), links[2][0], "a horse of another colour"))["__typename"] == "LoggedIn"


async def test_who_is_at_a_provider_meanwhile_comes_in(
    settings: Settings, shop: Shop, google: OpenID, github: GitHub
) -> None:
    async with AsyncExitStack() as open_:
        steps = [
            await open_.enter_async_context(offering(settings, google.address, github.address, secret_key=keys))
            for keys in STEPS
        ]
        for before, after in pairwise(steps):
            for begun, ended in ((before, after), (after, before)):
                response = await _through_google(begun, ended)
                async with browsing(ended) as browser:
                    assert (await arrived(browser, response))["email"]
        assert told(await _through_google(steps[0], steps[-1]))["error"] == "state_mismatch"


async def _through_google(begun: Starlette, ended: Starlette) -> httpx2.Response:
    """Begun at one server and ended at another, in one browser."""
    async with browsing(begun) as there, browsing(ended) as back:
        away = await there.http.get("/auth/google", follow_redirects=False)
        answer = await there.http.get(away.headers["location"], follow_redirects=False)
        back.http.cookies = there.http.cookies
        return await back.http.get(CALLBACK, params=httpx2.URL(answer.headers["location"]).params)


async def test_tries_are_counted_anew_under_a_new_first_key(
    steps: list[Starlette], shop: Shop, postgres: asyncpg.Connection
) -> None:
    """What was tried cannot be found under another key: one more round of guesses for each rotation."""
    await add_member(shop, EMAIL)
    counts = []
    for step in steps:
        transport = httpx2.ASGITransport(step, client=("198.51.100.7", 4711))
        async with httpx2.AsyncClient(base_url="http://shop.test", transport=transport) as http:
            wrong = {"email": EMAIL, "password": "not this one"}
            answer = await http.post("/graphql", json={"query": LOGIN, "variables": wrong})
            assert answer.json()["data"]["login"]["__typename"] == "InvalidCredentials"
        counts.append(sorted(row["tries"] for row in await postgres.fetch("SELECT tries FROM throttles")))
    once, twice = [1, 1, 1], [2, 2, 2]
    assert counts == [once, twice, once + twice, twice + twice]
