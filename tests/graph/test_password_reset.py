"""Password reset: requests for the link, and the effects of its use."""

import asyncio
import datetime as dt

import asyncpg
import pytest

from domain.auth import one_time_tokens
from domain.auth.passwords import MAX_PASSWORD_LENGTH
from domain.shop import Shop
from persistence.one_time_tokens import TokenPurpose
from server.settings import Settings
from tests.support.auth.sessions import TokenPair, is_authenticated, log_in, try_login, try_refresh
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.email.email_links import (
    RESET_PASSWORD,
    list_link_tokens,
    login_with_oauth,
    request_password_reset,
    request_reset_token,
    reset_password,
    verify_email,
)
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, PASSWORD_HASH, add_user

EMAIL, OTHER_EMAIL = "anna@example.com", "bob@example.com"
NEW_PASSWORD = "a horse of another colour"
INVALID_TOKEN = "InvalidToken"
SELECT_STATE = "SELECT password_hash, is_active, email_verified_at FROM users WHERE email = $1"
COUNT_LIVE_SESSIONS = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL"


async def _fetch_state(postgres: asyncpg.Connection) -> tuple[str | None, bool, dt.datetime | None]:
    row = await postgres.fetchrow(SELECT_STATE, EMAIL)
    assert row is not None
    return row["password_hash"], row["is_active"], row["email_verified_at"]


# ── User errors ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("email", "rule"),
    [("", "REQUIRED"), ("anna", "MALFORMED"), ("anna@example.com\r\nBcc: x@y.z", "MALFORMED"), ("a" * 300, "TOO_LONG")],
)
async def test_invalid_email_address_is_rejected(
    client: ApiClient, postgres: asyncpg.Connection, email: str, rule: str
) -> None:
    result = await request_password_reset(client, email)
    assert result["issues"] == [{"path": ["email"], "rule": rule}]
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 0


@pytest.mark.parametrize("token", ["", "x", "x" * 90_000, "\x00", "Ω" * 86, "A" * 86])
async def test_unknown_token_is_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, token: str
) -> None:
    await add_user(shop, EMAIL)
    await request_reset_token(client, shop, postgres, EMAIL)
    assert (await reset_password(client, token, NEW_PASSWORD))["__typename"] == INVALID_TOKEN
    assert await postgres.fetchval("SELECT password_hash FROM users") == PASSWORD_HASH


