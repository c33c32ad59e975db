"""Profiles and passwords of signed-in users, and deactivation by administrators."""

import asyncio

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.tables import new_id
from tests.support.auth.sessions import is_authenticated, log_in, refresh_session, try_login, try_refresh
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, PASSWORD_HASH, add_admin, add_book, add_user, book_id

EMAIL, NEW_PASSWORD = "anna@example.com", "a better one for Anna"
UPDATE_PROFILE = """mutation ($input: UpdateProfileInput!) { updateProfile(input: $input) { __typename
    ... on ProfileUpdated { user { displayName } } ... on InvalidInput { issues { path rule } } } }"""
CHANGE_PASSWORD = """mutation ($current: String, $new: String!) {
    changePassword(input: {currentPassword: $current, newPassword: $new}) { __typename
        ... on PasswordChanged { sessionsEnded } ... on UserError { code message }
        ... on InvalidInput { issues { path rule } } } }"""
DEACTIVATE = "mutation ($id: ID!) { deactivateUser(input: {userId: $id}) { __typename ... on NotFound { id } } }"
REACTIVATE = "mutation ($id: ID!) { reactivateUser(input: {userId: $id}) { __typename ... on NotFound { id } } }"
LOCK_USER = "SELECT FROM users WHERE id = $1 FOR UPDATE"


async def _count_live_sessions(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM sessions WHERE revoked_at IS NULL")
    return count


# ── Profile and password ──────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "rule"),
    [
        ("", "REQUIRED"),
        ("\u0308\u0327", "REQUIRED"),
        ("A" * 51, "TOO_LONG"),
        ("\u2063\u2063", "MALFORMED"),
        ("\u1160\u115f", "MALFORMED"),
        ("Ad\u200bmin", "MALFORMED"),
        ("\u202enimdA", "MALFORMED"),
        ("Ada\U000e0041", "MALFORMED"),
        ("Ada\u200d", "MALFORMED"),
    ],
)
async def test_invalid_name_changes_nothing(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, name: str, rule: str
) -> None:
    me = client.with_token((await add_user(shop)).token)
    result = (await me.execute(UPDATE_PROFILE, input={"displayName": name}))["updateProfile"]
    assert result == {"__typename": "InvalidInput", "issues": [{"path": ["displayName"], "rule": rule}]}
    assert await postgres.fetchval("SELECT display_name FROM users") == "Reader"


@pytest.mark.parametrize(
    ("changes", "name"),
    [
        ({"displayName": " Anna "}, "Anna"),
        ({"displayName": "Anna \u00a0  Lena"}, "Anna Lena"),
        ({"displayName": "\u738b"}, "\u738b"),
        ({"displayName": "\U0001f469\u200d\U0001f680"}, "\U0001f469\u200d\U0001f680"),
        ({}, "Reader"),
        ({"displayName": None}, "Reader"),
    ],
)
async def test_omitted_profile_fields_do_not_change(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, changes: dict[str, str | None], name: str
) -> None:
    await add_user(shop, display_name="Somebody else")
    user = await add_user(shop)
    result = (await client.with_token(user.token).execute(UPDATE_PROFILE, input=changes))["updateProfile"]
    assert result == {"__typename": "ProfileUpdated", "user": {"displayName": name}}
    names = await postgres.fetch("SELECT display_name FROM users ORDER BY id")
    assert [row["display_name"] for row in names] == ["Somebody else", name]


