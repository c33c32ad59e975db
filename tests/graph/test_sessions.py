"""Sessions: the list of a user's sessions, and the ways to end them."""

from uuid import UUID

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.tables import new_id
from tests.support.auth.sessions import is_authenticated, log_in, log_out, refresh_session, try_refresh
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, add_admin, add_user

EMAIL = "anna@example.com"
SESSIONS_QUERY = "{ me { sessions { id userAgent createdAt lastUsedAt isCurrent } } }"
REVOKE = """mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { __typename
    ... on LoggedOut { sessionsEnded } ... on NotFound { id code message } } }"""


async def _count_live_sessions(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM sessions WHERE revoked_at IS NULL")
    return count


async def test_sessions_are_sorted_by_last_use(client: ApiClient, shop: Shop) -> None:
    await add_user(shop)  # another user
    user = await add_user(shop, EMAIL)
    phone, laptop, tablet = [await log_in(client, EMAIL) for _ in range(3)]
    await log_out(client, tablet.refresh_token)
    await refresh_session(client, phone)
    current_flags = [
        [session["isCurrent"] for session in (await client.with_token(token).execute(SESSIONS_QUERY))["me"]["sessions"]]
        for token in (phone.access_token, laptop.access_token, user.token)
    ]
    assert current_flags == [[True, False, False], [False, True, False], [False, False, True]]


@pytest.mark.parametrize(
    ("user_agent", "expected"),
    [("Firefox on a kite", "Firefox on a kite"), ("x" * 400, "x" * 300), ("a\tb", None), ("", None)],
)
async def test_session_shows_user_agent(client: ApiClient, shop: Shop, user_agent: str, expected: str | None) -> None:
    await add_user(shop, EMAIL)
    login = f'''mutation {{ login(input: {{email: "{EMAIL}", password: "{PASSWORD}"}}) {{
        ... on LoggedIn {{ user {{ sessions {{ userAgent }} }} }} }} }}'''
    async with client.http() as http:
        response = await http.post("/graphql", json={"query": login}, headers={"User-Agent": user_agent})
    assert {"userAgent": expected} in response.json()["data"]["login"]["user"]["sessions"]


async def test_session_of_another_user_is_not_found(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    user, other = await add_user(shop), await add_user(shop)
    for key in (other.session_id, new_id()):
        id_ = to_global_id("Session", key)
        result = (await client.with_token(user.token).execute(REVOKE, id=id_))["revokeSession"]
        assert result == {
            "__typename": "NotFound",
            "id": id_,
            "code": "NOT_FOUND",
            "message": "This session does not exist.",
        }
    assert await _count_live_sessions(postgres) == 2
    assert await is_authenticated(client, other.token)


async def test_admin_cannot_end_session_of_another_user(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    admin, other = await add_admin(shop), await add_user(shop)
    response = await client.with_token(admin.token).execute(REVOKE, id=to_global_id("Session", other.session_id))
    assert response["revokeSession"]["__typename"] == "NotFound"
    assert await _count_live_sessions(postgres) == 2


@pytest.mark.parametrize("id_", ["", "x", "💥", "VXNlcjox", to_global_id("User", UUID(int=7))])
async def test_invalid_session_id_is_a_request_error(client: ApiClient, shop: Shop, id_: str) -> None:
    response = await client.with_token((await add_user(shop)).token).execute(REVOKE, id=id_)
    assert (response.data, response.codes) == ({"revokeSession": None}, ["BAD_USER_INPUT"])


async def test_session_is_revoked_once(client: ApiClient, shop: Shop) -> None:
    user = await add_user(shop, EMAIL)
    lost_tokens = await log_in(client, EMAIL)
    me = client.with_token(user.token)
    [id_] = [
        session["id"] for session in (await me.execute(SESSIONS_QUERY))["me"]["sessions"] if not session["isCurrent"]
    ]
    for ended_count in (1, 0):
        assert (await me.execute(REVOKE, id=id_))["revokeSession"] == {
            "__typename": "LoggedOut",
            "sessionsEnded": ended_count,
        }
    assert not await is_authenticated(client, lost_tokens.access_token)
    assert (await try_refresh(client, lost_tokens.refresh_token))["__typename"] == "InvalidToken"
    assert await is_authenticated(client, user.token)


async def test_logout_ends_one_session_once(client: ApiClient, shop: Shop) -> None:
    await add_user(shop, EMAIL)
    this_session, other_session = await log_in(client, EMAIL), await log_in(client, EMAIL)
    assert [await log_out(client, this_session.refresh_token) for _ in range(2)] == [1, 0]
    assert not await is_authenticated(client, this_session.access_token)
    assert (await try_refresh(client, this_session.refresh_token))["__typename"] == "InvalidToken"
    assert await is_authenticated(client, other_session.access_token)


async def test_logout_with_invalid_token_ends_nothing(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop, EMAIL)
    tokens = await log_in(client, EMAIL)
    for invalid_token in ("", "x", tokens.access_token, tokens.refresh_token[:-1], user.token):
        for everywhere in (False, True):
            assert await log_out(client.with_token(user.token), invalid_token, everywhere=everywhere) == 0
    assert await _count_live_sessions(postgres) == 2


async def test_logout_everywhere_does_not_affect_other_users(client: ApiClient, shop: Shop) -> None:
    user, other = await add_user(shop, EMAIL), await add_user(shop)
    this_session, other_session = await log_in(client, EMAIL), await log_in(client, EMAIL)
    assert await log_out(client, this_session.refresh_token, everywhere=True) == 3
    for token in (this_session.access_token, other_session.access_token, user.token):
        assert not await is_authenticated(client, token)
    assert await is_authenticated(client, other.token)


async def test_ended_session_cannot_log_out_everywhere(client: ApiClient, shop: Shop) -> None:
    await add_user(shop, EMAIL)
    ended_session, other_session = await log_in(client, EMAIL), await log_in(client, EMAIL)
    await log_out(client, ended_session.refresh_token)
    assert await log_out(client, ended_session.refresh_token, everywhere=True) == 0
    assert await is_authenticated(client, other_session.access_token)
