"""Who asks: a visitor, a user, or a token that is no good, which is never silently a visitor."""

import datetime as dt
import uuid
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from domain.tokens import Tokens
from tests.client import Visitor
from tests.factories import PASSWORD, Member, add_genre, add_member
from tests.forgeries import forged, opened, unsigned
from tests.sessions import LOGIN, ME, REFRESH, REGISTER, Held, is_let_in, log_in

ME_AND_MORE = "{ me { email } genres { name } }"
RENAME = """mutation { updateProfile(input: {displayName: "Someone else"}) {
    __typename ... on ProfileUpdated { user { displayName } } } }"""
MINUTES = dt.timedelta(minutes=15)


def _expired(shop: Shop, member: Member) -> str:
    return shop.tokens.access_token(member.id, "USER", member.session_id, -dt.timedelta(minutes=1)).text


def _bad_tokens(shop: Shop, member: Member) -> dict[str, str]:
    header, claims = opened(member.token)
    signature = member.token.rsplit(".", 1)[1]
    foreign = Tokens(["another-shop-signs-with-0123456789"], claims["iss"])
    other_claims = forged(header, claims | {"sub": "x"}, unsigned)
    return {
        "nothing": "",
        "garbage": "garbage",
        "dots": "a.b.c",
        "long": "x" * 8_000,
        "another key": foreign.access_token(member.id, "USER", member.session_id, MINUTES).text,
        "no algorithm": forged(header | {"alg": "none"}, claims, unsigned),
        "no signature": forged(header, claims, unsigned),
        "other claims, same signature": other_claims + signature,
        "unknown session": shop.tokens.access_token(member.id, "USER", uuid.uuid4(), MINUTES).text,
        "half of it": member.token[: len(member.token) // 2],
    }


async def test_nobody_is_null(visitor: Visitor) -> None:
    assert (await visitor.ask(ME))["me"] is None


async def test_a_bad_token_is_told_and_the_rest_is_answered(visitor: Visitor, shop: Shop) -> None:
    await add_genre(shop, "Poetry")
    member = await add_member(shop)
    for name, token in _bad_tokens(shop, member).items():
        reply = await visitor.signed_in(token).ask(ME_AND_MORE)
        assert reply.data == {"me": None, "genres": [{"name": "Poetry"}]}, name
        assert reply.codes == ["UNAUTHENTICATED"], name
        assert reply.errors[0]["path"] == ["me"], name


async def test_an_expired_token_says_so_and_the_rest_is_answered(visitor: Visitor, shop: Shop) -> None:
    await add_genre(shop, "Poetry")
    reply = await visitor.signed_in(_expired(shop, await add_member(shop))).ask(ME_AND_MORE)
    assert reply.data == {"me": None, "genres": [{"name": "Poetry"}]}
    assert reply.codes == ["AUTH_TOKEN_EXPIRED"]


async def test_a_bad_token_changes_nothing(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    member = await add_member(shop)
    for token, code in (("garbage", "UNAUTHENTICATED"), (_expired(shop, member), "AUTH_TOKEN_EXPIRED")):
        reply = await visitor.signed_in(token).ask(RENAME)
        assert (reply.data, reply.codes) == ({"updateProfile": None}, [code])
    assert await postgres.fetchval("SELECT display_name FROM users") == "Reader"


@pytest.mark.parametrize("header", [b"Basic dXNlcjpwYXNz", b"Token x", b"Bearer", b"x", b"Bearer caf\xe9.\xff.x"])
async def test_whatever_else_is_sent_is_no_visitor_either(visitor: Visitor, header: bytes) -> None:
    async with visitor.http() as http:
        response = await http.post("/graphql", json={"query": ME}, headers={b"Authorization": header})
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_the_scheme_is_read_in_any_case(visitor: Visitor, shop: Shop) -> None:
    member = await add_member(shop)
    async with visitor.http() as http:
        response = await http.post("/graphql", json={"query": ME}, headers={"Authorization": f"bEARER  {member.token}"})
    assert response.json() == {"data": {"me": {"id": member.global_id, "email": member.user.email}}}


async def test_signing_in_ignores_a_bad_token(visitor: Visitor, shop: Shop) -> None:
    await add_member(shop, "anna@example.com")
    held = await log_in(visitor, "anna@example.com")
    late = visitor.signed_in(_expired(shop, await add_member(shop)))
    register: dict[str, Any] = {"email": "new@example.com", "password": PASSWORD}
    outcomes = [
        (await late.ask(REGISTER, input=register))["register"],
        (await late.ask(LOGIN, email="anna@example.com", password=PASSWORD))["login"],
        (await late.ask(REFRESH, token=held.refresh))["refreshSession"],
    ]
    for outcome in outcomes:
        assert await is_let_in(visitor, Held.of(outcome).access)


async def test_a_session_that_is_over_opens_nothing(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    member = await add_member(shop)
    assert await is_let_in(visitor, member.token)
    await postgres.execute("UPDATE sessions SET expires_at = now()")
    assert not await is_let_in(visitor, member.token)


async def test_a_role_in_a_token_is_for_others_to_read(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    member = await add_member(shop)
    boasting = shop.tokens.access_token(member.id, "ADMIN", member.session_id, MINUTES).text
    reply = await visitor.signed_in(boasting).ask(
        "mutation ($id: ID!) { deactivateUser(input: {userId: $id}) { __typename } }", id=member.global_id
    )
    assert (reply.data, reply.codes) == ({"deactivateUser": None}, ["FORBIDDEN"])
    assert await postgres.fetchval("SELECT is_active FROM users")
