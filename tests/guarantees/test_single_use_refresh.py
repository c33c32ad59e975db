"""A refresh token works once: of ten clients at once, at most one is left with a token that goes on."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import asyncpg
import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor
from tests.factories import add_member
from tests.locks import holding, until_waiting
from tests.sessions import Held, is_let_in, log_in, refreshed, try_to_refresh

EMAIL = "reader@example.com"
TABS = 10
EVERY_TOKEN = "SELECT FROM refresh_tokens FOR UPDATE"
LIVE = """SELECT count(*) FROM refresh_tokens JOIN sessions ON sessions.id = session_id
    WHERE used_at IS NULL AND revoked_at IS NULL"""


@pytest.fixture
async def patient(shop: Shop, settings: Settings) -> AsyncIterator[Visitor]:
    """At a shop that gives a lost answer again for thirty seconds."""
    app: Starlette = create_app(settings.model_copy(update={"refresh_grace_seconds": 30}))
    async with app.router.lifespan_context(app):
        yield Visitor(app)


async def _all_at_once(
    visitor: Visitor, held: Held, database_url: str, postgres: asyncpg.Connection
) -> list[dict[str, Any]]:
    """Ten clients with one token, let go when all ten have reached its row."""
    async with holding(database_url, EVERY_TOKEN):
        tabs = [asyncio.create_task(try_to_refresh(visitor, held.refresh)) for _ in range(TABS)]
        await until_waiting(postgres, TABS)
    return await asyncio.gather(*tabs)


async def test_of_ten_at_once_one_wins_and_the_family_ends(
    visitor: Visitor, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    held = await log_in(visitor, EMAIL)
    outcomes = await _all_at_once(visitor, held, database_url, postgres)
    assert sorted(outcome["__typename"] for outcome in outcomes) == ["InvalidToken"] * 9 + ["SessionRefreshed"]
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens WHERE parent_id IS NOT NULL") == 1
    assert await postgres.fetchval(LIVE) == 0  # nine of them were a second use
    [child] = [Held.of(outcome) for outcome in outcomes if "tokens" in outcome]
    assert not await is_let_in(visitor, child.access)


async def test_within_the_grace_ten_at_once_share_one_successor(
    patient: Visitor, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    held = await log_in(patient, EMAIL)
    outcomes = await _all_at_once(patient, held, database_url, postgres)
    assert len({Held.of(outcome).refresh for outcome in outcomes}) == 1
    assert await postgres.fetchval(LIVE) == 1
    assert await is_let_in(patient, (await refreshed(patient, Held.of(outcomes[0]))).access)


async def test_within_the_grace_the_parent_gets_the_same_successor_again(
    patient: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    parent = await log_in(patient, EMAIL)
    lost, again = await refreshed(patient, parent), await refreshed(patient, parent)
    assert again.refresh == lost.refresh != parent.refresh
    assert await is_let_in(patient, again.access)
    assert await postgres.fetchval(LIVE) == 1


async def test_a_grandparent_is_a_second_use_even_within_the_grace(
    patient: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    grandparent = await log_in(patient, EMAIL)
    newest = await refreshed(patient, await refreshed(patient, grandparent))
    assert (await try_to_refresh(patient, grandparent.refresh))["__typename"] == "InvalidToken"
    assert await postgres.fetchval(LIVE) == 0
    assert not await is_let_in(patient, newest.access)


async def test_once_the_thief_has_used_the_shared_successor_its_second_use_ends_the_session(
    patient: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    parent = await log_in(patient, EMAIL)
    owners, thiefs = await refreshed(patient, parent), await refreshed(patient, parent)
    await refreshed(patient, await refreshed(patient, thiefs))
    assert (await try_to_refresh(patient, owners.refresh))["__typename"] == "InvalidToken"
    assert await postgres.fetchval(LIVE) == 0


async def test_past_the_grace_the_parent_is_a_second_use(
    patient: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    parent = await log_in(patient, EMAIL)
    child = await refreshed(patient, parent)
    await postgres.execute("UPDATE refresh_tokens SET used_at = used_at - interval '31 seconds'")
    assert (await try_to_refresh(patient, parent.refresh))["__typename"] == "InvalidToken"
    assert await postgres.fetchval(LIVE) == 0
    assert not await is_let_in(patient, child.access)


async def test_a_session_that_is_over_gives_no_successor_again(
    patient: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    parent = await log_in(patient, EMAIL)
    await refreshed(patient, parent)
    await postgres.execute("UPDATE sessions SET revoked_at = now()")
    assert (await try_to_refresh(patient, parent.refresh))["__typename"] == "InvalidToken"


async def test_a_session_ends_for_good_however_often_it_was_refreshed(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    held = await refreshed(visitor, await log_in(visitor, EMAIL))
    ends = "SELECT sessions.expires_at FROM sessions"
    await postgres.execute("UPDATE sessions SET expires_at = now() + interval '1 day'")
    newest = await refreshed(visitor, held)
    last = await postgres.fetchval("SELECT max(expires_at) FROM refresh_tokens WHERE used_at IS NULL")
    assert last == await postgres.fetchval(ends)
    await postgres.execute("UPDATE sessions SET expires_at = now()")
    assert (await try_to_refresh(visitor, newest.refresh))["__typename"] == "InvalidToken"
    assert not await is_let_in(visitor, newest.access)
