"""Sessions: where a user is signed in, and how each of them ends."""

from uuid import UUID

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.models import new_id
from tests.client import Visitor
from tests.factories import PASSWORD, add_administrator, add_member
from tests.sessions import is_let_in, log_in, logged_out, refreshed, try_to_refresh

EMAIL = "anna@example.com"
SESSIONS = "{ me { sessions { id userAgent createdAt lastUsedAt isCurrent } } }"
REVOKE = """mutation ($id: ID!) { revokeSession(input: {sessionId: $id}) { __typename
    ... on LoggedOut { sessionsEnded } ... on NotFound { id code message } } }"""


async def _alive(postgres: asyncpg.Connection) -> int:
    alive: int = await postgres.fetchval("SELECT count(*) FROM sessions WHERE revoked_at IS NULL")
    return alive


async def test_sessions_are_listed_the_latest_used_first(visitor: Visitor, shop: Shop) -> None:
    await add_member(shop)  # somebody else
    member = await add_member(shop, EMAIL)
    phone, laptop, tablet = [await log_in(visitor, EMAIL) for _ in range(3)]
    await logged_out(visitor, tablet.refresh)
    await refreshed(visitor, phone)
    listed = [
        [session["isCurrent"] for session in (await visitor.signed_in(token).ask(SESSIONS))["me"]["sessions"]]
        for token in (phone.access, laptop.access, member.token)
    ]
    assert listed == [[True, False, False], [False, True, False], [False, False, True]]


@pytest.mark.parametrize(
    ("named", "shown"), [("Firefox on a kite", "Firefox on a kite"), ("x" * 400, "x" * 300), ("a\tb", None), ("", None)]
)
async def test_a_session_shows_how_the_client_named_itself(
    visitor: Visitor, shop: Shop, named: str, shown: str | None
) -> None:
    await add_member(shop, EMAIL)
    login = f'''mutation {{ login(input: {{email: "{EMAIL}", password: "{PASSWORD}"}}) {{
        ... on LoggedIn {{ user {{ sessions {{ userAgent }} }} }} }} }}'''
    async with visitor.http() as http:
        response = await http.post("/graphql", json={"query": login}, headers={"User-Agent": named})
    assert {"userAgent": shown} in response.json()["data"]["login"]["user"]["sessions"]


async def test_somebody_elses_session_is_not_there(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    member, other = await add_member(shop), await add_member(shop)
    for key in (other.session_id, new_id()):
        id_ = global_id("Session", key)
        outcome = (await visitor.signed_in(member.token).ask(REVOKE, id=id_))["revokeSession"]
        assert outcome == {
            "__typename": "NotFound",
            "id": id_,
            "code": "NOT_FOUND",
            "message": "This session does not exist.",
        }
    assert await _alive(postgres) == 2
    assert await is_let_in(visitor, other.token)


async def test_not_even_an_administrator_ends_somebody_elses_session(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    administrator, other = await add_administrator(shop), await add_member(shop)
    reply = await visitor.signed_in(administrator.token).ask(REVOKE, id=global_id("Session", other.session_id))
    assert reply["revokeSession"]["__typename"] == "NotFound"
    assert await _alive(postgres) == 2


@pytest.mark.parametrize("id_", ["", "x", "💥", "VXNlcjox", global_id("User", UUID(int=7))])
async def test_what_is_no_id_of_a_session(visitor: Visitor, shop: Shop, id_: str) -> None:
    reply = await visitor.signed_in((await add_member(shop)).token).ask(REVOKE, id=id_)
    assert (reply.data, reply.codes) == ({"revokeSession": None}, ["BAD_USER_INPUT"])


async def test_the_session_on_a_lost_phone_is_ended_once(visitor: Visitor, shop: Shop) -> None:
    member = await add_member(shop, EMAIL)
    lost = await log_in(visitor, EMAIL)
    me = visitor.signed_in(member.token)
    [id_] = [session["id"] for session in (await me.ask(SESSIONS))["me"]["sessions"] if not session["isCurrent"]]
    for ended in (1, 0):
        assert (await me.ask(REVOKE, id=id_))["revokeSession"] == {"__typename": "LoggedOut", "sessionsEnded": ended}
    assert not await is_let_in(visitor, lost.access)
    assert (await try_to_refresh(visitor, lost.refresh))["__typename"] == "InvalidToken"
    assert await is_let_in(visitor, member.token)


async def test_logging_out_ends_one_session_once(visitor: Visitor, shop: Shop) -> None:
    await add_member(shop, EMAIL)
    here, elsewhere = await log_in(visitor, EMAIL), await log_in(visitor, EMAIL)
    assert [await logged_out(visitor, here.refresh) for _ in range(2)] == [1, 0]
    assert not await is_let_in(visitor, here.access)
    assert (await try_to_refresh(visitor, here.refresh))["__typename"] == "InvalidToken"
    assert await is_let_in(visitor, elsewhere.access)


async def test_logging_out_with_what_is_no_token_ends_nothing(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop, EMAIL)
    held = await log_in(visitor, EMAIL)
    for made_up in ("", "x", held.access, held.refresh[:-1], member.token):
        for everywhere in (False, True):
            assert await logged_out(visitor.signed_in(member.token), made_up, everywhere=everywhere) == 0
    assert await _alive(postgres) == 2


async def test_logging_out_everywhere_spares_other_users(visitor: Visitor, shop: Shop) -> None:
    member, other = await add_member(shop, EMAIL), await add_member(shop)
    here, elsewhere = await log_in(visitor, EMAIL), await log_in(visitor, EMAIL)
    assert await logged_out(visitor, here.refresh, everywhere=True) == 3
    for token in (here.access, elsewhere.access, member.token):
        assert not await is_let_in(visitor, token)
    assert await is_let_in(visitor, other.token)


async def test_a_session_that_is_over_logs_nobody_out_elsewhere(visitor: Visitor, shop: Shop) -> None:
    await add_member(shop, EMAIL)
    over, elsewhere = await log_in(visitor, EMAIL), await log_in(visitor, EMAIL)
    await logged_out(visitor, over.refresh)
    assert await logged_out(visitor, over.refresh, everywhere=True) == 0
    assert await is_let_in(visitor, elsewhere.access)
