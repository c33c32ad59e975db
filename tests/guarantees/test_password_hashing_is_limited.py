"""Concurrent logins hash only a few passwords at a time; the rest get `retryAfter`, and other requests continue."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import asyncpg
import pytest

from domain.auth.passwords import MAX_QUEUED, THREADS
from domain.shop import Shop
from tests.support.auth.hashers import BlockingHasher
from tests.support.auth.sessions import LOGIN, REGISTER, log_in, refresh_session
from tests.support.email.email_links import RESET_PASSWORD, request_reset_token
from tests.support.http.client import ApiClient, GraphQLResponse
from tests.support.http.probes import GENRES_QUERY, UNAVAILABLE
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import PASSWORD, SignedInUser, add_book, add_user
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("check_invariants")

EMAIL = "anna@example.com"
CHANGE_PASSWORD = """mutation ($old: String!, $new: String!) {
    changePassword(input: {currentPassword: $old, newPassword: $new}) { __typename } }"""
NEW_PASSWORD = "another battery staple"
ACCOUNT_STATE = """SELECT (SELECT jsonb_agg(users ORDER BY id) FROM users),
    (SELECT jsonb_agg(sessions ORDER BY id) FROM sessions), (SELECT jsonb_agg(letters ORDER BY id) FROM letters),
    (SELECT jsonb_agg(one_time_tokens ORDER BY id) FROM one_time_tokens), (SELECT sum(tries) FROM throttles)"""


@pytest.fixture
async def user(shop: Shop) -> SignedInUser:
    return await add_user(shop, EMAIL)


@pytest.fixture
def hasher(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> BlockingHasher:
    hasher = BlockingHasher()
    monkeypatch.setattr(shop.passwords, "_hasher", hasher)
    return hasher


@asynccontextmanager
async def full_hashing_queue(client: ApiClient, shop: Shop, hasher: BlockingHasher) -> AsyncIterator[None]:
    """Keep the queue full of logins, which must succeed when the block ends."""
    logins = [
        asyncio.create_task(client.execute(LOGIN, email=EMAIL, password=PASSWORD)) for _ in range(THREADS + MAX_QUEUED)
    ]
    try:
        await wait_until(
            lambda: shop.passwords._pending_count >= THREADS + MAX_QUEUED and hasher.in_progress >= THREADS, 20
        )
        yield
        assert not any(login.done() for login in logins)
    finally:
        hasher.may_continue.set()
        responses = await asyncio.gather(*logins)
    assert {response["login"]["__typename"] for response in responses} == {"LoggedIn"}


# ── Excess requests ───────────────────────────────────────────────────────────────────────


async def log_in_over_http(client: ApiClient, user: SignedInUser, reset_token: str) -> GraphQLResponse:
    return await client.execute(LOGIN, email=EMAIL, password=PASSWORD)


async def log_in_without_account(client: ApiClient, user: SignedInUser, reset_token: str) -> GraphQLResponse:
    return await client.execute(LOGIN, email="nobody@example.com", password=PASSWORD)


async def register(client: ApiClient, user: SignedInUser, reset_token: str) -> GraphQLResponse:
    return await client.execute(REGISTER, input={"email": "new@example.com", "password": NEW_PASSWORD})


async def change_password(client: ApiClient, user: SignedInUser, reset_token: str) -> GraphQLResponse:
    return await client.with_token(user.token).execute(CHANGE_PASSWORD, old=PASSWORD, new=NEW_PASSWORD)


async def reset_password_by_link(client: ApiClient, user: SignedInUser, reset_token: str) -> GraphQLResponse:
    return await client.execute(RESET_PASSWORD, token=reset_token, password=NEW_PASSWORD)


@pytest.mark.parametrize(
    "send_request", [log_in_over_http, log_in_without_account, register, change_password, reset_password_by_link]
)
async def test_overload_reports_retry_after(
    client: ApiClient,
    shop: Shop,
    user: SignedInUser,
    hasher: BlockingHasher,
    postgres: asyncpg.Connection,
    send_request: Callable[[ApiClient, SignedInUser, str], Awaitable[GraphQLResponse]],
) -> None:
    """The error is immediate, the same for every login, and counts no failed attempt."""
    reset_token = await request_reset_token(client, shop, postgres, EMAIL)
    async with full_hashing_queue(client, shop, hasher):
        before = await postgres.fetchrow(ACCOUNT_STATE)
        response = await send_request(client, user, reset_token)
        assert response.data is not None
        assert list(response.data.values()) == [None]
        assert [error["extensions"] for error in response.errors] == [UNAVAILABLE]
        assert await postgres.fetchrow(ACCOUNT_STATE) == before
    retried_response = await send_request(client, user, reset_token)
    assert not retried_response.errors


# ── Other requests ────────────────────────────────────────────────────────────────────────


async def test_other_requests_continue(
    client: ApiClient, shop: Shop, user: SignedInUser, hasher: BlockingHasher
) -> None:
    hasher.may_continue.set()
    tokens = await log_in(client, EMAIL)
    hasher.may_continue.clear()
    customer = await add_customer(client, shop, (await add_book(shop), 1))
    async with full_hashing_queue(client, shop, hasher):
        assert (await client.execute(GENRES_QUERY))["genres"] == []
        assert (await customer.checkout())["__typename"] == "OrderPlaced"
        assert await refresh_session(client, tokens)
        assert await asyncio.to_thread(str, "in another thread") == "in another thread"


async def test_concurrent_hashes_are_limited_to_threads(
    client: ApiClient, shop: Shop, user: SignedInUser, hasher: BlockingHasher
) -> None:
    async with full_hashing_queue(client, shop, hasher):
        assert hasher.in_progress == THREADS
    assert hasher.max_in_progress == THREADS
