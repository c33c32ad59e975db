"""A signed-in user: their profile and their password; and whom administrators lock out."""

import asyncio

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.models import new_id
from tests.client import Visitor
from tests.factories import PASSWORD, PASSWORD_HASH, add_administrator, add_book, add_member, book_id
from tests.locks import holding, until_waiting
from tests.sessions import is_let_in, log_in, refreshed, try_to_log_in, try_to_refresh

EMAIL, NEW_PASSWORD = "anna@example.com", "a better one for Anna"
RENAME = """mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { __typename
    ... on ProfileUpdated { user { displayName } } ... on InvalidInput { issues { path rule } } } }"""
CHANGE_PASSWORD = """mutation ($current: String, $new: String!) {
    changePassword(input: {currentPassword: $current, newPassword: $new}) { __typename
        ... on PasswordChanged { sessionsEnded } ... on UserError { code message }
        ... on InvalidInput { issues { path rule } } } }"""
LOCK_OUT = "mutation ($id: ID!) { deactivateUser(input: {userId: $id}) { __typename ... on NotFound { id } } }"
LET_IN = "mutation ($id: ID!) { reactivateUser(input: {userId: $id}) { __typename ... on NotFound { id } } }"
LOCK_USER = "SELECT FROM users WHERE id = $1 FOR UPDATE"


async def _alive(postgres: asyncpg.Connection) -> int:
    alive: int = await postgres.fetchval("SELECT count(*) FROM sessions WHERE revoked_at IS NULL")
    return alive


# ── Profile and password ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("name", "rule"), [("", "REQUIRED"), ("A", "TOO_SHORT"), ("A" * 51, "TOO_LONG")])
async def test_a_name_that_is_refused_changes_nothing(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, name: str, rule: str
) -> None:
    me = visitor.signed_in((await add_member(shop)).token)
    outcome = (await me.ask(RENAME, input={"displayName": name}))["updateProfile"]
    assert outcome == {"__typename": "InvalidInput", "issues": [{"path": ["displayName"], "rule": rule}]}
    assert await postgres.fetchval("SELECT display_name FROM users") == "Reader"


@pytest.mark.parametrize(
    ("changes", "name"), [({"displayName": " Anna "}, "Anna"), ({}, "Reader"), ({"displayName": None}, "Reader")]
)
async def test_a_profile_keeps_what_is_left_out(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, changes: dict[str, str | None], name: str
) -> None:
    await add_member(shop, display_name="Somebody else")
    member = await add_member(shop)
    outcome = (await visitor.signed_in(member.token).ask(RENAME, input=changes))["updateProfile"]
    assert outcome == {"__typename": "ProfileUpdated", "user": {"displayName": name}}
    names = await postgres.fetch("SELECT display_name FROM users ORDER BY id")
    assert [row["display_name"] for row in names] == ["Somebody else", name]


