"""Authentication of anonymous callers and users; callers with invalid tokens are never treated as anonymous."""

import datetime as dt
import uuid
from typing import Any

import asyncpg
import pytest

from domain.auth.tokens import Tokens
from domain.shop import Shop
from tests.support.auth.forged_tokens import decode_token, forge_token, unsigned
from tests.support.auth.sessions import LOGIN, ME_QUERY, REFRESH, REGISTER, TokenPair, is_authenticated, log_in
from tests.support.http.client import ApiClient
from tests.support.shop.factories import PASSWORD, SignedInUser, add_genre, add_user

ME_AND_GENRES_QUERY = "{ me { email } genres { name } }"
UPDATE_PROFILE = """mutation { updateProfile(input: {displayName: "Someone else"}) {
    __typename ... on ProfileUpdated { user { displayName } } } }"""
LIFETIME = dt.timedelta(minutes=15)


def _create_expired_token(shop: Shop, user: SignedInUser) -> str:
    return shop.tokens.issue_access_token(user.id, "USER", user.session_id, -dt.timedelta(minutes=1)).text


def _list_invalid_tokens(shop: Shop, user: SignedInUser) -> dict[str, str]:
    header, claims = decode_token(user.token)
    signature = user.token.rsplit(".", 1)[1]
    other_tokens = Tokens(["another-shop-signs-with-0123456789"], claims["iss"])
    other_claims = forge_token(header, claims | {"sub": "x"}, unsigned)
    return {
        "empty": "",
        "garbage": "garbage",
        "dots": "a.b.c",
        "long": "x" * 8_000,
        "another key": other_tokens.issue_access_token(user.id, "USER", user.session_id, LIFETIME).text,
        "no algorithm": forge_token(header | {"alg": "none"}, claims, unsigned),
        "no signature": forge_token(header, claims, unsigned),
        "other claims, same signature": other_claims + signature,
        "unknown session": shop.tokens.issue_access_token(user.id, "USER", uuid.uuid4(), LIFETIME).text,
        "half a token": user.token[: len(user.token) // 2],
    }


async def test_me_is_null_for_anonymous_caller(client: ApiClient) -> None:
    assert (await client.execute(ME_QUERY))["me"] is None


async def test_invalid_token_is_reported_and_other_fields_are_resolved(client: ApiClient, shop: Shop) -> None:
    await add_genre(shop, "Poetry")
    user = await add_user(shop)
    for name, token in _list_invalid_tokens(shop, user).items():
        response = await client.with_token(token).execute(ME_AND_GENRES_QUERY)
        assert response.data == {"me": None, "genres": [{"name": "Poetry"}]}, name
        assert response.codes == ["UNAUTHENTICATED"], name
        assert response.errors[0]["path"] == ["me"], name


async def test_expired_token_is_reported_and_other_fields_are_resolved(client: ApiClient, shop: Shop) -> None:
    await add_genre(shop, "Poetry")
    response = await client.with_token(_create_expired_token(shop, await add_user(shop))).execute(ME_AND_GENRES_QUERY)
    assert response.data == {"me": None, "genres": [{"name": "Poetry"}]}
    assert response.codes == ["AUTH_TOKEN_EXPIRED"]


async def test_mutation_with_invalid_token_changes_nothing(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    user = await add_user(shop)
    for token, code in (("garbage", "UNAUTHENTICATED"), (_create_expired_token(shop, user), "AUTH_TOKEN_EXPIRED")):
        response = await client.with_token(token).execute(UPDATE_PROFILE)
        assert (response.data, response.codes) == ({"updateProfile": None}, [code])
    assert await postgres.fetchval("SELECT display_name FROM users") == "Reader"


@pytest.mark.parametrize("header", [b"Basic dXNlcjpwYXNz", b"Token x", b"Bearer", b"x", b"Bearer caf\xe9.\xff.x"])
async def test_malformed_authorization_header_is_not_anonymous(client: ApiClient, header: bytes) -> None:
    async with client.http() as http:
        response = await http.post("/graphql", json={"query": ME_QUERY}, headers={b"Authorization": header})
    assert response.json()["errors"][0]["extensions"]["code"] == "UNAUTHENTICATED"


async def test_authorization_scheme_is_case_insensitive(client: ApiClient, shop: Shop) -> None:
    user = await add_user(shop)
    async with client.http() as http:
        response = await http.post(
            "/graphql", json={"query": ME_QUERY}, headers={"Authorization": f"bEARER  {user.token}"}
        )
    assert response.json() == {"data": {"me": {"id": user.global_id, "email": user.row.email}}}


async def test_login_ignores_an_invalid_token(client: ApiClient, shop: Shop) -> None:
    await add_user(shop, "anna@example.com")
    tokens = await log_in(client, "anna@example.com")
    expired_client = client.with_token(_create_expired_token(shop, await add_user(shop)))
    register: dict[str, Any] = {"email": "new@example.com", "password": PASSWORD}
    results = [
        (await expired_client.execute(REGISTER, input=register))["register"],
        (await expired_client.execute(LOGIN, email="anna@example.com", password=PASSWORD))["login"],
        (await expired_client.execute(REFRESH, token=tokens.refresh_token))["refreshSession"],
    ]
    for result in results:
        assert await is_authenticated(client, TokenPair.from_result(result).access_token)


async def test_ended_session_is_rejected(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    user = await add_user(shop)
    assert await is_authenticated(client, user.token)
    await postgres.execute("UPDATE sessions SET expires_at = now()")
    assert not await is_authenticated(client, user.token)


async def test_role_claim_of_a_token_is_ignored(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    user = await add_user(shop)
    admin_token = shop.tokens.issue_access_token(user.id, "ADMIN", user.session_id, LIFETIME).text
    response = await client.with_token(admin_token).execute(
        "mutation ($id: ID!) { deactivateUser(input: {userId: $id}) { __typename } }", id=user.global_id
    )
    assert (response.data, response.codes) == ({"deactivateUser": None}, ["FORBIDDEN"])
    assert await postgres.fetchval("SELECT is_active FROM users")
