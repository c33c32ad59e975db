"""Signing in through a provider that says no, or not what it should: an error with a code, and nobody is in."""

from typing import Any

import asyncpg
import httpx2
import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server import oauth
from server.settings import Settings
from tests.arrivals import TRACES, arrived, code_in, nobody_in, offering, told
from tests.browser import Browser, browsing
from tests.oauth_providers import GitHub, OpenID

CALLBACK = "/auth/github/callback"


# ── The browser's side ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("path", ["google", "google/callback", "Google", "facebook", "facebook/callback?code=x"])
async def test_a_provider_that_is_not_offered(settings: Settings, shop: Shop, github: GitHub, path: str) -> None:
    async with offering(settings, github=github.address) as app, browsing(app) as browser:
        response = await browser.http.get(f"/auth/{path}")
        assert (response.status_code, response.json()["error"]) == (404, "not_offered")


@pytest.mark.parametrize("provider", ["google", "github"])
async def test_the_user_denies(
    browser: Browser, google: OpenID, github: GitHub, postgres: asyncpg.Connection, provider: str
) -> None:
    google.denies = github.denies = True
    assert await nobody_in(postgres, await browser.http.get(f"/auth/{provider}")) == "access_denied"


@pytest.mark.parametrize("said", ["server_error", "", "<script>", "x" * 5_000])
async def test_another_error_of_the_provider(browser: Browser, postgres: asyncpg.Connection, said: str) -> None:
    response = await browser.http.get(CALLBACK, params={"error": said})
    assert await nobody_in(postgres, response) == "provider_refused"


async def _brought_back(browser: Browser) -> dict[str, str]:
    """What GitHub sends the browser back with, before it is brought to the shop."""
    there = await browser.http.get("/auth/github", follow_redirects=False)
    back = await browser.http.get(there.headers["location"], follow_redirects=False)
    return dict(httpx2.URL(back.headers["location"]).params)


@pytest.mark.parametrize("state", [None, "", "x", "Ω", "\x00", "x" * 5_000])
async def test_another_state(browser: Browser, postgres: asyncpg.Connection, state: str | None) -> None:
    answer = await _brought_back(browser)
    del answer["state"]
    response = await browser.http.get(CALLBACK, params=answer if state is None else answer | {"state": state})
    assert await nobody_in(postgres, response) == "state_mismatch"
    assert await nobody_in(postgres, await browser.http.get(CALLBACK, params=answer)) == "state_mismatch"


async def test_another_browser(browser: Browser, offered: Starlette, postgres: asyncpg.Connection) -> None:
    """An attacker's answer in the victim's browser signs nobody in, whether or not the victim has begun, too."""
    answer = await _brought_back(browser)
    async with browsing(offered) as victim:
        assert await nobody_in(postgres, await victim.http.get(CALLBACK, params=answer)) == "state_mismatch"
        await _brought_back(victim)
        assert await nobody_in(postgres, await victim.http.get(CALLBACK, params=answer)) == "state_mismatch"


async def test_another_provider(browser: Browser, postgres: asyncpg.Connection) -> None:
    answer = await _brought_back(browser)
    response = await browser.http.get("/auth/google/callback", params=answer)
    assert await nobody_in(postgres, response) == "state_mismatch"


async def test_a_cookie_that_was_changed(browser: Browser, postgres: asyncpg.Connection) -> None:
    answer = await _brought_back(browser)
    [name] = browser.http.cookies
    signed = browser.http.cookies[name]
    browser.http.cookies.clear()
    browser.http.cookies.set(name, "e30=" + signed[signed.index(".") :], "shop.test", "/auth")
    assert await nobody_in(postgres, await browser.http.get(CALLBACK, params=answer)) == "state_mismatch"


async def test_an_answer_that_comes_late(
    browser: Browser, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = await _brought_back(browser)
    monkeypatch.setattr(oauth, "LIFETIME", -1)
    assert await nobody_in(postgres, await browser.http.get(CALLBACK, params=answer)) == "state_mismatch"


async def test_an_answer_that_comes_twice(browser: Browser, postgres: asyncpg.Connection) -> None:
    answer = await _brought_back(browser)
    code_in(await browser.http.get(CALLBACK, params=answer))
    assert told(await browser.http.get(CALLBACK, params=answer))["error"] == "state_mismatch"
    assert await postgres.fetchval("SELECT count(*) FROM one_time_tokens") == 1


@pytest.mark.parametrize("code", ["", "made up", "\x00", "Ω", "x" * 5_000])
async def test_a_code_that_the_provider_never_gave(browser: Browser, postgres: asyncpg.Connection, code: str) -> None:
    answer = await _brought_back(browser) | {"code": code}
    assert await nobody_in(postgres, await browser.http.get(CALLBACK, params=answer)) == "provider_refused"


async def test_a_code_that_was_caught_on_the_way(
    browser: Browser, offered: Starlette, postgres: asyncpg.Connection
) -> None:
    """Without the verifier that only its own browser has, it is worth nothing."""
    caught = (await _brought_back(browser))["code"]
    async with browsing(offered) as thief:
        answer = await _brought_back(thief) | {"code": caught}
        assert await nobody_in(postgres, await thief.http.get(CALLBACK, params=answer)) == "provider_refused"


@pytest.mark.parametrize("provider", ["google", "github"])
async def test_an_answer_from_another_issuer(browser: Browser, postgres: asyncpg.Connection, provider: str) -> None:
    there = await browser.http.get(f"/auth/{provider}", follow_redirects=False)
    back = await browser.http.get(there.headers["location"], follow_redirects=False)
    mixed_up = httpx2.URL(back.headers["location"]).copy_merge_params({"iss": "https://attacker.test"})
    assert await nobody_in(postgres, await browser.http.get(mixed_up)) == "provider_refused"


async def test_an_answer_that_should_name_its_issuer(
    settings: Settings, shop: Shop, google: OpenID, postgres: asyncpg.Connection
) -> None:
    google.metadata = {"authorization_response_iss_parameter_supported": True}
    async with offering(settings, google.address) as app, browsing(app) as browser:
        assert await nobody_in(postgres, await browser.http.get("/auth/google")) == "provider_refused"


# ── Addresses ─────────────────────────────────────────────────────────────────────────────


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
async def test_an_address_that_google_does_not_vouch_for(
    browser: Browser, google: OpenID, postgres: asyncpg.Connection, claims: dict[str, Any], code: str
) -> None:
    google.claims = claims
    assert await nobody_in(postgres, await browser.http.get("/auth/google")) == code


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
async def test_an_address_that_github_does_not_vouch_for(
    browser: Browser, github: GitHub, postgres: asyncpg.Connection, emails: list[Any], code: str
) -> None:
    github.emails = emails
    assert await nobody_in(postgres, await browser.http.get("/auth/github")) == code


async def test_someone_deactivated_does_not_come_in(browser: Browser, postgres: asyncpg.Connection) -> None:
    await arrived(browser, await browser.http.get("/auth/github"))
    await postgres.execute("UPDATE users SET is_active = false")
    before = [await postgres.fetchval(f"SELECT count(*) FROM {table}") for table in TRACES]
    for provider in ("github", "google"):  # known there, and by the address
        assert told(await browser.http.get(f"/auth/{provider}"))["error"] == "account_deactivated"
    assert [await postgres.fetchval(f"SELECT count(*) FROM {table}") for table in TRACES] == before
