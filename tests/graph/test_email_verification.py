"""Verifying an address: the link that registering sends, and asking for another."""

import asyncio
from typing import Any

import asyncpg
import pytest

from domain import one_time_tokens
from domain.shop import Shop
from persistence.one_time_tokens import Purpose
from server.settings import Settings
from tests.client import Visitor
from tests.factories import PASSWORD, Member, add_member
from tests.links import REQUEST_VERIFICATION, links_to, reset_link, verify
from tests.locks import holding, until_waiting
from tests.sessions import REGISTER

EMAIL = "anna@example.com"
REFUSED = {
    "__typename": "InvalidToken",
    "code": "AUTH_TOKEN_INVALID",
    "message": "This link or code is unknown, used or too old. Ask for a new one.",
}
LATER = "UPDATE one_time_tokens SET expires_at = now() - interval '1 millisecond'"
LASTS = "SELECT round(extract(epoch FROM expires_at - created_at) / 60) FROM one_time_tokens WHERE purpose = $1"


async def _register(visitor: Visitor, email: str = EMAIL, password: str = PASSWORD) -> dict[str, Any]:
    reply = await visitor.ask(REGISTER, input={"email": email, "password": password})
    outcome: dict[str, Any] = reply["register"]
    return outcome


async def _ask_for_link(visitor: Visitor, member: Member) -> dict[str, Any]:
    reply = await visitor.signed_in(member.token).ask(REQUEST_VERIFICATION)
    outcome: dict[str, Any] = reply["requestEmailVerification"]
    return outcome


async def _is_verified(postgres: asyncpg.Connection, email: str = EMAIL) -> bool:
    return bool(await postgres.fetchval("SELECT email_verified_at IS NOT NULL FROM users WHERE email = $1", email))


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("token", ["", "x", "x" * 90_000, "\x00", "Ω" * 86, "A" * 86])
async def test_a_token_that_was_never_given(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, token: str
) -> None:
    await _register(visitor)
    assert await verify(visitor, token) == REFUSED
    assert not await _is_verified(postgres)


async def test_a_token_that_comes_twice(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    await _register(visitor)
    [token] = await links_to(shop, postgres, EMAIL, "VERIFY_EMAIL")
    assert (await verify(visitor, token))["__typename"] == "EmailVerified"
    assert await verify(visitor, token) == REFUSED


async def test_a_token_that_comes_late(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    await _register(visitor)
    [token] = await links_to(shop, postgres, EMAIL, "VERIFY_EMAIL")
    await postgres.execute(LATER)
    assert await verify(visitor, token) == REFUSED
    assert not await _is_verified(postgres)


async def test_a_token_of_another_kind(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    member = await add_member(shop, EMAIL)
    async with shop.database.transaction() as tx:
        code = await one_time_tokens.issue(shop, tx, member.id, Purpose.OAUTH_LOGIN)
    for token in (await reset_link(visitor, shop, postgres, EMAIL), shop.tokens.one_time_token(code), member.token):
        assert await verify(visitor, token) == REFUSED
    assert not await _is_verified(postgres)
    assert await postgres.fetchval("SELECT count(*) FROM one_time_tokens WHERE used_at IS NOT NULL") == 0


async def test_a_deactivated_account_is_not_verified(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await _register(visitor)
    [token] = await links_to(shop, postgres, EMAIL, "VERIFY_EMAIL")
    await postgres.execute("UPDATE users SET is_active = false")
    assert (await verify(visitor, token))["__typename"] == "InvalidToken"
    assert not await _is_verified(postgres)
    await postgres.execute("UPDATE users SET is_active = true")
    assert (await verify(visitor, token))["__typename"] == "EmailVerified"


async def test_a_visitor_cannot_ask_for_a_link(visitor: Visitor, postgres: asyncpg.Connection) -> None:
    reply = await visitor.ask(REQUEST_VERIFICATION)
    assert (reply.data, reply.codes) == ({"requestEmailVerification": None}, ["UNAUTHENTICATED"])
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 0


async def test_a_registration_that_is_refused_sends_no_link(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    assert (await _register(visitor))["__typename"] == "EmailTaken"
    assert (await _register(visitor, "bob@example.com", "password"))["__typename"] == "InvalidInput"
    for table in ("letters", "one_time_tokens", "pgqueuer"):
        assert await postgres.fetchval(f"SELECT count(*) FROM {table}") == 0


# ── Links ─────────────────────────────────────────────────────────────────────────────────


async def test_registering_sends_a_link_that_verifies(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await _register(visitor)
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 1
    assert not await _is_verified(postgres)
    [token] = await links_to(shop, postgres, EMAIL, "VERIFY_EMAIL")
    outcome = await verify(visitor, token)
    assert (outcome["__typename"], outcome["user"]["isEmailVerified"]) == ("EmailVerified", True)
    assert await _is_verified(postgres)


async def test_a_link_is_asked_for_again_and_one_of_them_spends_all(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member, other = await add_member(shop, EMAIL), await add_member(shop, "bob@example.com")
    for asking in (member, member, other):
        outcome = await _ask_for_link(visitor, asking)
        assert outcome == {"__typename": "VerificationEmailSent", "email": asking.user.email}
    first, second = await links_to(shop, postgres, EMAIL, "VERIFY_EMAIL")
    assert (await verify(visitor, second))["__typename"] == "EmailVerified"
    assert await verify(visitor, first) == REFUSED
    [others] = await links_to(shop, postgres, "bob@example.com", "VERIFY_EMAIL")
    assert (await verify(visitor, others))["user"]["email"] == "bob@example.com"


async def test_who_is_verified_is_told_so_and_gets_no_letter(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    await _ask_for_link(visitor, member)
    [token] = await links_to(shop, postgres, EMAIL, "VERIFY_EMAIL")
    await verify(visitor, token)
    since = await postgres.fetchval("SELECT email_verified_at FROM users")
    assert (await _ask_for_link(visitor, member))["user"]["isEmailVerified"] is True
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 1
    assert await postgres.fetchval("SELECT email_verified_at FROM users") == since


async def test_of_many_at_once_one_token_verifies_once(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, settings: Settings
) -> None:
    await _register(visitor)
    [token] = await links_to(shop, postgres, EMAIL, "VERIFY_EMAIL")
    assert settings.database_url is not None
    async with holding(settings.database_url, "SELECT FROM users FOR UPDATE"):
        tries = [asyncio.create_task(verify(visitor, token)) for _ in range(4)]
        await until_waiting(postgres, 4)
    outcomes = [outcome["__typename"] for outcome in await asyncio.gather(*tries)]
    assert sorted(outcomes) == ["EmailVerified", "InvalidToken", "InvalidToken", "InvalidToken"]


async def test_how_long_each_kind_lasts_and_that_none_is_kept(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    await _ask_for_link(visitor, member)
    plain = [
        await reset_link(visitor, shop, postgres, EMAIL),
        *await links_to(shop, postgres, EMAIL, "VERIFY_EMAIL"),
    ]
    async with shop.database.transaction() as tx:
        plain.append(shop.tokens.one_time_token(await one_time_tokens.issue(shop, tx, member.id, Purpose.OAUTH_LOGIN)))
    assert [await postgres.fetchval(LASTS, purpose) for purpose in Purpose] == [24 * 60, 60, 1]
    tables = ("one_time_tokens", "letters", "pgqueuer")
    kept = str([await postgres.fetch(f"SELECT t::text FROM {table} t") for table in tables])
    assert not [token for token in plain if token in kept]
    assert {len(token) for token in plain} == {86}
