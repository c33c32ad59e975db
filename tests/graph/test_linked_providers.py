"""Whose account is linked to what: asked for many users at once, told to those who may know."""

import datetime as dt
from typing import Any

import asyncpg

from domain.shop import Shop
from server.settings import Settings
from tests.browser import opened
from tests.client import Visitor
from tests.factories import Member, add_administrator, add_member
from tests.wire import tapped

USERS = "{ admin { users(first: 100) { nodes { email isEmailVerified hasPassword linkedProviders } } } }"
NODE = "query ($id: ID!) { node(id: $id) { ... on User { linkedProviders } } }"
LINK = "INSERT INTO identities (id, user_id, provider, account) VALUES (gen_random_uuid(), $1, $2, gen_random_uuid())"
STATEMENTS = 3  # who asks, the page, the providers


async def _linked(shop: Shop, postgres: asyncpg.Connection, *providers: str, **details: Any) -> Member:
    member = await add_member(shop, **details)
    for provider in providers:
        await postgres.execute(LINK, member.id, provider)
    return member


async def test_other_users_do_not_see_it(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    member, other = await _linked(shop, postgres, "GOOGLE"), await add_member(shop)
    assert (await visitor.signed_in(other.token).ask(NODE, id=member.global_id))["node"] is None
    assert (await visitor.ask(NODE, id=member.global_id))["node"] is None
    own = await visitor.signed_in(member.token).ask(NODE, id=member.global_id)
    assert own["node"] == {"linkedProviders": ["GOOGLE"]}


async def test_each_provider_is_named_once(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    administrator = await add_administrator(shop)
    now = dt.datetime.now(dt.UTC)
    await _linked(shop, postgres, "GOOGLE", "GITHUB", "GOOGLE", email="anna@example.com", email_verified_at=now)
    await _linked(shop, postgres, "GITHUB", email="bob@example.com", password_hash=None)
    users = (await visitor.signed_in(administrator.token).ask(USERS))["admin"]["users"]["nodes"]
    told = {user["email"]: (user["isEmailVerified"], user["hasPassword"], user["linkedProviders"]) for user in users}
    assert told == {
        administrator.user.email: (False, True, []),
        "anna@example.com": (True, True, ["GITHUB", "GOOGLE"]),
        "bob@example.com": (False, False, ["GITHUB"]),
    }


async def test_it_costs_the_same_for_however_many(shop: Shop, settings: Settings, postgres: asyncpg.Connection) -> None:
    administrator = await add_administrator(shop)
    assert settings.database_url is not None
    async with tapped(settings.database_url) as wire, opened(settings, database_url=wire.url) as app:
        asking, sent = Visitor(app, administrator.token), []
        for _ in range(3):
            for _ in range(10):
                await _linked(shop, postgres, "GOOGLE", "GITHUB")
            await asking.ask(USERS)
            before = wire.statements
            await asking.ask(USERS)
            sent.append(wire.statements - before)
    assert sent == [STATEMENTS] * 3