async def test_a_profile_has_no_role_to_change(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    me = visitor.signed_in((await add_member(shop)).token)
    reply = await me.ask(RENAME, input={"displayName": "Anna", "role": "ADMIN"})
    assert (reply.data, reply.codes) == (None, ["BAD_USER_INPUT"])
    reply = await me.ask("mutation { updateProfile(input: {role: ADMIN}) { __typename } }")
    assert (reply.data, reply.codes) == (None, ["GRAPHQL_VALIDATION_FAILED"])
    row = await postgres.fetchrow("SELECT role, display_name FROM users")
    assert row is not None
    assert tuple(row) == ("USER", "Reader")


@pytest.mark.parametrize("current", [None, "", "not the password", PASSWORD + " ", PASSWORD + "x" * 1_000])
async def test_a_wrong_current_password_changes_nothing(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, current: str | None
) -> None:
    member = await add_member(shop, EMAIL)
    await add_member(shop)
    reply = await visitor.signed_in(member.token).ask(CHANGE_PASSWORD, current=current, new=NEW_PASSWORD)
    assert reply["changePassword"] == {
        "__typename": "InvalidCredentials",
        "code": "AUTH_INVALID_CREDENTIALS",
        "message": "The current password is wrong.",
    }
    assert await postgres.fetchval("SELECT bool_and(password_hash = $1) FROM users", PASSWORD_HASH)
    assert await _alive(postgres) == 2


@pytest.mark.parametrize(
    ("new", "rule"),
    [("kQ7#vb2", "TOO_SHORT"), ("x" * 129, "TOO_LONG"), ("password1", "NOT_ALLOWED"), (EMAIL, "NOT_ALLOWED")],
)
async def test_a_new_password_that_is_refused_changes_nothing(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, new: str, rule: str
) -> None:
    member = await add_member(shop, EMAIL)
    reply = await visitor.signed_in(member.token).ask(CHANGE_PASSWORD, current=PASSWORD, new=new)
    assert reply["changePassword"]["issues"] == [{"path": ["newPassword"], "rule": rule}]
    assert await postgres.fetchval("SELECT password_hash FROM users") == PASSWORD_HASH


async def test_a_new_password_ends_the_other_sessions(visitor: Visitor, shop: Shop) -> None:
    member, other = await add_member(shop, EMAIL), await add_member(shop)
    here, elsewhere = await log_in(visitor, EMAIL), await log_in(visitor, EMAIL)
    reply = await visitor.signed_in(here.access).ask(CHANGE_PASSWORD, current=PASSWORD, new=NEW_PASSWORD)
    assert reply["changePassword"] == {"__typename": "PasswordChanged", "sessionsEnded": 2}
    assert await is_let_in(visitor, (await refreshed(visitor, here)).access)
    assert not await is_let_in(visitor, elsewhere.access)
    assert not await is_let_in(visitor, member.token)
    assert (await try_to_refresh(visitor, elsewhere.refresh))["__typename"] == "InvalidToken"
    assert await is_let_in(visitor, other.token)
    assert (await try_to_log_in(visitor, EMAIL, PASSWORD))["__typename"] == "InvalidCredentials"
    assert await is_let_in(visitor, (await log_in(visitor, EMAIL, NEW_PASSWORD)).access)


async def test_an_account_without_a_password_is_given_one(visitor: Visitor, shop: Shop) -> None:
    member = await add_member(shop, EMAIL, password_hash=None)
    me = visitor.signed_in(member.token)
    assert (await me.ask("{ me { hasPassword } }"))["me"] == {"hasPassword": False}
    reply = await me.ask(CHANGE_PASSWORD, new=NEW_PASSWORD)
    assert reply["changePassword"] == {"__typename": "PasswordChanged", "sessionsEnded": 0}
    assert await is_let_in(visitor, (await log_in(visitor, EMAIL, NEW_PASSWORD)).access)


async def test_of_two_changes_at_once_one_counts(
    visitor: Visitor, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    me, wanted = visitor.signed_in(member.token), ["the first of two new ones", "the second of two new ones"]
    async with holding(database_url, LOCK_USER, member.id):
        changes = [asyncio.create_task(me.ask(CHANGE_PASSWORD, current=PASSWORD, new=new)) for new in wanted]
        await until_waiting(postgres, 2)
    outcomes = [(await change)["changePassword"]["__typename"] for change in changes]
    assert sorted(outcomes) == ["InvalidCredentials", "PasswordChanged"]
    assert await is_let_in(visitor, (await log_in(visitor, EMAIL, wanted[outcomes.index("PasswordChanged")])).access)


async def test_a_login_under_way_does_not_outlive_its_password(
    visitor: Visitor, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    async with holding(database_url, "UPDATE users SET password_hash = NULL WHERE id = $1", member.id):
        login = asyncio.create_task(try_to_log_in(visitor, EMAIL))
        await until_waiting(postgres, 1)
    assert (await login)["__typename"] == "InvalidCredentials"
    assert await _alive(postgres) == 1


# ── Whom administrators lock out ──────────────────────────────────────────────────────────


@pytest.mark.parametrize("document", [LOCK_OUT, LET_IN])
async def test_only_administrators_lock_out_and_let_in(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, document: str
) -> None:
    customer, other = await add_member(shop), await add_member(shop, is_active=document is LOCK_OUT)
    before = await postgres.fetch("SELECT * FROM users ORDER BY id")
    for caller, code in ((visitor, "UNAUTHENTICATED"), (visitor.signed_in(customer.token), "FORBIDDEN")):
        for user in (other, customer):
            reply = await caller.ask(document, id=user.global_id)
            assert reply.codes == [code]
            assert reply.data is not None
            assert set(reply.data.values()) == {None}
    assert await postgres.fetch("SELECT * FROM users ORDER BY id") == before
    assert await _alive(postgres) == 2


@pytest.mark.parametrize("document", [LOCK_OUT, LET_IN])
async def test_a_user_nobody_knows(visitor: Visitor, shop: Shop, document: str) -> None:
    administrator = visitor.signed_in((await add_administrator(shop)).token)
    unknown = global_id("User", new_id())
    reply = await administrator.ask(document, id=unknown)
    assert reply.data is not None
    assert list(reply.data.values()) == [{"__typename": "NotFound", "id": unknown}]
    assert (await administrator.ask(document, id=book_id(await add_book(shop)))).codes == ["BAD_USER_INPUT"]
