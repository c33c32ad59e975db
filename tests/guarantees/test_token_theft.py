"""Reusing a refresh token ends its session; a copy of the tables reveals no usable token."""

from base64 import urlsafe_b64decode

import asyncpg

from domain.shop import Shop
from persistence.tables import Base
from tests.support.auth.sessions import TokenPair, is_authenticated, log_in, refresh_session, try_refresh
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_user

EMAIL = "owner@example.com"
INVALID_TOKEN = {
    "__typename": "InvalidToken",
    "code": "AUTH_TOKEN_INVALID",
    "message": "This session has ended. Log in again.",
}


async def _count_revoked_sessions(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM sessions WHERE revoked_at IS NOT NULL")
    return count


async def test_replayed_token_revokes_newest_tokens(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    stolen_tokens = await log_in(client, EMAIL)
    newest_tokens = await refresh_session(client, await refresh_session(client, stolen_tokens))
    assert await is_authenticated(client, newest_tokens.access_token)
    assert await try_refresh(client, stolen_tokens.refresh_token) == INVALID_TOKEN
    assert await _count_revoked_sessions(postgres) == 1  # committed, although the result was a user error
    assert not await is_authenticated(client, newest_tokens.access_token)
    assert not await is_authenticated(client, stolen_tokens.access_token)
    assert await try_refresh(client, newest_tokens.refresh_token) == INVALID_TOKEN


async def test_thief_loses_the_session_when_the_owner_refreshes(client: ApiClient, shop: Shop) -> None:
    await add_user(shop, EMAIL)
    owner_tokens = await log_in(client, EMAIL)
    thief_tokens = await refresh_session(client, owner_tokens)
    assert await try_refresh(client, owner_tokens.refresh_token) == INVALID_TOKEN
    assert await try_refresh(client, thief_tokens.refresh_token) == INVALID_TOKEN
    assert not await is_authenticated(client, thief_tokens.access_token)


async def test_other_sessions_of_the_user_continue(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    stolen_tokens, other_tokens = await log_in(client, EMAIL), await log_in(client, EMAIL)
    await refresh_session(client, stolen_tokens)
    assert await try_refresh(client, stolen_tokens.refresh_token) == INVALID_TOKEN
    assert await _count_revoked_sessions(postgres) == 1
    assert await is_authenticated(client, other_tokens.access_token)
    assert await is_authenticated(client, (await refresh_session(client, other_tokens)).access_token)


async def test_unknown_token_ends_nothing(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    for forged_token in (
        "",
        "x",
        tokens.refresh_token[:-1],
        tokens.refresh_token + "A",
        tokens.refresh_token.swapcase(),
        tokens.access_token,
        "\x00",
        "💥",
    ):
        assert await try_refresh(client, forged_token) == INVALID_TOKEN
    assert await _count_revoked_sessions(postgres) == 0
    assert await is_authenticated(client, (await refresh_session(client, tokens)).access_token)


async def test_expired_token_is_not_treated_as_theft(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    await postgres.execute("UPDATE refresh_tokens SET expires_at = now() - interval '1 second'")
    assert await try_refresh(client, tokens.refresh_token) == INVALID_TOKEN
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == 1
    assert await _count_revoked_sessions(postgres) == 0


async def test_database_dump_contains_no_token(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_user(shop, EMAIL)
    first = await log_in(client, EMAIL)
    second = await refresh_session(client, first)
    third = await refresh_session(client, second)
    dump = await _dump_tables(postgres)
    assert EMAIL in dump
    for tokens in (first, second, third):
        for encoded_token in _encode_variants(tokens):
            assert encoded_token not in dump


async def _dump_tables(postgres: asyncpg.Connection) -> str:
    rows = [
        row[0]
        for table in Base.metadata.sorted_tables
        for row in await postgres.fetch(f"SELECT t::text FROM {table.name} t")
    ]
    return "\n".join(rows)


def _encode_variants(tokens: TokenPair) -> list[str]:
    """Return the beginning of a refresh token as text, as its bytes, and as the bytes that it encodes."""
    token = tokens.refresh_token
    return [
        token[:16],
        token[:16].encode().hex(),
        urlsafe_b64decode(token + "==")[:12].hex(),
        tokens.access_token[-16:],
    ]
