"""A forgotten password: asking for the link, and what following it changes."""

import asyncio
import datetime as dt

import asyncpg
import pytest

from domain import one_time_tokens
from domain.passwords import MAX_LENGTH
from domain.shop import Shop
from persistence.one_time_tokens import Purpose
from server.settings import Settings
from tests.client import Visitor
from tests.factories import PASSWORD, PASSWORD_HASH, add_member
from tests.links import RESET, ask_for_reset, links_to, reset, reset_link, trade, verify
from tests.locks import holding, until_waiting
from tests.sessions import Held, is_let_in, log_in, try_to_log_in, try_to_refresh

EMAIL, OTHER = "anna@example.com", "bob@example.com"
NEW = "a horse of another colour"
REFUSED = "InvalidToken"
STATE = "SELECT password_hash, is_active, email_verified_at FROM users WHERE email = $1"
ALIVE = "SELECT count(*) FROM sessions WHERE revoked_at IS NULL"


async def _state(postgres: asyncpg.Connection) -> tuple[str | None, bool, dt.datetime | None]:
    row = await postgres.fetchrow(STATE, EMAIL)
    assert row is not None
    return row["password_hash"], row["is_active"], row["email_verified_at"]


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("email", "rule"),
    [("", "REQUIRED"), ("anna", "MALFORMED"), ("anna@example.com\r\nBcc: x@y.z", "MALFORMED"), ("a" * 300, "TOO_LONG")],
)
async def test_what_is_no_address_is_refused(
    visitor: Visitor, postgres: asyncpg.Connection, email: str, rule: str
) -> None:
    outcome = await ask_for_reset(visitor, email)
    assert outcome["issues"] == [{"path": ["email"], "rule": rule}]
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 0


@pytest.mark.parametrize("token", ["", "x", "x" * 90_000, "\x00", "Ω" * 86, "A" * 86])
async def test_a_token_that_was_never_given(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, token: str
) -> None:
    await add_member(shop, EMAIL)
    await reset_link(visitor, shop, postgres, EMAIL)
    assert (await reset(visitor, token, NEW))["__typename"] == REFUSED
    assert await postgres.fetchval("SELECT password_hash FROM users") == PASSWORD_HASH


