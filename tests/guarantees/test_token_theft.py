"""A refresh token presented twice ends its session for whoever holds it; and no copy of the tables gives one away."""

from base64 import urlsafe_b64decode

import asyncpg

from domain.shop import Shop
from persistence.models import Table
from tests.client import Visitor
from tests.factories import add_member
from tests.sessions import Held, is_let_in, log_in, refreshed, try_to_refresh

EMAIL = "owner@example.com"
REFUSED = {
    "__typename": "InvalidToken",
    "code": "AUTH_TOKEN_INVALID",
    "message": "This session is over. Log in again.",
}


async def _revoked_sessions(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM sessions WHERE revoked_at IS NOT NULL")
    return count


async def test_a_replayed_token_ends_the_newest_child_and_its_access_token(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    stolen = await log_in(visitor, EMAIL)
    newest = await refreshed(visitor, await refreshed(visitor, stolen))
    assert await is_let_in(visitor, newest.access)
    assert await try_to_refresh(visitor, stolen.refresh) == REFUSED
    assert await _revoked_sessions(postgres) == 1  # committed, though the answer was a refusal
    assert not await is_let_in(visitor, newest.access)
    assert not await is_let_in(visitor, stolen.access)
    assert await try_to_refresh(visitor, newest.refresh) == REFUSED


async def test_the_thief_who_was_first_loses_the_session_when_the_owner_comes(visitor: Visitor, shop: Shop) -> None:
    await add_member(shop, EMAIL)
    owners = await log_in(visitor, EMAIL)
    thiefs = await refreshed(visitor, owners)
    assert await try_to_refresh(visitor, owners.refresh) == REFUSED
    assert await try_to_refresh(visitor, thiefs.refresh) == REFUSED
    assert not await is_let_in(visitor, thiefs.access)


async def test_other_logins_of_the_same_user_go_on(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_member(shop, EMAIL)
    stolen, elsewhere = await log_in(visitor, EMAIL), await log_in(visitor, EMAIL)
    await refreshed(visitor, stolen)
    assert await try_to_refresh(visitor, stolen.refresh) == REFUSED
    assert await _revoked_sessions(postgres) == 1
    assert await is_let_in(visitor, elsewhere.access)
    assert await is_let_in(visitor, (await refreshed(visitor, elsewhere)).access)


async def test_a_token_nobody_was_given_ends_nothing(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    held = await log_in(visitor, EMAIL)
    for made_up in (
        "",
        "x",
        held.refresh[:-1],
        held.refresh + "A",
        held.refresh.swapcase(),
        held.access,
        "\x00",
        "💥",
    ):
        assert await try_to_refresh(visitor, made_up) == REFUSED
    assert await _revoked_sessions(postgres) == 0
    assert await is_let_in(visitor, (await refreshed(visitor, held)).access)


async def test_a_token_past_its_time_is_refused_and_not_taken_for_theft(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    held = await log_in(visitor, EMAIL)
    await postgres.execute("UPDATE refresh_tokens SET expires_at = now() - interval '1 second'")
    assert await try_to_refresh(visitor, held.refresh) == REFUSED
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens WHERE used_at IS NULL") == 1
    assert await _revoked_sessions(postgres) == 0


async def test_a_copy_of_the_tables_holds_no_token_that_was_ever_given(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    first = await log_in(visitor, EMAIL)
    second = await refreshed(visitor, first)
    third = await refreshed(visitor, second)
    dump = await _dump(postgres)
    assert EMAIL in dump
    for held in (first, second, third):
        for form in _forms_of(held):
            assert form not in dump


async def _dump(postgres: asyncpg.Connection) -> str:
    rows = [
        row[0]
        for table in Table.metadata.sorted_tables
        for row in await postgres.fetch(f"SELECT t::text FROM {table.name} t")
    ]
    return "\n".join(rows)


def _forms_of(held: Held) -> list[str]:
    """The beginnings of a refresh token as text, as bytes of that text, and as the bytes it stands for."""
    token = held.refresh
    return [
        token[:16],
        token[:16].encode().hex(),
        urlsafe_b64decode(token + "==")[:12].hex(),
        held.access[-16:],
    ]
