"""Hashing waits its turn: however many want to sign in at once, a few passwords are hashed, and the shop goes on."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from domain.passwords import MAX_WAITING, THREADS
from domain.shop import Shop
from tests.client import Reply, Visitor
from tests.customers import add_customer
from tests.factories import PASSWORD, Member, add_book, add_member
from tests.faulty import GENRES, UNAVAILABLE
from tests.hashers import Gated
from tests.links import RESET, reset_link
from tests.sessions import LOGIN, REGISTER, log_in, refreshed

pytestmark = pytest.mark.usefixtures("sound")

EMAIL = "anna@example.com"
CHANGE = """mutation ($old: String!, $new: String!) {
    changePassword(input: {currentPassword: $old, newPassword: $new}) { __typename } }"""
NEW = "another battery staple"
ACCOUNTS = """SELECT (SELECT jsonb_agg(users ORDER BY id) FROM users),
    (SELECT jsonb_agg(sessions ORDER BY id) FROM sessions), (SELECT jsonb_agg(letters ORDER BY id) FROM letters),
    (SELECT jsonb_agg(one_time_tokens ORDER BY id) FROM one_time_tokens), (SELECT sum(tries) FROM throttles)"""


@pytest.fixture
async def anna(shop: Shop) -> Member:
    return await add_member(shop, EMAIL)


@pytest.fixture
def hasher(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> Gated:
    hasher = Gated()
    monkeypatch.setattr(shop.passwords, "_hasher", hasher)
    return hasher


@asynccontextmanager
async def flood(visitor: Visitor, shop: Shop, hasher: Gated) -> AsyncIterator[None]:
    """As many sign in as may wait; they come in when the block ends."""
    logins = [
        asyncio.create_task(visitor.ask(LOGIN, email=EMAIL, password=PASSWORD)) for _ in range(THREADS + MAX_WAITING)
    ]
    try:
        async with asyncio.timeout(20):
            while shop.passwords._under_way < THREADS + MAX_WAITING or hasher.inside < THREADS:
                await asyncio.sleep(0.01)
        yield
        assert not any(login.done() for login in logins)
    finally:
        hasher.gate.set()
        replies = await asyncio.gather(*logins)
    assert {reply["login"]["__typename"] for reply in replies} == {"LoggedIn"}


# ── Whoever comes then ────────────────────────────────────────────────────────────────────


async def logs_in(visitor: Visitor, anna: Member, link: str) -> Reply:
    return await visitor.ask(LOGIN, email=EMAIL, password=PASSWORD)


async def logs_in_without_an_account(visitor: Visitor, anna: Member, link: str) -> Reply:
    return await visitor.ask(LOGIN, email="nobody@example.com", password=PASSWORD)


async def registers(visitor: Visitor, anna: Member, link: str) -> Reply:
    return await visitor.ask(REGISTER, input={"email": "new@example.com", "password": NEW})


async def changes_the_password(visitor: Visitor, anna: Member, link: str) -> Reply:
    return await visitor.signed_in(anna.token).ask(CHANGE, old=PASSWORD, new=NEW)


async def resets_the_password(visitor: Visitor, anna: Member, link: str) -> Reply:
    return await visitor.ask(RESET, token=link, password=NEW)


@pytest.mark.parametrize(
    "comes", [logs_in, logs_in_without_an_account, registers, changes_the_password, resets_the_password]
)
async def test_whoever_comes_then_is_told_when_to_come_again(
    visitor: Visitor,
    shop: Shop,
    anna: Member,
    hasher: Gated,
    postgres: asyncpg.Connection,
    comes: Callable[[Visitor, Member, str], Awaitable[Reply]],
) -> None:
    """At once, in the same words, and no try is counted against them."""
    link = await reset_link(visitor, shop, postgres, EMAIL)
    async with flood(visitor, shop, hasher):
        before = await postgres.fetchrow(ACCOUNTS)
        reply = await comes(visitor, anna, link)
        assert reply.data is not None
        assert list(reply.data.values()) == [None]
        assert [error["extensions"] for error in reply.errors] == [UNAVAILABLE]
        assert await postgres.fetchrow(ACCOUNTS) == before
    again = await comes(visitor, anna, link)
    assert not again.errors


# ── Meanwhile ─────────────────────────────────────────────────────────────────────────────


async def test_the_rest_of_the_shop_goes_on(visitor: Visitor, shop: Shop, anna: Member, hasher: Gated) -> None:
    hasher.gate.set()
    held = await log_in(visitor, EMAIL)
    hasher.gate.clear()
    customer = await add_customer(visitor, shop, (await add_book(shop), 1))
    async with flood(visitor, shop, hasher):
        assert (await visitor.ask(GENRES))["genres"] == []
        assert (await customer.buys())["__typename"] == "OrderPlaced"
        assert await refreshed(visitor, held)
        assert await asyncio.to_thread(str, "in another thread") == "in another thread"


async def test_no_more_are_hashed_at_once_than_there_are_threads(
    visitor: Visitor, shop: Shop, anna: Member, hasher: Gated
) -> None:
    async with flood(visitor, shop, hasher):
        assert hasher.inside == THREADS
    assert hasher.most == THREADS
