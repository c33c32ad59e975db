"""A refresh token works once, however many clients use it concurrently."""

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
TABS = 10
EVERY_TOKEN = "SELECT FROM refresh_tokens FOR UPDATE"
LIVE = """SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id
    WHERE used_at IS NULL AND revoked_at IS NULL"""


@pytest.fixture
async def client_with_grace_period(shop: Shop, settings: Settings) -> AsyncIterator[ApiClient]:
    """Return a client of a server that repeats a lost response for thirty seconds."""
    async with running_client(settings, refresh_grace_seconds=30) as client:
        yield client


async def _refresh_concurrently(
    client: ApiClient, held: TokenPair, database_url: str, postgres: asyncpg.Connection
) -> list[dict[str, Any]]:
    """Refresh one session ten times, released together when all ten wait for its row."""
    async with hold_lock(database_url, EVERY_TOKEN):
        tabs = [asyncio.create_task(try_refresh(client, held.refresh_token)) for _ in range(TABS)]
        await wait_for_blocked(postgres, TABS)
    return await asyncio.gather(*tabs)


async def test_one_of_ten_concurrent_refreshes_wins_and_session_ends(
    client: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    results = await _refresh_concurrently(client, tokens, database_url, postgres)
    assert sorted(result["__typename"] for result in results) == ["InvalidToken"] * 9 + ["SessionRefreshed"]
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens WHERE parent_id IS NOT NULL") == 1
    assert await postgres.fetchval(LIVE) == 0  # nine of them reused the token
    [child] = [TokenPair.from_result(outcome) for outcome in results if "tokens" in outcome]
    assert not await is_authenticated(client, child.access_token)


async def test_concurrent_refreshes_in_grace_period_share_one_successor(
    client_with_grace_period: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    tokens = await log_in(client_with_grace_period, EMAIL)
    results = await _refresh_concurrently(client_with_grace_period, tokens, database_url, postgres)
    assert len({TokenPair.from_result(result).refresh_token for result in results}) == 1
    assert await postgres.fetchval(LIVE) == 1
    assert await is_authenticated(
        client_with_grace_period,
        (await refresh_session(client_with_grace_period, TokenPair.from_result(results[0]))).access_token,
    )


async def test_refresh_in_grace_period_returns_the_same_successor(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    parent = await log_in(client_with_grace_period, EMAIL)
    lost, again = (
        await refresh_session(client_with_grace_period, parent),
        await refresh_session(client_with_grace_period, parent),
    )
    assert again.refresh_token == lost.refresh_token != parent.refresh_token
    assert await is_authenticated(client_with_grace_period, again.access_token)
    assert await postgres.fetchval(LIVE) == 1


async def test_grandparent_token_is_reuse_even_in_grace_period(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    grandparent = await log_in(client_with_grace_period, EMAIL)
    newest = await refresh_session(
        client_with_grace_period, await refresh_session(client_with_grace_period, grandparent)
    )
    assert (await try_refresh(client_with_grace_period, grandparent.refresh_token))["__typename"] == "InvalidToken"
    assert await postgres.fetchval(LIVE) == 0
    assert not await is_authenticated(client_with_grace_period, newest.access_token)


async def test_reuse_of_the_shared_successor_ends_the_session(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    parent = await log_in(client_with_grace_period, EMAIL)
    owners, thiefs = (
        await refresh_session(client_with_grace_period, parent),
        await refresh_session(client_with_grace_period, parent),
    )
    await refresh_session(client_with_grace_period, await refresh_session(client_with_grace_period, thiefs))
    assert (await try_refresh(client_with_grace_period, owners.refresh_token))["__typename"] == "InvalidToken"
    assert await postgres.fetchval(LIVE) == 0


async def test_parent_token_is_reuse_after_grace_period(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    parent = await log_in(client_with_grace_period, EMAIL)
    child = await refresh_session(client_with_grace_period, parent)
    await postgres.execute("UPDATE refresh_tokens SET used_at = used_at - interval '31 seconds'")
    assert (await try_refresh(client_with_grace_period, parent.refresh_token))["__typename"] == "InvalidToken"
    assert await postgres.fetchval(LIVE) == 0
    assert not await is_authenticated(client_with_grace_period, child.access_token)


async def test_ended_session_returns_no_successor(
    client_with_grace_period: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    parent = await log_in(client_with_grace_period, EMAIL)
    await refresh_session(client_with_grace_period, parent)
    await postgres.execute("UPDATE sessions SET revoked_at = now()")
    assert (await try_refresh(client_with_grace_period, parent.refresh_token))["__typename"] == "InvalidToken"


async def test_session_has_a_maximum_lifetime(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    tokens = await refresh_session(client, await log_in(client, EMAIL))
    ends = "SELECT sessions.expires_at FROM sessions"
    await postgres.execute("UPDATE sessions SET expires_at = now() + interval '1 day'")
    newest = await refresh_session(client, tokens)
    last = await postgres.fetchval("SELECT max(expires_at) FROM refresh_tokens WHERE used_at IS NULL")
    assert last == await postgres.fetchval(ends)
    await postgres.execute("UPDATE sessions SET expires_at = now()")
    assert (await try_refresh(client, newest.refresh_token))["__typename"] == "InvalidToken"
    assert not await is_authenticated(client, newest.access_token)
