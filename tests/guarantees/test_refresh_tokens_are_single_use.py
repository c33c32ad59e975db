"""A refresh token works once, even if many clients use it concurrently."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.support.auth.sessions import TokenPair, is_authenticated, log_in, refresh_session, try_refresh
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_user

EMAIL = "reader@example.com"
TAB_COUNT = 10
LOCK_REFRESH_TOKENS = "SELECT FROM refresh_tokens FOR UPDATE"
COUNT_LIVE_TOKENS = """SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id
    WHERE used_at IS NULL AND revoked_at IS NULL"""


@pytest.fixture
async def client_with_grace_period(shop: Shop, settings: Settings) -> AsyncIterator[ApiClient]:
    """Return a client of a server that repeats a lost response for thirty seconds."""
    async with running_client(settings, refresh_grace_seconds=30) as client:
        yield client


async def _refresh_concurrently(
    client: ApiClient, tokens: TokenPair, database_url: str, postgres: asyncpg.Connection
) -> list[dict[str, Any]]:
    """Send ten refreshes of one session, and release its row when all ten wait for it."""
    async with hold_lock(database_url, LOCK_REFRESH_TOKENS):
        refreshes = [asyncio.create_task(try_refresh(client, tokens.refresh_token)) for _ in range(TAB_COUNT)]
        await wait_for_blocked(postgres, TAB_COUNT)
    return await asyncio.gather(*refreshes)


async def test_one_of_ten_concurrent_refreshes_wins_and_session_ends(
    client: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    results = await _refresh_concurrently(client, tokens, database_url, postgres)
    assert sorted(result["__typename"] for result in results) == ["InvalidToken"] * 9 + ["SessionRefreshed"]
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens WHERE parent_id IS NOT NULL") == 1
    assert await postgres.fetchval(COUNT_LIVE_TOKENS) == 0  # nine of them reused the token
    [child_tokens] = [TokenPair.from_result(result) for result in results if "tokens" in result]
    assert not await is_authenticated(client, child_tokens.access_token)


async def test_concurrent_refreshes_in_grace_period_share_one_successor(
    client_with_grace_period: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    tokens = await log_in(client_with_grace_period, EMAIL)
    results = await _refresh_concurrently(client_with_grace_period, tokens, database_url, postgres)
    assert len({TokenPair.from_result(result).refresh_token for result in results}) == 1
    assert await postgres.fetchval(COUNT_LIVE_TOKENS) == 1
    assert await is_authenticated(
        client_with_grace_period,
        (await refresh_session(client_with_grace_period, TokenPair.from_result(results[0]))).access_token,
    )


async def test_refresh_in_grace_period_returns_the_same_successor(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    parent_tokens = await log_in(client_with_grace_period, EMAIL)
    lost_tokens, repeated_tokens = (
        await refresh_session(client_with_grace_period, parent_tokens),
        await refresh_session(client_with_grace_period, parent_tokens),
    )
    assert repeated_tokens.refresh_token == lost_tokens.refresh_token != parent_tokens.refresh_token
    assert await is_authenticated(client_with_grace_period, repeated_tokens.access_token)
    assert await postgres.fetchval(COUNT_LIVE_TOKENS) == 1


async def test_grandparent_token_is_reuse_even_in_grace_period(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    grandparent_tokens = await log_in(client_with_grace_period, EMAIL)
    newest_tokens = await refresh_session(
        client_with_grace_period, await refresh_session(client_with_grace_period, grandparent_tokens)
    )
    assert (await try_refresh(client_with_grace_period, grandparent_tokens.refresh_token))[
        "__typename"
    ] == "InvalidToken"
    assert await postgres.fetchval(COUNT_LIVE_TOKENS) == 0
    assert not await is_authenticated(client_with_grace_period, newest_tokens.access_token)


async def test_reuse_of_the_shared_successor_ends_the_session(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    parent_tokens = await log_in(client_with_grace_period, EMAIL)
    owner_tokens, thief_tokens = (
        await refresh_session(client_with_grace_period, parent_tokens),
        await refresh_session(client_with_grace_period, parent_tokens),
    )
    await refresh_session(client_with_grace_period, await refresh_session(client_with_grace_period, thief_tokens))
    assert (await try_refresh(client_with_grace_period, owner_tokens.refresh_token))["__typename"] == "InvalidToken"
    assert await postgres.fetchval(COUNT_LIVE_TOKENS) == 0


async def test_parent_token_is_reuse_after_grace_period(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    parent_tokens = await log_in(client_with_grace_period, EMAIL)
    child_tokens = await refresh_session(client_with_grace_period, parent_tokens)
    await postgres.execute("UPDATE refresh_tokens SET used_at = used_at - interval '31 seconds'")
    assert (await try_refresh(client_with_grace_period, parent_tokens.refresh_token))["__typename"] == "InvalidToken"
    assert await postgres.fetchval(COUNT_LIVE_TOKENS) == 0
    assert not await is_authenticated(client_with_grace_period, child_tokens.access_token)


async def test_ended_session_returns_no_successor(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    parent_tokens = await log_in(client_with_grace_period, EMAIL)
    await refresh_session(client_with_grace_period, parent_tokens)
    await postgres.execute("UPDATE sessions SET revoked_at = now()")
    assert (await try_refresh(client_with_grace_period, parent_tokens.refresh_token))["__typename"] == "InvalidToken"


async def test_session_has_a_maximum_lifetime(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    tokens = await refresh_session(client, await log_in(client, EMAIL))
    select_expiry = "SELECT sessions.expires_at FROM sessions"
    await postgres.execute("UPDATE sessions SET expires_at = now() + interval '1 day'")
    newest_tokens = await refresh_session(client, tokens)
    token_expires_at = await postgres.fetchval("SELECT max(expires_at) FROM refresh_tokens WHERE used_at IS NULL")
    assert token_expires_at == await postgres.fetchval(select_expiry)
    await postgres.execute("UPDATE sessions SET expires_at = now()")
    assert (await try_refresh(client, newest_tokens.refresh_token))["__typename"] == "InvalidToken"
    assert not await is_authenticated(client, newest_tokens.access_token)