async def test_expired_token_is_rejected(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    token = await request_reset_token(client, shop, postgres, EMAIL)
    await postgres.execute("UPDATE one_time_tokens SET expires_at = now() - interval '1 millisecond'")
    assert (await reset_password(client, token, NEW_PASSWORD))["__typename"] == INVALID_TOKEN
    assert await postgres.fetchval("SELECT password_hash FROM users") == PASSWORD_HASH


async def test_token_for_another_purpose_is_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    for purpose in (TokenPurpose.VERIFY_EMAIL, TokenPurpose.OAUTH_LOGIN):
        async with shop.database.transaction() as tx:
            token = shop.tokens.derive_one_time_token(await one_time_tokens.issue(shop, tx, user.id, purpose))
        assert (await reset_password(client, token, NEW_PASSWORD))["__typename"] == INVALID_TOKEN
    reset_token = await request_reset_token(client, shop, postgres, EMAIL)
    assert (await verify_email(client, reset_token))["__typename"] == INVALID_TOKEN
    assert (await login_with_oauth(client, reset_token))["__typename"] == INVALID_TOKEN
    assert await postgres.fetchval("SELECT count(*) FROM one_time_tokens WHERE used_at IS NULL") == 3
    assert await postgres.fetchval("SELECT password_hash FROM users") == PASSWORD_HASH


@pytest.mark.parametrize(
    ("password", "rule"),
    [
        ("", "TOO_SHORT"),
        ("short", "TOO_SHORT"),
        ("password", "NOT_ALLOWED"),
        (EMAIL, "NOT_ALLOWED"),
        ("kQ7#" * 32 + "!", "TOO_LONG"),
        ("x" * 90_000, "TOO_LONG"),
    ],
)
async def test_invalid_password_does_not_use_up_the_link(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, password: str, rule: str
) -> None:
    assert len(password) > MAX_PASSWORD_LENGTH or rule != "TOO_LONG"
    await add_user(shop, EMAIL)
    token = await request_reset_token(client, shop, postgres, EMAIL)
    result = await reset_password(client, token, password)
    assert result["issues"] == [{"path": ["newPassword"], "rule": rule}]
    assert await _fetch_state(postgres) == (PASSWORD_HASH, True, None)
    assert await postgres.fetchval(COUNT_LIVE_SESSIONS) == 1
    assert (await reset_password(client, token, NEW_PASSWORD))["__typename"] == "LoggedIn"


async def test_deactivated_account_cannot_reset_password(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    token = await request_reset_token(client, shop, postgres, EMAIL)
    await postgres.execute("UPDATE users SET is_active = false")
    assert (await reset_password(client, token, NEW_PASSWORD))["code"] == "AUTH_ACCOUNT_DEACTIVATED"
    assert await _fetch_state(postgres) == (PASSWORD_HASH, False, None)
    await postgres.execute("UPDATE users SET is_active = true")
    assert (await reset_password(client, token, NEW_PASSWORD))["__typename"] == "LoggedIn"


async def test_account_deactivated_during_hashing_is_not_reset(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, settings: Settings
) -> None:
    await add_user(shop, EMAIL)
    token = await request_reset_token(client, shop, postgres, EMAIL)
    assert settings.database_url is not None
    async with hold_lock(settings.database_url, "SELECT FROM users FOR UPDATE") as connection:
        reset = asyncio.create_task(reset_password(client, token, NEW_PASSWORD))
        await wait_for_blocked(postgres, 1)
        await connection.execute("UPDATE users SET is_active = false")
    assert (await reset)["__typename"] == "AccountDeactivated"
    assert await _fetch_state(postgres) == (PASSWORD_HASH, False, None)


# ── Effects of a reset ────────────────────────────────────────────────────────────────────


async def test_unknown_address_gets_same_response_and_no_email(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    known_result, unknown_result = (
        await request_password_reset(client, f" {EMAIL.upper()}"),
        await request_password_reset(client, OTHER_EMAIL),
    )
    assert known_result == {"__typename": "PasswordResetRequested", "email": f" {EMAIL.upper()}"}
    assert unknown_result == {"__typename": "PasswordResetRequested", "email": OTHER_EMAIL}
    assert len(await list_link_tokens(shop, postgres, EMAIL, "RESET_PASSWORD")) == 1
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 1


async def test_a_reset_ends_every_session_and_signs_in(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    user, other_user = await add_user(shop, EMAIL), await add_user(shop, OTHER_EMAIL)
    thief_tokens = await log_in(client, EMAIL)
    result = await reset_password(client, await request_reset_token(client, shop, postgres, EMAIL), NEW_PASSWORD)
    assert result["user"] == {
        "id": user.global_id,
        "email": EMAIL,
        "isEmailVerified": True,
        "hasPassword": True,
    }
    assert await is_authenticated(client, TokenPair.from_result(result).access_token)
    for token in (user.token, thief_tokens.access_token):
        assert not await is_authenticated(client, token)
    assert (await try_refresh(client, thief_tokens.refresh_token))["__typename"] == "InvalidToken"
    assert await is_authenticated(client, other_user.token)
    assert (await try_login(client, EMAIL))["__typename"] == "InvalidCredentials"
    assert (await try_login(client, EMAIL, NEW_PASSWORD))["__typename"] == "LoggedIn"


async def test_reset_sets_a_first_password(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL, password_hash=None)
    result = await reset_password(client, await request_reset_token(client, shop, postgres, EMAIL), NEW_PASSWORD)
    assert result["user"]["hasPassword"] is True
    assert (await try_login(client, EMAIL, NEW_PASSWORD))["__typename"] == "LoggedIn"


async def test_using_one_link_invalidates_all(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    await add_user(shop, OTHER_EMAIL)
    first_token, second_token = [await request_reset_token(client, shop, postgres, EMAIL) for _ in range(2)]
    other_token = await request_reset_token(client, shop, postgres, OTHER_EMAIL)
    assert (await reset_password(client, second_token, NEW_PASSWORD))["__typename"] == "LoggedIn"
    for token in (first_token, second_token):
        assert (await reset_password(client, token, "yet another horse"))["__typename"] == INVALID_TOKEN
    assert (await try_login(client, EMAIL, NEW_PASSWORD))["__typename"] == "LoggedIn"
    assert (await reset_password(client, other_token, NEW_PASSWORD))["__typename"] == "LoggedIn"


async def test_concurrent_resets_succeed_once(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, settings: Settings
) -> None:
    await add_user(shop, EMAIL)
    token = await request_reset_token(client, shop, postgres, EMAIL)
    assert settings.database_url is not None
    async with hold_lock(settings.database_url, "SELECT FROM users FOR UPDATE"):
        resets = [asyncio.create_task(reset_password(client, token, f"{NEW_PASSWORD} {number}")) for number in range(3)]
        await wait_for_blocked(postgres, 3)
    results = [result["__typename"] for result in await asyncio.gather(*resets)]
    assert sorted(results) == ["InvalidToken", "InvalidToken", "LoggedIn"]
    assert await postgres.fetchval(COUNT_LIVE_SESSIONS) == 1
    winner = results.index("LoggedIn")
    assert (await try_login(client, EMAIL, f"{NEW_PASSWORD} {winner}"))["__typename"] == "LoggedIn"


async def test_new_password_invalidates_links_and_codes(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    reset_token = await request_reset_token(client, shop, postgres, EMAIL)
    async with shop.database.transaction() as tx:
        code = shop.tokens.derive_one_time_token(
            await one_time_tokens.issue(shop, tx, user.id, TokenPurpose.OAUTH_LOGIN)
        )
    document = """mutation ($current: String!, $new: String!) {
        changePassword(input: {currentPassword: $current, newPassword: $new}) { __typename } }"""
    response = await client.with_token(user.token).execute(document, current=PASSWORD, new=NEW_PASSWORD)
    assert response["changePassword"] == {"__typename": "PasswordChanged"}
    assert (await reset_password(client, reset_token, "yet another horse"))["__typename"] == INVALID_TOKEN
    assert (await login_with_oauth(client, code))["__typename"] == INVALID_TOKEN


async def test_reset_ignores_an_invalid_access_token(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    token = await request_reset_token(client, shop, postgres, EMAIL)
    response = await client.with_token("forged").execute(RESET_PASSWORD, token=token, password=NEW_PASSWORD)
    assert response["resetPassword"]["__typename"] == "LoggedIn"
