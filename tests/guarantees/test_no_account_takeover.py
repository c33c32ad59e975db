"""No attacker takes over an account by registering its address first, or with an unverified address."""

import asyncio
import datetime as dt
from collections.abc import AsyncIterator, Iterator
from typing import Any

import asyncpg
import pytest
from starlette.applications import Starlette

from domain.accounts import grant_admin
from domain.auth import one_time_tokens
from domain.shop import Shop
from persistence.one_time_tokens import TokenPurpose
from server.settings import Settings
from tests.support.auth.oauth_flow import (
    app_with_providers,
    assert_login_rejected,
    complete_login,
    exchange_login_code,
    fetch_current_user,
    get_frontend_params,
    get_login_code,
)
from tests.support.auth.oauth_providers import FakeGitHub, FakeOpenIDProvider, run_provider
from tests.support.auth.sessions import REGISTER, TokenPair, is_authenticated, log_in, try_login, try_refresh
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.email.email_links import (
    REQUEST_VERIFICATION,
    list_link_tokens,
    login_with_oauth,
    request_reset_token,
    reset_password,
    verify_email,
)
from tests.support.http.browser import Browser, open_browser
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, add_user

VICTIM = "mona@example.com"
SELECT_ACCOUNTS = "SELECT u::text FROM users u UNION ALL SELECT s::text FROM sessions s"
NEW_PASSWORD = "a horse of another colour"
CHANGE_PASSWORD = """mutation ($current: String!, $new: String!) {
    changePassword(input: {currentPassword: $current, newPassword: $new}) { __typename } }"""


@pytest.fixture(scope="module")
def google() -> Iterator[FakeOpenIDProvider]:
    provider = FakeOpenIDProvider()
    with run_provider(provider):
        yield provider


@pytest.fixture(scope="module")
def github() -> Iterator[FakeGitHub]:
    provider = FakeGitHub()
    with run_provider(provider):
        yield provider


@pytest.fixture(scope="module")
async def app_with_both_providers(
    settings: Settings, google: FakeOpenIDProvider, github: FakeGitHub
) -> AsyncIterator[Starlette]:
    async with app_with_providers(settings, google.url, github.url) as app:
        yield app


@pytest.fixture
async def victim(
    app_with_both_providers: Starlette, google: FakeOpenIDProvider, github: FakeGitHub, shop: Shop
) -> AsyncIterator[Browser]:
    """Return the browser of a user who has this address at both providers and no account in the store."""
    google.reset()
    github.reset()
    async with open_browser(app_with_both_providers) as browser:
        yield browser


@pytest.fixture
def attacker(app_with_both_providers: Starlette) -> ApiClient:
    return ApiClient(app_with_both_providers)


async def _register(attacker: ApiClient) -> TokenPair:
    response = await attacker.execute(REGISTER, input={"email": VICTIM, "password": PASSWORD})
    return TokenPair.from_result(response["register"])


async def _is_locked_out(attacker: ApiClient, tokens: TokenPair) -> bool:
    rejections = {
        (await try_login(attacker, VICTIM))["__typename"] == "InvalidCredentials",
        (await try_refresh(attacker, tokens.refresh_token))["__typename"] == "InvalidToken",
        not await is_authenticated(attacker, tokens.access_token),
    }
    return rejections == {True}


# ── The attacker registers the victim's address first ─────────────────────────────────────


@pytest.mark.parametrize("provider", ["google", "github"])
async def test_earlier_registrant_loses_access_to_the_owner(
    victim: Browser, attacker: ApiClient, shop: Shop, postgres: asyncpg.Connection, provider: str
) -> None:
    first_tokens = await _register(attacker)
    second_tokens = await log_in(attacker, VICTIM)
    user = await complete_login(victim, await victim.http.get(f"/auth/{provider}"))
    assert (user["email"], user["isEmailVerified"], user["hasPassword"]) == (VICTIM, True, False)
    assert user["linkedProviders"] == [provider.upper()]
    for tokens in (first_tokens, second_tokens):
        assert await _is_locked_out(attacker, tokens)
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'PROVIDER_LINKED'") == 1


async def test_admin_keeps_password_after_provider_login(victim: Browser, attacker: ApiClient, shop: Shop) -> None:
    await grant_admin(shop, VICTIM, "keeper of many shelves")
    user = await complete_login(victim, await victim.http.get("/auth/google"))
    assert (user["email"], user["hasPassword"]) == (VICTIM, True)
    assert (await try_login(attacker, VICTIM, "keeper of many shelves"))["__typename"] == "LoggedIn"


