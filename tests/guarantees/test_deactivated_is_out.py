"""Whoever is deactivated, or an administrator no longer, is out at once: no token they hold waits for its end."""

import asyncio
from typing import Any

import asyncpg

from domain.shop import Shop
from tests.client import Visitor
from tests.factories import (
    PASSWORD,
    Member,
    add_administrator,
    add_book,
    add_member,
    book_id,
)
from tests.locks import holding, until_waiting
from tests.sessions import (
    ME,
    Held,
    is_let_in,
    log_in,
    refreshed,
    try_to_log_in,
    try_to_refresh,
)

EMAIL = "regular@example.com"
DEACTIVATE = """mutation ($id: ID!) { deactivateUser(input: {userId: $id}) { __typename
    ... on UserDeactivated { sessionsEnded user { email isActive } } ... on ProtectedAccount { user { email } }
    ... on UserError { code } } }"""
REACTIVATE = """mutation ($id: ID!) { reactivateUser(input: {userId: $id}) { __typename
    ... on UserReactivated { user { email isActive } } ... on UserError { code } } }"""
DELETE_BOOK = "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }"
SESSIONS = "SELECT id, revoked_at, last_used_at FROM sessions ORDER BY id"
EVERY_TOKEN = "SELECT FROM refresh_tokens FOR UPDATE"
LOCK_OUT = "UPDATE users SET is_active = false WHERE id = $1"


async def _deactivate(visitor: Visitor, shop: Shop, member: Member) -> dict[str, Any]:
    administrator = visitor.signed_in((await add_administrator(shop)).token)
    outcome: dict[str, Any] = (await administrator.ask(DEACTIVATE, id=member.global_id))["deactivateUser"]
    return outcome


async def test_every_door_is_shut_at_once(visitor: Visitor, shop: Shop) -> None:
    member = await add_member(shop, EMAIL)
    held = await log_in(visitor, EMAIL)
    assert await is_let_in(visitor, held.access)
    assert await _deactivate(visitor, shop, member) == {
        "__typename": "UserDeactivated",
        "sessionsEnded": 2,
        "user": {"email": EMAIL, "isActive": False},
    }
    for token in (member.token, held.access):
        reply = await visitor.signed_in(token).ask(ME)
        assert (reply.data, reply.codes) == ({"me": None}, ["AUTH_ACCOUNT_DEACTIVATED"])
    assert (await try_to_refresh(visitor, held.refresh))["__typename"] == "AccountDeactivated"
    assert (await try_to_log_in(visitor, EMAIL))["__typename"] == "AccountDeactivated"
    assert (await try_to_log_in(visitor, EMAIL, "not the password"))["__typename"] == "InvalidCredentials"


async def test_the_row_alone_decides_even_where_the_session_lives(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    held = await log_in(visitor, EMAIL)
    await postgres.execute(LOCK_OUT, member.id)
    assert (await visitor.signed_in(held.access).ask(ME)).codes == ["AUTH_ACCOUNT_DEACTIVATED"]
    assert (await try_to_refresh(visitor, held.refresh))["__typename"] == "AccountDeactivated"
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens WHERE used_at IS NOT NULL") == 0


async def test_a_login_under_way_does_not_slip_in(
    visitor: Visitor, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    async with holding(database_url, LOCK_OUT, member.id):
        login = asyncio.create_task(try_to_log_in(visitor, EMAIL))
        await until_waiting(postgres, 1)
    assert (await login)["__typename"] == "AccountDeactivated"
    assert await postgres.fetchval("SELECT count(*) FROM refresh_tokens") == 0


async def test_a_refresh_under_way_gives_nothing_that_works(
    visitor: Visitor, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    held = await log_in(visitor, EMAIL)
    async with holding(database_url, EVERY_TOKEN):
        refresh = asyncio.create_task(try_to_refresh(visitor, held.refresh))
        await until_waiting(postgres, 1)
        assert (await _deactivate(visitor, shop, member))["__typename"] == "UserDeactivated"
    outcome = await refresh
    if outcome["__typename"] == "SessionRefreshed":  # it had read the account before
        late = Held.of(outcome)
        assert (await visitor.signed_in(late.access).ask(ME)).codes == ["AUTH_ACCOUNT_DEACTIVATED"]
        assert (await try_to_refresh(visitor, late.refresh))["__typename"] == "AccountDeactivated"
    assert (
        await postgres.fetchval(
            "SELECT count(*) FROM sessions WHERE user_id = $1 AND revoked_at IS NULL",
            member.id,
        )
        == 0
    )


async def test_an_administrator_no_longer_may_nothing_more(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    administrator = await add_administrator(shop)
    book = await add_book(shop)
    await postgres.execute("UPDATE users SET role = 'USER' WHERE id = $1", administrator.id)
    demoted = visitor.signed_in(administrator.token)
    reply = await demoted.ask(DELETE_BOOK, id=book_id(book))
    assert (reply.data, reply.codes) == ({"deleteBook": None}, ["FORBIDDEN"])
    assert await postgres.fetchval("SELECT count(*) FROM books") == 1
    assert (await demoted.ask("{ me { role } }"))["me"] == {"role": "USER"}


async def test_let_in_again_only_by_a_fresh_login(visitor: Visitor, shop: Shop) -> None:
    member = await add_member(shop, EMAIL)
    old = await log_in(visitor, EMAIL)
    await _deactivate(visitor, shop, member)
    administrator = visitor.signed_in((await add_administrator(shop)).token)
    outcome = (await administrator.ask(REACTIVATE, id=member.global_id))["reactivateUser"]
    assert outcome == {
        "__typename": "UserReactivated",
        "user": {"email": EMAIL, "isActive": True},
    }
    assert not await is_let_in(visitor, old.access)
    assert (await try_to_refresh(visitor, old.refresh))["__typename"] == "InvalidToken"
    fresh = await log_in(visitor, EMAIL, PASSWORD)
    assert await is_let_in(visitor, (await refreshed(visitor, fresh)).access)


async def test_administrators_are_protected_from_each_other_and_from_themselves(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    administrator, colleague = (
        await add_administrator(shop),
        await add_administrator(shop),
    )
    before = await postgres.fetch(SESSIONS)
    me = visitor.signed_in(administrator.token)
    for protected in (colleague, administrator):
        outcome = (await me.ask(DEACTIVATE, id=protected.global_id))["deactivateUser"]
        assert outcome == {
            "__typename": "ProtectedAccount",
            "code": "ADMIN_PROTECTED_ACCOUNT",
            "user": {"email": protected.user.email},
        }
    assert await postgres.fetchval("SELECT bool_and(is_active) FROM users")
    assert await postgres.fetch(SESSIONS) == before
    assert await is_let_in(visitor, colleague.token)