async def test_role_cannot_be_changed_in_profile(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    me = client.with_token((await add_user(shop)).token)
    response = await me.execute(UPDATE_PROFILE, input={"displayName": "Anna", "role": "ADMIN"})
    assert (response.data, response.codes) == (None, ["BAD_USER_INPUT"])
    response = await me.execute("mutation { updateProfile(input: {role: ADMIN}) { __typename } }")
    assert (response.data, response.codes) == (None, ["GRAPHQL_VALIDATION_FAILED"])
    row = await postgres.fetchrow("SELECT role, display_name FROM users")
    assert row is not None
    assert tuple(row) == ("USER", "Reader")


@pytest.mark.parametrize("current", [None, "", "not the password", PASSWORD + " ", PASSWORD + "x" * 1_000])
async def test_a_wrong_current_password_changes_nothing(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, current: str | None
) -> None:
    user = await add_user(shop, EMAIL)
    await add_user(shop)
    response = await client.with_token(user.token).execute(CHANGE_PASSWORD, current=current, new=NEW_PASSWORD)
    assert response["changePassword"] == {
        "__typename": "InvalidCredentials",
        "code": "AUTH_INVALID_CREDENTIALS",
        "message": "The current password is wrong.",
    }
    assert await postgres.fetchval("SELECT bool_and(password_hash = $1) FROM users", PASSWORD_HASH)
    assert await _count_live_sessions(postgres) == 2


@pytest.mark.parametrize(
    ("new", "rule"),
    [("kQ7#vb2", "TOO_SHORT"), ("x" * 129, "TOO_LONG"), ("password1", "NOT_ALLOWED"), (EMAIL, "NOT_ALLOWED")],
)
async def test_invalid_new_password_changes_nothing(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, new: str, rule: str
) -> None:
    user = await add_user(shop, EMAIL)
    response = await client.with_token(user.token).execute(CHANGE_PASSWORD, current=PASSWORD, new=new)
    assert response["changePassword"]["issues"] == [{"path": ["newPassword"], "rule": rule}]
    assert await postgres.fetchval("SELECT password_hash FROM users") == PASSWORD_HASH


async def test_a_new_password_ends_the_other_sessions(client: ApiClient, shop: Shop) -> None:
    user, other_user = await add_user(shop, EMAIL), await add_user(shop)
    this_session, other_session = await log_in(client, EMAIL), await log_in(client, EMAIL)
    response = await client.with_token(this_session.access_token).execute(
        CHANGE_PASSWORD, current=PASSWORD, new=NEW_PASSWORD
    )
    assert response["changePassword"] == {"__typename": "PasswordChanged", "sessionsEnded": 2}
    assert await is_authenticated(client, (await refresh_session(client, this_session)).access_token)
    assert not await is_authenticated(client, other_session.access_token)
    assert not await is_authenticated(client, user.token)
    assert (await try_refresh(client, other_session.refresh_token))["__typename"] == "InvalidToken"
    assert await is_authenticated(client, other_user.token)
    assert (await try_login(client, EMAIL, PASSWORD))["__typename"] == "InvalidCredentials"
    assert await is_authenticated(client, (await log_in(client, EMAIL, NEW_PASSWORD)).access_token)


async def test_account_without_password_can_set_one(client: ApiClient, shop: Shop) -> None:
    user = await add_user(shop, EMAIL, password_hash=None)
    me = client.with_token(user.token)
    assert (await me.execute("{ me { hasPassword } }"))["me"] == {"hasPassword": False}
    response = await me.execute(CHANGE_PASSWORD, new=NEW_PASSWORD)
    assert response["changePassword"] == {"__typename": "PasswordChanged", "sessionsEnded": 0}
    assert await is_authenticated(client, (await log_in(client, EMAIL, NEW_PASSWORD)).access_token)


async def test_one_of_two_concurrent_password_changes_wins(
    client: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    me, new_passwords = client.with_token(user.token), ["the first of two new ones", "the second of two new ones"]
    async with hold_lock(database_url, LOCK_USER, user.id):
        changes = [asyncio.create_task(me.execute(CHANGE_PASSWORD, current=PASSWORD, new=new)) for new in new_passwords]
        await wait_for_blocked(postgres, 2)
    results = [(await change)["changePassword"]["__typename"] for change in changes]
    assert sorted(results) == ["InvalidCredentials", "PasswordChanged"]
    assert await is_authenticated(
        client, (await log_in(client, EMAIL, new_passwords[results.index("PasswordChanged")])).access_token
    )


async def test_login_in_progress_fails_when_password_changes(
    client: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    async with hold_lock(database_url, "UPDATE users SET password_hash = NULL WHERE id = $1", user.id):
        login = asyncio.create_task(try_login(client, EMAIL))
        await wait_for_blocked(postgres, 1)
    assert (await login)["__typename"] == "InvalidCredentials"
    assert await _count_live_sessions(postgres) == 1


# ── Deactivation ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("document", [DEACTIVATE, REACTIVATE])
async def test_only_admins_deactivate_and_reactivate(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, document: str
) -> None:
    customer, other_user = await add_user(shop), await add_user(shop, is_active=document is DEACTIVATE)
    before = await postgres.fetch("SELECT * FROM users ORDER BY id")
    for caller, code in ((client, "UNAUTHENTICATED"), (client.with_token(customer.token), "FORBIDDEN")):
        for user in (other_user, customer):
            response = await caller.execute(document, id=user.global_id)
            assert response.codes == [code]
            assert response.data is not None
            assert set(response.data.values()) == {None}
    assert await postgres.fetch("SELECT * FROM users ORDER BY id") == before
    assert await _count_live_sessions(postgres) == 2


@pytest.mark.parametrize("document", [DEACTIVATE, REACTIVATE])
async def test_unknown_user_is_not_found(client: ApiClient, shop: Shop, document: str) -> None:
    admin = client.with_token((await add_admin(shop)).token)
    unknown_id = to_global_id("User", new_id())
    response = await admin.execute(document, id=unknown_id)
    assert response.data is not None
    assert list(response.data.values()) == [{"__typename": "NotFound", "id": unknown_id}]
    assert (await admin.execute(document, id=book_id(await add_book(shop)))).codes == ["BAD_USER_INPUT"]
