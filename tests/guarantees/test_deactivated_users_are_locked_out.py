"""Deactivating a user, or revoking an administrator, takes effect on the next request."""

import asyncio
from typing import Any

import asyncpg

from domain.shop import Shop
from tests.support.auth.sessions import (
    ME_QUERY,
    TokenPair,
    is_authenticated,
    log_in,
    refresh_session,
    try_login,
    try_refresh,
)
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, SignedInUser, add_admin, add_book, add_user, book_id

EMAIL = "regular@example.com"
DEACTIVATE = """mutation ($id: ID!) { deactivateUser(input: {userId: $id}) { __typename
    ... on UserDeactivated { sessionsEnded user { email isActive } } ... on ProtectedAccount { user { email } }
    ... on UserError { code } } }"""
REACTIVATE = """mutation ($id: ID!) { reactivateUser(input: {userId: $id}) { __typename
    ... on UserReactivated { user { email isActive } } ... on UserError { code } } }"""
DELETE_BOOK = "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }"
SELECT_SESSIONS = "SELECT id, revoked_at, last_used_at FROM sessions ORDER BY id"
LOCK_REFRESH_TOKENS = "SELECT FROM refresh_tokens FOR UPDATE"
DEACTIVATE_USER = "UPDATE users SET is_active = false WHERE id = $1"


async def _deactivate(client: ApiClient, shop: Shop, user: SignedInUser) -> dict[str, Any]:
    admin = client.with_token((await add_admin(shop)).token)
    result: dict[str, Any] = (await admin.execute(DEACTIVATE, id=user.global_id))["deactivateUser"]
    return result


async def test_every_token_is_rejected_immediately(client: ApiClient, shop: Shop) -> None:
    user = await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    assert await is_authenticated(client, tokens.access_token)
    assert await _deactivate(client, shop, user) == {
        "__typename": "UserDeactivated",
        "sessionsEnded": 2,
        "user": {"email": EMAIL, "isActive": False},
    }
    for token in (user.token, tokens.access_token):
        response = await client.with_token(token).execute(ME_QUERY)
        assert (response.data, response.codes) == ({"me": None}, ["AUTH_ACCOUNT_DEACTIVATED"])
    assert (await try_refresh(client, tokens.refresh_token))["__typename"] == "AccountDeactivated"
    assert (await try_login(client, EMAIL))["__typename"] == "AccountDeactivated"
    assert (await try_login(client, EMAIL, "not the password"))["__typename"] == "InvalidCredentials"


async def test_user_row_decides_even_with_a_live_session(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    await postgres.execute(DEACTIVATE_USER, user.id)
    assert (await client.with_token(tokens.access_token).execute(ME_QUERY)).codes == ["AUTH_ACCOUNT_DEACTIVATED"]
    assert (await try_refresh(client, tokens.refresh_token))["__typename"] == "AccountDeactivated"
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens WHERE used_at IS NOT NULL") == 0


async def test_login_in_progress_fails(
    client: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    async with hold_lock(database_url, DEACTIVATE_USER, user.id):
        login = asyncio.create_task(try_login(client, EMAIL))
        await wait_for_blocked(postgres, 1)
    assert (await login)["__typename"] == "AccountDeactivated"
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens") == 0


async def test_refresh_in_progress_returns_no_working_token(
    client: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    async with hold_lock(database_url, LOCK_REFRESH_TOKENS):
        refresh = asyncio.create_task(try_refresh(client, tokens.refresh_token))
        await wait_for_blocked(postgres, 1)
        assert (await _deactivate(client, shop, user))["__typename"] == "UserDeactivated"
    result = await refresh
    if result["__typename"] == "SessionRefreshed":  # the refresh read the account before the deactivation
        last_tokens = TokenPair.from_result(result)
        assert (await client.with_token(last_tokens.access_token).execute(ME_QUERY)).codes == [
            "AUTH_ACCOUNT_DEACTIVATED"
        ]
        assert (await try_refresh(client, last_tokens.refresh_token))["__typename"] == "AccountDeactivated"
    assert (
        await postgres.fetchval(
            "SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL",
            user.id,
        )
        == 0
    )


async def test_revoked_admin_loses_all_permissions(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    admin = await add_admin(shop)
    book = await add_book(shop)
    await postgres.execute("UPDATE users SET role = 'USER' WHERE id = $1", admin.id)
    demoted_client = client.with_token(admin.token)
    response = await demoted_client.execute(DELETE_BOOK, id=book_id(book))
    assert (response.data, response.codes) == ({"deleteBook": None}, ["FORBIDDEN"])
    assert await postgres.fetchval("SELECT count(*) FROM books") == 1
    assert (await demoted_client.execute("{ me { role } }"))["me"] == {"role": "USER"}


async def test_reactivated_user_must_log_in_again(client: ApiClient, shop: Shop) -> None:
    user = await add_user(shop, EMAIL)
    old_tokens = await log_in(client, EMAIL)
    await _deactivate(client, shop, user)
    admin = client.with_token((await add_admin(shop)).token)
    result = (await admin.execute(REACTIVATE, id=user.global_id))["reactivateUser"]
    assert result == {
        "__typename": "UserReactivated",
        "user": {"email": EMAIL, "isActive": True},
    }
    assert not await is_authenticated(client, old_tokens.access_token)
    assert (await try_refresh(client, old_tokens.refresh_token))["__typename"] == "InvalidToken"
    new_tokens = await log_in(client, EMAIL, PASSWORD)
    assert await is_authenticated(client, (await refresh_session(client, new_tokens)).access_token)


async def test_admins_cannot_deactivate_admins(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    admin, other_admin = (
        await add_admin(shop),
        await add_admin(shop),
    )
    before = await postgres.fetch(SELECT_SESSIONS)
    admin_client = client.with_token(admin.token)
    for account in (other_admin, admin):
        result = (await admin_client.execute(DEACTIVATE, id=account.global_id))["deactivateUser"]
        assert result == {
            "__typename": "ProtectedAccount",
            "code": "ADMIN_PROTECTED_ACCOUNT",
            "user": {"email": account.row.email},
        }
    assert await postgres.fetchval("SELECT bool_and(is_active) FROM users")
    assert await postgres.fetch(SELECT_SESSIONS) == before
    assert await is_authenticated(client, other_admin.token)
