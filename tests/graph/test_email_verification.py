"""Email verification: the link in the registration email, and requests for another link."""

import asyncio
from typing import Any

import asyncpg
import pytest

from domain.auth import one_time_tokens
from domain.shop import Shop
from persistence.one_time_tokens import TokenPurpose
from server.settings import Settings
from tests.support.auth.sessions import REGISTER
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.email.email_links import REQUEST_VERIFICATION, list_link_tokens, request_reset_token, verify_email
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, SignedInUser, add_user

EMAIL = "anna@example.com"
INVALID_TOKEN = {
    "__typename": "InvalidToken",
    "code": "AUTH_TOKEN_INVALID",
    "message": "This link or code is invalid, used or expired. Request a new one.",
}
EXPIRE_TOKENS = "UPDATE one_time_tokens SET expires_at = now() - interval '1 millisecond'"
SELECT_LIFETIME_MINUTES = (
    "SELECT round(extract(epoch FROM expires_at - created_at) / 60) FROM one_time_tokens WHERE purpose = $1"
)


async def _register(client: ApiClient, email: str = EMAIL, password: str = PASSWORD) -> dict[str, Any]:
    response = await client.execute(REGISTER, input={"email": email, "password": password})
    result: dict[str, Any] = response["register"]
    return result


async def _request_link(client: ApiClient, user: SignedInUser) -> dict[str, Any]:
    response = await client.with_token(user.token).execute(REQUEST_VERIFICATION)
    result: dict[str, Any] = response["requestEmailVerification"]
    return result


async def _is_verified(postgres: asyncpg.Connection, email: str = EMAIL) -> bool:
    return bool(await postgres.fetchval("SELECT email_verified_at IS NOT NULL FROM users WHERE email = $1", email))


# ── User errors ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", ["", "x", "x" * 90_000, "\x00", "Ω" * 86, "A" * 86])
async def test_unknown_token_is_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, token: str
) -> None:
    await _register(client)
    assert await verify_email(client, token) == INVALID_TOKEN
    assert not await _is_verified(postgres)