async def test_a_token_that_comes_late(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_member(shop, EMAIL)
    token = await reset_link(visitor, shop, postgres, EMAIL)
    await postgres.execute("UPDATE one_time_tokens SET expires_at = now() - interval '1 millisecond'")
    assert (await reset(visitor, token, NEW))["__typename"] == REFUSED
    assert await postgres.fetchval("SELECT password_hash FROM users") == PASSWORD_HASH


async def test_a_token_of_another_kind(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    member = await add_member(shop, EMAIL)
    for purpose in (Purpose.VERIFY_EMAIL, Purpose.OAUTH_LOGIN):
        async with shop.database.transaction() as tx:
            token = shop.tokens.one_time_token(await one_time_tokens.issue(shop, tx, member.id, purpose))
        assert (await reset(visitor, token, NEW))["__typename"] == REFUSED
    link = await reset_link(visitor, shop, postgres, EMAIL)
    assert (await verify(visitor, link))["__typename"] == REFUSED
    assert (await trade(visitor, link))["__typename"] == REFUSED
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
async def test_a_password_that_is_refused_leaves_the_link_as_it_was(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, password: str, rule: str
) -> None:
    assert len(password) > MAX_LENGTH or rule != "TOO_LONG"
    await add_member(shop, EMAIL)
    token = await reset_link(visitor, shop, postgres, EMAIL)
    outcome = await reset(visitor, token, password)
    assert outcome["issues"] == [{"path": ["newPassword"], "rule": rule}]
    assert await _state(postgres) == (PASSWORD_HASH, True, None)
    assert await postgres.fetchval(ALIVE) == 1
    assert (await reset(visitor, token, NEW))["__typename"] == "LoggedIn"


async def test_a_deactivated_account_gets_no_new_password(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    token = await reset_link(visitor, shop, postgres, EMAIL)
    await postgres.execute("UPDATE users SET is_active = false")
    assert (await reset(visitor, token, NEW))["code"] == "AUTH_ACCOUNT_DEACTIVATED"
    assert await _state(postgres) == (PASSWORD_HASH, False, None)
    await postgres.execute("UPDATE users SET is_active = true")
    assert (await reset(visitor, token, NEW))["__typename"] == "LoggedIn"


async def test_an_account_that_is_deactivated_while_the_password_is_hashed(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, settings: Settings
) -> None:
    await add_member(shop, EMAIL)
    token = await reset_link(visitor, shop, postgres, EMAIL)
    assert settings.database_url is not None
    async with holding(settings.database_url, "SELECT FROM users FOR UPDATE") as held:
        trying = asyncio.create_task(reset(visitor, token, NEW))
        await until_waiting(postgres, 1)
        await held.execute("UPDATE users SET is_active = false")
    assert (await trying)["__typename"] == "AccountDeactivated"
    assert await _state(postgres) == (PASSWORD_HASH, False, None)


# ── What a reset changes ──────────────────────────────────────────────────────────────────


async def test_an_unknown_address_is_answered_the_same_and_gets_no_letter(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    known, unknown = await ask_for_reset(visitor, f" {EMAIL.upper()}"), await ask_for_reset(visitor, OTHER)
    assert known == {"__typename": "PasswordResetRequested", "email": f" {EMAIL.upper()}"}
    assert unknown == {"__typename": "PasswordResetRequested", "email": OTHER}
    assert len(await links_to(shop, postgres, EMAIL, "RESET_PASSWORD")) == 1
    assert await postgres.fetchval("SELECT count(*) FROM letters") == 1


async def test_a_reset_ends_every_session_and_signs_in(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member, bystander = await add_member(shop, EMAIL), await add_member(shop, OTHER)
    thief = await log_in(visitor, EMAIL)
    outcome = await reset(visitor, await reset_link(visitor, shop, postgres, EMAIL), NEW)
    assert outcome["user"] == {
        "id": member.global_id,
        "email": EMAIL,
        "isEmailVerified": True,
        "hasPassword": True,
    }
    assert await is_let_in(visitor, Held.of(outcome).access)
    for token in (member.token, thief.access):
        assert not await is_let_in(visitor, token)
    assert (await try_to_refresh(visitor, thief.refresh))["__typename"] == "InvalidToken"
    assert await is_let_in(visitor, bystander.token)
    assert (await try_to_log_in(visitor, EMAIL))["__typename"] == "InvalidCredentials"
    assert (await try_to_log_in(visitor, EMAIL, NEW))["__typename"] == "LoggedIn"


async def test_a_reset_gives_a_password_to_who_has_none(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL, password_hash=None)
    outcome = await reset(visitor, await reset_link(visitor, shop, postgres, EMAIL), NEW)
    assert outcome["user"]["hasPassword"] is True
    assert (await try_to_log_in(visitor, EMAIL, NEW))["__typename"] == "LoggedIn"


async def test_one_link_spends_all_and_works_once(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_member(shop, EMAIL)
    await add_member(shop, OTHER)
    first, second = [await reset_link(visitor, shop, postgres, EMAIL) for _ in range(2)]
    others = await reset_link(visitor, shop, postgres, OTHER)
    assert (await reset(visitor, second, NEW))["__typename"] == "LoggedIn"
    for spent in (first, second):
        assert (await reset(visitor, spent, "yet another horse"))["__typename"] == REFUSED
    assert (await try_to_log_in(visitor, EMAIL, NEW))["__typename"] == "LoggedIn"
    assert (await reset(visitor, others, NEW))["__typename"] == "LoggedIn"


async def test_of_many_at_once_one_resets(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, settings: Settings
) -> None:
    await add_member(shop, EMAIL)
    token = await reset_link(visitor, shop, postgres, EMAIL)
    assert settings.database_url is not None
    async with holding(settings.database_url, "SELECT FROM users FOR UPDATE"):
        tries = [asyncio.create_task(reset(visitor, token, f"{NEW} {number}")) for number in range(3)]
        await until_waiting(postgres, 3)
    outcomes = [outcome["__typename"] for outcome in await asyncio.gather(*tries)]
    assert sorted(outcomes) == ["InvalidToken", "InvalidToken", "LoggedIn"]
    assert await postgres.fetchval(ALIVE) == 1
    winner = outcomes.index("LoggedIn")
    assert (await try_to_log_in(visitor, EMAIL, f"{NEW} {winner}"))["__typename"] == "LoggedIn"


async def test_a_new_password_makes_links_and_codes_worthless(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    link = await reset_link(visitor, shop, postgres, EMAIL)
    async with shop.database.transaction() as tx:
        code = shop.tokens.one_time_token(await one_time_tokens.issue(shop, tx, member.id, Purpose.OAUTH_LOGIN))
    document = """mutation ($current: String!, $new: String!) {
        changePassword(input: {currentPassword: $current, newPassword: $new}) { __typename } }"""
    reply = await visitor.signed_in(member.token).ask(document, current=PASSWORD, new=NEW)
    assert reply["changePassword"] == {"__typename": "PasswordChanged"}
    assert (await reset(visitor, link, "yet another horse"))["__typename"] == REFUSED
    assert (await trade(visitor, code))["__typename"] == REFUSED


async def test_a_bad_access_token_does_not_stand_in_the_way(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    await add_member(shop, EMAIL)
    token = await reset_link(visitor, shop, postgres, EMAIL)
    reply = await visitor.signed_in("forged").ask(RESET, token=token, password=NEW)
    assert reply["resetPassword"]["__typename"] == "LoggedIn"
