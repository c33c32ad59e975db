"""Linked providers: loaded in one batch for many users, and shown only to permitted callers."""

import datetime as dt
from typing import Any

import asyncpg

from domain.shop import Shop
from server.settings import Settings
from tests.support.database.query_counter import start_counting_proxy
from tests.support.http.apps import running_app
from tests.support.http.client import ApiClient
from tests.support.shop.factories import SignedInUser, add_admin, add_user

USERS = "{ admin { users(first: 100) { nodes { email isEmailVerified hasPassword linkedProviders } } } }"
NODE_QUERY = "query ($id: ID!) { node(id: $id) { ... on User { linkedProviders } } }"
INSERT_IDENTITY = (
    "INSERT INTO identities (id, user_id, provider, account) VALUES (gen_random_uuid(), $1, $2, gen_random_uuid())"
)
EXPECTED_STATEMENTS = 3  # the viewer, the page of users, their providers


async def _add_linked_user(shop: Shop, postgres: asyncpg.Connection, *providers: str, **details: Any) -> SignedInUser:
    user = await add_user(shop, **details)
    for provider in providers:
        await postgres.execute(INSERT_IDENTITY, user.id, provider)
    return user


async def test_linked_providers_are_private(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    user, other = await _add_linked_user(shop, postgres, "GOOGLE"), await add_user(shop)
    assert (await client.with_token(other.token).execute(NODE_QUERY, id=user.global_id))["node"] is None
    assert (await client.execute(NODE_QUERY, id=user.global_id))["node"] is None
    response = await client.with_token(user.token).execute(NODE_QUERY, id=user.global_id)
    assert response["node"] == {"linkedProviders": ["GOOGLE"]}


async def test_each_provider_is_listed_once(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    admin = await add_admin(shop)
    now = dt.datetime.now(dt.UTC)
    await _add_linked_user(
        shop, postgres, "GOOGLE", "GITHUB", "GOOGLE", email="anna@example.com", email_verified_at=now
    )
    await _add_linked_user(shop, postgres, "GITHUB", email="bob@example.com", password_hash=None)
    users = (await client.with_token(admin.token).execute(USERS))["admin"]["users"]["nodes"]
    providers_by_email = {
        user["email"]: (user["isEmailVerified"], user["hasPassword"], user["linkedProviders"]) for user in users
    }
    assert providers_by_email == {
        admin.row.email: (False, True, []),
        "anna@example.com": (True, True, ["GITHUB", "GOOGLE"]),
        "bob@example.com": (False, False, ["GITHUB"]),
    }


async def test_statement_count_is_constant(shop: Shop, settings: Settings, postgres: asyncpg.Connection) -> None:
    admin = await add_admin(shop)
    assert settings.database_url is not None
    async with (
        start_counting_proxy(settings.database_url) as proxy,
        running_app(settings, database_url=proxy.url) as app,
    ):
        client, statement_counts = ApiClient(app, admin.token), []
        for _ in range(3):
            for _ in range(10):
                await _add_linked_user(shop, postgres, "GOOGLE", "GITHUB")
            await client.execute(USERS)
            before = proxy.statements
            await client.execute(USERS)
            statement_counts.append(proxy.statements - before)
    assert statement_counts == [EXPECTED_STATEMENTS] * 3