async def test_used_token_is_rejected(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await _register(client)
    [token] = await list_link_tokens(shop, postgres, EMAIL, "VERIFY_EMAIL")
    assert (await verify_email(client, token))["__typename"] == "EmailVerified"
    assert await verify_email(client, token) == INVALID_TOKEN


async def test_expired_token_is_rejected(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await _register(client)
    [token] = await list_link_tokens(shop, postgres, EMAIL, "VERIFY_EMAIL")
    await postgres.execute(EXPIRE_TOKENS)
    assert await verify_email(client, token) == INVALID_TOKEN
    assert not await _is_verified(postgres)


async def test_token_for_another_purpose_is_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    async with shop.database.transaction() as tx:
        code_id = await one_time_tokens.issue(shop, tx, user.id, TokenPurpose.OAUTH_LOGIN)
    for token in (
        await request_reset_token(client, shop, postgres, EMAIL),
        shop.tokens.derive_one_time_token(code_id),
        user.token,
    ):
        assert await verify_email(client, token) == INVALID_TOKEN
    assert not await _is_verified(postgres)
    assert await postgres.fetchval("SELECT count(*) FROM one_time_tokens WHERE used_at IS NOT NULL") == 0


async def test_a_deactivated_account_is_not_verified(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await _register(client)
    [token] = await list_link_tokens(shop, postgres, EMAIL, "VERIFY_EMAIL")
    await postgres.execute("UPDATE users SET is_active = false")
    assert (await verify_email(client, token))["__typename"] == "InvalidToken"
    assert not await _is_verified(postgres)
    await postgres.execute("UPDATE users SET is_active = true")
    assert (await verify_email(client, token))["__typename"] == "EmailVerified"


async def test_anonymous_caller_cannot_request_a_link(client: ApiClient, postgres: asyncpg.Connection) -> None:
    response = await client.execute(REQUEST_VERIFICATION)
    assert (response.data, response.codes) == ({"requestEmailVerification": None}, ["UNAUTHENTICATED"])
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 0


async def test_failed_registration_sends_no_link(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    assert (await _register(client))["__typename"] == "EmailTaken"
    assert (await _register(client, "bob@example.com", "password"))["__typename"] == "InvalidInput"
    for table in ("letters", "one_time_tokens", "pgqueuer"):
        assert await postgres.fetchval(f"SELECT count(*) FROM {table}") == 0


# ── Links ─────────────────────────────────────────────────────────────────────────────────


async def test_registering_sends_a_link_that_verifies(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await _register(client)
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 1
    assert not await _is_verified(postgres)
    [token] = await list_link_tokens(shop, postgres, EMAIL, "VERIFY_EMAIL")
    result = await verify_email(client, token)
    assert (result["__typename"], result["user"]["isEmailVerified"]) == ("EmailVerified", True)
    assert await _is_verified(postgres)


async def test_using_one_link_invalidates_all(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    user, other = await add_user(shop, EMAIL), await add_user(shop, "bob@example.com")
    for requester in (user, user, other):
        result = await _request_link(client, requester)
        assert result == {"__typename": "VerificationEmailSent", "email": requester.row.email}
    first_token, second_token = await list_link_tokens(shop, postgres, EMAIL, "VERIFY_EMAIL")
    assert (await verify_email(client, second_token))["__typename"] == "EmailVerified"
    assert await verify_email(client, first_token) == INVALID_TOKEN
    [other_token] = await list_link_tokens(shop, postgres, "bob@example.com", "VERIFY_EMAIL")
    assert (await verify_email(client, other_token))["user"]["email"] == "bob@example.com"


async def test_verified_user_gets_no_email(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    user = await add_user(shop, EMAIL)
    await _request_link(client, user)
    [token] = await list_link_tokens(shop, postgres, EMAIL, "VERIFY_EMAIL")
    await verify_email(client, token)
    verified_at = await postgres.fetchval("SELECT email_verified_at FROM users")
    assert (await _request_link(client, user))["user"]["isEmailVerified"] is True
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 1
    assert await postgres.fetchval("SELECT email_verified_at FROM users") == verified_at


async def test_concurrent_verifications_succeed_once(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, settings: Settings
) -> None:
    await _register(client)
    [token] = await list_link_tokens(shop, postgres, EMAIL, "VERIFY_EMAIL")
    assert settings.database_url is not None
    async with hold_lock(settings.database_url, "SELECT FROM users FOR UPDATE"):
        verifications = [asyncio.create_task(verify_email(client, token)) for _ in range(4)]
        await wait_for_blocked(postgres, 4)
    results = [result["__typename"] for result in await asyncio.gather(*verifications)]
    assert sorted(results) == ["EmailVerified", "InvalidToken", "InvalidToken", "InvalidToken"]


async def test_token_lifetimes_and_hashed_storage(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    user = await add_user(shop, EMAIL)
    await _request_link(client, user)
    tokens = [
        await request_reset_token(client, shop, postgres, EMAIL),
        *await list_link_tokens(shop, postgres, EMAIL, "VERIFY_EMAIL"),
    ]
    async with shop.database.transaction() as tx:
        tokens.append(
            shop.tokens.derive_one_time_token(await one_time_tokens.issue(shop, tx, user.id, TokenPurpose.OAUTH_LOGIN))
        )
    assert [await postgres.fetchval(SELECT_LIFETIME_MINUTES, purpose) for purpose in TokenPurpose] == [24 * 60, 60, 1]
    tables = ("one_time_tokens", "letters", "pgqueuer")
    contents = str([await postgres.fetch(f"SELECT t::text FROM {table} t") for table in tables])
    assert not [token for token in tokens if token in contents]
    assert {len(token) for token in tokens} == {86}