async def test_earlier_links_and_codes_are_invalid(
    victim: Browser, attacker: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    tokens = await _register(attacker)
    await attacker.with_token(tokens.access_token).execute(REQUEST_VERIFICATION)
    user_id = await postgres.fetchval("SELECT id FROM users")
    async with shop.database.transaction() as tx:
        login_code = shop.tokens.derive_one_time_token(
            await one_time_tokens.issue(shop, tx, user_id, TokenPurpose.OAUTH_LOGIN)
        )
    reset_token = await request_reset_token(attacker, shop, postgres, VICTIM)
    verification_tokens = await list_link_tokens(shop, postgres, VICTIM, "VERIFY_EMAIL")
    owners_code = get_login_code(await victim.http.get("/auth/google"))
    assert (await reset_password(attacker, reset_token, NEW_PASSWORD))["__typename"] == "InvalidToken"
    assert (await login_with_oauth(attacker, login_code))["__typename"] == "InvalidToken"
    assert len(verification_tokens) == 2
    for token in verification_tokens:
        assert (await verify_email(attacker, token))["__typename"] == "InvalidToken"
    assert await exchange_login_code(victim, owners_code)


async def test_concurrent_password_change(
    victim: Browser, attacker: ApiClient, postgres: asyncpg.Connection, settings: Settings
) -> None:
    """The attacker has no access afterwards, regardless of which request commits first."""
    tokens = await _register(attacker)
    assert settings.database_url is not None
    async with hold_lock(settings.database_url, "SELECT FROM users FOR UPDATE"):
        callback = asyncio.create_task(victim.http.get("/auth/google"))
        await wait_for_blocked(postgres, 1)
        login = asyncio.create_task(try_login(attacker, VICTIM))
        password_change = asyncio.create_task(
            attacker.with_token(tokens.access_token).execute(CHANGE_PASSWORD, current=PASSWORD, new=NEW_PASSWORD)
        )
        await wait_for_blocked(postgres, 3)
    user = await complete_login(victim, await callback)
    result, response = await login, await password_change
    assert user["hasPassword"] is False
    assert response["changePassword"]["__typename"] == "InvalidCredentials"
    assert result["__typename"] == "InvalidCredentials"
    assert await _is_locked_out(attacker, tokens)


async def test_concurrent_registration(
    victim: Browser, attacker: ApiClient, postgres: asyncpg.Connection, settings: Settings
) -> None:
    assert settings.database_url is not None
    insert_user = (
        "INSERT INTO users (id, email, display_name, password_hash) VALUES (gen_random_uuid(), $1, 'First', 'hash')"
    )
    async with hold_lock(settings.database_url, insert_user, VICTIM):
        callback = asyncio.create_task(victim.http.get("/auth/google"))
        await wait_for_blocked(postgres, 1)
    user = await complete_login(victim, await callback)
    assert (user["displayName"], user["hasPassword"], user["isEmailVerified"]) == ("First", False, True)
    assert await postgres.fetchval("SELECT count(*) FROM users") == 1


async def test_owners_password_reset_removes_earlier_access(
    victim: Browser, attacker: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    tokens = await _register(attacker)
    result = await reset_password(attacker, await request_reset_token(attacker, shop, postgres, VICTIM), NEW_PASSWORD)
    assert result["user"]["isEmailVerified"] is True
    assert await _is_locked_out(attacker, tokens)
    user = await complete_login(victim, await victim.http.get("/auth/google"))  # both addresses are verified now
    assert (user["hasPassword"], user["linkedProviders"]) == (True, ["GOOGLE"])
    assert await is_authenticated(attacker, TokenPair.from_result(result).access_token)


# ── The attacker claims an unverified address ─────────────────────────────────────────────


@pytest.mark.parametrize("is_verified", [True, False])
async def test_unverified_provider_email_is_not_linked(
    victim: Browser,
    client: ApiClient,
    google: FakeOpenIDProvider,
    github: FakeGitHub,
    shop: Shop,
    postgres: asyncpg.Connection,
    is_verified: bool,
) -> None:
    """The attacker has the provider's account, and the victim that of the store."""
    email_verified_at = dt.datetime.now(dt.UTC) if is_verified else None
    user = await add_user(shop, VICTIM, email_verified_at=email_verified_at)
    google.claims = {"email_verified": False}
    github.emails = [{"email": VICTIM, "primary": True, "verified": False}]
    before = await postgres.fetch(SELECT_ACCOUNTS)
    for provider in ("google", "github"):
        assert get_frontend_params(await victim.http.get(f"/auth/{provider}"))["error"] == "email_unverified"
    github.emails = [{"email": "attacker@example.com", "primary": False, "verified": True}]
    github.user["email"] = VICTIM  # a public profile may contain any address
    assert get_frontend_params(await victim.http.get("/auth/github"))["error"] == "email_missing"
    assert await postgres.fetch(SELECT_ACCOUNTS) == before
    assert await postgres.fetchval("SELECT count(*) FROM identities") == 0
    assert await is_authenticated(client, user.token)


async def test_unverified_provider_email_creates_no_account(
    victim: Browser, google: FakeOpenIDProvider, postgres: asyncpg.Connection
) -> None:
    google.claims = {"email_verified": False}
    assert await assert_login_rejected(postgres, await victim.http.get("/auth/google")) == "email_unverified"


async def test_reassigned_provider_email_changes_no_account(victim: Browser, google: FakeOpenIDProvider) -> None:
    """The provider's user id identifies the account; its current address does not."""
    mona = await complete_login(victim, await victim.http.get("/auth/google"))
    google.claims = {"sub": "2002", "email": "other@example.com"}
    other = await complete_login(victim, await victim.http.get("/auth/google"))
    google.claims = {"sub": "2002", "email": VICTIM}
    assert await complete_login(victim, await victim.http.get("/auth/google")) == other
    assert other["id"] != mona["id"]


# ── Concurrent callbacks ──────────────────────────────────────────────────────────────────


async def test_concurrent_first_callbacks_create_one_user(
    victim: Browser, app_with_both_providers: Starlette, postgres: asyncpg.Connection, settings: Settings
) -> None:
    assert settings.database_url is not None
    async with open_browser(app_with_both_providers) as other:
        async with hold_lock(settings.database_url, "LOCK TABLE users IN SHARE ROW EXCLUSIVE MODE"):
            callbacks = [asyncio.create_task(browser.http.get("/auth/google")) for browser in (victim, other)]
            await wait_for_blocked(postgres, 2)
        codes = [get_login_code(response) for response in await asyncio.gather(*callbacks)]
    assert await postgres.fetchval("SELECT count(DISTINCT user_id) FROM one_time_tokens") == 1
    assert await exchange_login_code(victim, codes[0])
    assert [await postgres.fetchval(f"SELECT count(*) FROM {table}") for table in ("users", "identities")] == [1, 1]


async def test_concurrent_first_callbacks_link_once(
    victim: Browser,
    attacker: ApiClient,
    app_with_both_providers: Starlette,
    postgres: asyncpg.Connection,
    settings: Settings,
) -> None:
    tokens = await _register(attacker)
    assert settings.database_url is not None
    async with open_browser(app_with_both_providers) as other:
        async with hold_lock(settings.database_url, "SELECT FROM users FOR UPDATE"):
            callbacks = [
                asyncio.create_task(victim.http.get("/auth/google")),
                asyncio.create_task(other.http.get("/auth/google")),
                asyncio.create_task(other.http.get("/auth/github")),
            ]
            await wait_for_blocked(postgres, 3)
        codes = [get_login_code(response) for response in await asyncio.gather(*callbacks)]
    user = await fetch_current_user(victim, (await exchange_login_code(victim, codes[1]))["accessToken"])
    assert (user["linkedProviders"], user["hasPassword"]) == (["GITHUB", "GOOGLE"], False)
    assert await postgres.fetchval("SELECT count(*) FROM users") == 1
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'PROVIDER_LINKED'") == 2
    assert await _is_locked_out(attacker, tokens)


async def test_login_code_works_once_under_concurrency(
    victim: Browser, attacker: ApiClient, postgres: asyncpg.Connection, settings: Settings
) -> None:
    code = get_login_code(await victim.http.get("/auth/google"))
    assert settings.database_url is not None
    async with hold_lock(settings.database_url, "SELECT FROM users FOR UPDATE"):
        attempts = [asyncio.create_task(login_with_oauth(attacker, code)) for _ in range(3)]
        await wait_for_blocked(postgres, 3)
    results: list[dict[str, Any]] = await asyncio.gather(*attempts)
    assert sorted(result["__typename"] for result in results) == ["InvalidToken", "InvalidToken", "LoggedIn"]
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 1
