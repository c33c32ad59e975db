"""Throttling slows the guessing of passwords, and never locks the owner out."""

import asyncio
import datetime as dt
from typing import Any

import asyncpg
import httpx2
import pytest
from argon2 import PasswordHasher
from starlette.applications import Starlette

from domain.auth import login_throttle
from domain.auth.login_throttle import LOGIN_POLICY, Throttles
from domain.errors import RateLimited, UserError
from domain.shop import Shop
from domain.sweeper import sweep
from persistence.postgres.errors import Unavailable
from tests.support.shop.factories import add_user

PASSWORD = "a quiet reading corner"
LOGIN = """mutation ($email: String!, $password: String!) {
  login(input: {email: $email, password: $password}) { __typename ... on UserError { code } }
}"""
REQUEST_RESET = "mutation ($email: String!) { requestPasswordReset(input: {email: $email}) { __typename } }"
REGISTER = 'mutation ($email: String!) { register(input: {email: $email, password: "x"}) { __typename } }'
FREE_ATTEMPTS = login_throttle.LOGIN_POLICY.pair.free_attempts if login_throttle.LOGIN_POLICY.pair else 0
INVALID_CREDENTIALS = "InvalidCredentials"


@pytest.fixture(autouse=True)
def fast_hashing(open_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(open_shop.passwords, "_hasher", hasher)
    monkeypatch.setattr(open_shop.passwords, "_dummy_hash", hasher.hash("nobody's password"))


@pytest.fixture
async def owner(shop: Shop) -> str:
    await add_user(shop, "owner@example.com", password_hash=await shop.passwords.hash(PASSWORD))
    return "owner@example.com"


async def post_request(app: Starlette, address: str, document: str, **variables: Any) -> dict[str, Any]:
    transport = httpx2.ASGITransport(app, client=(address, 4711))
    async with httpx2.AsyncClient(base_url="http://shop", transport=transport) as http:
        payload = (await http.post("/graphql", json={"query": document, "variables": variables})).json()
    assert isinstance(payload, dict)
    return payload


async def login(app: Starlette, address: str, email: str, password: str) -> str:
    """Log in and return the type of the result, or the code of the error."""
    payload = await post_request(app, address, LOGIN, email=email, password=password)
    if "errors" not in payload:
        return str(payload["data"]["login"]["__typename"])
    extensions = payload["errors"][0]["extensions"]
    if extensions["code"] == "RATE_LIMITED":
        assert 1 <= extensions["retryAfter"] <= 3600
    return str(extensions["code"])


async def advance_time(postgres: asyncpg.Connection, by: dt.timedelta) -> None:
    """Move the times of all counted attempts into the past."""
    await postgres.execute("UPDATE throttles SET free_at = free_at - $1::interval, tried_at = tried_at - $1", by)


async def test_few_of_50_concurrent_guesses_are_checked(
    app: Starlette, shop: Shop, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    verification_count = 0
    verify = type(shop.passwords).verify

    async def count_and_verify(self: Any, password: str, hash_: str | None) -> bool:
        nonlocal verification_count
        verification_count += 1
        return await verify(self, password, hash_)

    monkeypatch.setattr(type(shop.passwords), "verify", count_and_verify)
    responses = await asyncio.gather(*(login(app, "198.51.100.7", owner, f"wrong {n}") for n in range(50)))
    assert (responses.count(INVALID_CREDENTIALS), responses.count("RATE_LIMITED")) == (
        FREE_ATTEMPTS,
        50 - FREE_ATTEMPTS,
    )
    assert verification_count == FREE_ATTEMPTS


async def test_unknown_email_is_throttled_equally(app: Starlette, shop: Shop) -> None:
    responses = await asyncio.gather(*(login(app, "198.51.100.7", "nobody@example.com", "x" * 9) for _ in range(20)))
    assert (responses.count(INVALID_CREDENTIALS), responses.count("RATE_LIMITED")) == (
        FREE_ATTEMPTS,
        20 - FREE_ATTEMPTS,
    )


async def test_correct_password_is_throttled_too(app: Starlette, owner: str, postgres: asyncpg.Connection) -> None:
    for n in range(FREE_ATTEMPTS):
        assert await login(app, "198.51.100.7", owner, f"wrong {n}") == INVALID_CREDENTIALS
    assert await login(app, "198.51.100.7", owner, PASSWORD) == "RATE_LIMITED"
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 1  # the session of `add_user`
    await advance_time(postgres, dt.timedelta(seconds=2))
    assert await login(app, "198.51.100.7", owner, PASSWORD) == "LoggedIn"


async def test_delays_double_up_to_an_hour(app: Starlette, owner: str, postgres: asyncpg.Connection) -> None:
    delays = []
    for n in range(FREE_ATTEMPTS + 14):
        assert await login(app, "198.51.100.7", owner, f"wrong {n}") == INVALID_CREDENTIALS
        delays.append(
            await postgres.fetchval("SELECT round(extract(epoch FROM max(free_at - tried_at))) FROM throttles")
        )
        await advance_time(postgres, dt.timedelta(hours=1))
    assert delays == [0] * (FREE_ATTEMPTS - 1) + [2**n for n in range(12)] + [3600] * 3


async def test_login_resets_failed_attempts(app: Starlette, owner: str) -> None:
    for _ in range(3):
        for n in range(FREE_ATTEMPTS - 1):
            assert await login(app, "198.51.100.7", owner, f"wrong {n}") == INVALID_CREDENTIALS
        assert await login(app, "198.51.100.7", owner, PASSWORD) == "LoggedIn"


async def test_owner_can_log_in_from_another_address(app: Starlette, owner: str) -> None:
    for n in range(30):
        await login(app, "198.51.100.7", owner, f"wrong {n}")
    assert await login(app, "203.0.113.9", owner, PASSWORD) == "LoggedIn"


async def test_distributed_guessing_is_throttled_but_not_the_owner(app: Starlette, owner: str) -> None:
    policy = login_throttle.LOGIN_POLICY.account
    assert policy is not None
    assert await login(app, "203.0.113.9", owner, PASSWORD) == "LoggedIn"
    guesses = [await login(app, f"198.51.100.{n}", owner, "wrong") for n in range(policy.free_attempts + 10)]
    assert (guesses.count(INVALID_CREDENTIALS), guesses.count("RATE_LIMITED")) == (policy.free_attempts, 10)
    assert await login(app, "203.0.113.9", owner, PASSWORD) == "LoggedIn"


async def test_one_address_cannot_try_many_accounts(app: Starlette, shop: Shop, owner: str) -> None:
    policy = login_throttle.LOGIN_POLICY.address
    assert policy is not None
    responses = [
        await login(app, "198.51.100.7", f"reader{n}@example.com", "wrong") for n in range(policy.free_attempts + 5)
    ]
    assert (responses.count(INVALID_CREDENTIALS), responses.count("RATE_LIMITED")) == (policy.free_attempts, 5)
    assert await login(app, "198.51.100.7", owner, PASSWORD) == "RATE_LIMITED"
    assert await login(app, "203.0.113.9", owner, PASSWORD) == "LoggedIn"


async def test_own_login_does_not_reset_the_attackers_throttle(app: Starlette, shop: Shop, owner: str) -> None:
    await add_user(shop, "mine@example.com", password_hash=await shop.passwords.hash(PASSWORD))
    policy = login_throttle.LOGIN_POLICY.address
    assert policy is not None
    failure_count = 0
    for n in range(policy.free_attempts):
        failure_count += await login(app, "198.51.100.7", f"reader{n}@example.com", "wrong") == INVALID_CREDENTIALS
        if n % 10 == 0:
            assert await login(app, "198.51.100.7", "mine@example.com", PASSWORD) == "LoggedIn"
    assert failure_count == policy.free_attempts
    assert await login(app, "198.51.100.7", "another@example.com", "wrong") == "RATE_LIMITED"


async def test_requested_emails_are_throttled(app: Starlette, owner: str, postgres: asyncpg.Connection) -> None:
    responses = [await post_request(app, f"198.51.100.{n}", REQUEST_RESET, email=owner.upper()) for n in range(10)]
    rejected = [payload for payload in responses if "errors" in payload]
    assert {payload["errors"][0]["extensions"]["code"] for payload in rejected} == {"RATE_LIMITED"}
    assert (
        await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'RESET_PASSWORD'") == 10 - len(rejected) == 3
    )


async def test_throttles_are_anonymous_and_expire(
    app: Starlette, shop: Shop, owner: str, postgres: asyncpg.Connection
) -> None:
    await login(app, "198.51.100.7", owner, "wrong")
    await login(app, "203.0.113.9", owner, PASSWORD)
    stored = str(await postgres.fetch("SELECT * FROM throttles"))
    assert owner not in stored
    assert "198.51.100.7" not in stored
    await advance_time(postgres, dt.timedelta(days=2))
    await sweep(shop)
    assert await postgres.fetchval("SELECT array_agg(tries) FROM throttles") == [0]  # the owner's usual address
    await advance_time(postgres, dt.timedelta(days=90))
    await sweep(shop)
    assert await postgres.fetchval("SELECT count(*) FROM throttles") == 0


async def test_internal_error_is_not_a_failed_attempt(shop: Shop) -> None:
    throttles = Throttles(shop.database, b"key")
    for _ in range(10):
        with pytest.raises(Unavailable):
            async with throttles.attempt(LOGIN_POLICY, account="a@example.com", address="192.0.2.1"):
                raise Unavailable


async def test_email_case_does_not_bypass_throttle(shop: Shop) -> None:
    throttles = Throttles(shop.database, b"key")
    for _ in range(5):
        with pytest.raises(UserError):
            async with throttles.attempt(LOGIN_POLICY, account="a@example.com", address="192.0.2.1"):
                raise UserError("Wrong.")
    with pytest.raises(RateLimited):
        async with throttles.attempt(LOGIN_POLICY, account=" A@Example.COM", address="192.0.2.1"):
            pass
