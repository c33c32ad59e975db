"""Passwords cannot be guessed in a hurry, from one place or from many, and no stranger keeps the owner out."""

import asyncio
import datetime as dt
from typing import Any

import asyncpg
import httpx2
import pytest
from argon2 import PasswordHasher
from starlette.applications import Starlette

from domain import throttling
from domain.errors import Refusal, TooOften
from domain.shop import Shop
from domain.sweeping import sweep
from domain.throttling import SIGN_IN, Throttles
from persistence.faults import Unavailable
from tests.factories import add_member

PASSWORD = "a quiet reading corner"
LOGIN = """mutation ($email: String!, $password: String!) {
  login(input: {email: $email, password: $password}) { __typename ... on UserError { code } }
}"""
FORGOT = "mutation ($email: String!) { requestPasswordReset(input: {email: $email}) { __typename } }"
REGISTER = 'mutation ($email: String!) { register(input: {email: $email, password: "x"}) { __typename } }'
FREE = throttling.SIGN_IN.pair.free if throttling.SIGN_IN.pair else 0
WRONG = "InvalidCredentials"


@pytest.fixture(autouse=True)
def quick_hashes(open_shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    hasher = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1)
    monkeypatch.setattr(open_shop.passwords, "_hasher", hasher)
    monkeypatch.setattr(open_shop.passwords, "_nobodys", hasher.hash("nobody's password"))


@pytest.fixture
async def owner(shop: Shop) -> str:
    await add_member(shop, "owner@example.com", password_hash=await shop.passwords.hash(PASSWORD))
    return "owner@example.com"


async def post(app: Starlette, address: str, document: str, **variables: Any) -> dict[str, Any]:
    transport = httpx2.ASGITransport(app, client=(address, 4711))
    async with httpx2.AsyncClient(base_url="http://shop", transport=transport) as http:
        answer = (await http.post("/graphql", json={"query": document, "variables": variables})).json()
    assert isinstance(answer, dict)
    return answer


async def login(app: Starlette, address: str, email: str, password: str) -> str:
    """The type of the answer, or the code of the error."""
    answer = await post(app, address, LOGIN, email=email, password=password)
    if "errors" not in answer:
        return str(answer["data"]["login"]["__typename"])
    extensions = answer["errors"][0]["extensions"]
    if extensions["code"] == "RATE_LIMITED":
        assert 1 <= extensions["retryAfter"] <= 3600
    return str(extensions["code"])


async def later(postgres: asyncpg.Connection, by: dt.timedelta) -> None:
    """Time passes for the counts."""
    await postgres.execute("UPDATE throttles SET free_at = free_at - $1::interval, tried_at = tried_at - $1", by)


async def test_of_fifty_wrong_passwords_at_once_few_are_looked_at(
    app: Starlette, shop: Shop, owner: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    hashed = 0
    verify = type(shop.passwords).verify

    async def counting(self: Any, password: str, hash_: str | None) -> bool:
        nonlocal hashed
        hashed += 1
        return await verify(self, password, hash_)

    monkeypatch.setattr(type(shop.passwords), "verify", counting)
    answers = await asyncio.gather(*(login(app, "198.51.100.7", owner, f"wrong {n}") for n in range(50)))
    assert (answers.count(WRONG), answers.count("RATE_LIMITED")) == (FREE, 50 - FREE)
    assert hashed == FREE


async def test_an_address_nobody_has_is_throttled_alike(app: Starlette, shop: Shop) -> None:
    answers = await asyncio.gather(*(login(app, "198.51.100.7", "nobody@example.com", "x" * 9) for _ in range(20)))
    assert (answers.count(WRONG), answers.count("RATE_LIMITED")) == (FREE, 20 - FREE)


async def test_even_the_right_password_waits(app: Starlette, owner: str, postgres: asyncpg.Connection) -> None:
    for n in range(FREE):
        assert await login(app, "198.51.100.7", owner, f"wrong {n}") == WRONG
    assert await login(app, "198.51.100.7", owner, PASSWORD) == "RATE_LIMITED"
    assert await postgres.fetchval("SELECT count(*) FROM sessions") == 1  # the one it was made with
    await later(postgres, dt.timedelta(seconds=2))
    assert await login(app, "198.51.100.7", owner, PASSWORD) == "LoggedIn"


async def test_waits_double_up_to_an_hour(app: Starlette, owner: str, postgres: asyncpg.Connection) -> None:
    waits = []
    for n in range(FREE + 14):
        assert await login(app, "198.51.100.7", owner, f"wrong {n}") == WRONG
        waits.append(
            await postgres.fetchval("SELECT round(extract(epoch FROM max(free_at - tried_at))) FROM throttles")
        )
        await later(postgres, dt.timedelta(hours=1))
    assert waits == [0] * (FREE - 1) + [2**n for n in range(12)] + [3600] * 3


async def test_coming_in_forgets_wrong_tries(app: Starlette, owner: str) -> None:
    for _ in range(3):
        for n in range(FREE - 1):
            assert await login(app, "198.51.100.7", owner, f"wrong {n}") == WRONG
        assert await login(app, "198.51.100.7", owner, PASSWORD) == "LoggedIn"


async def test_the_owner_comes_in_from_elsewhere(app: Starlette, owner: str) -> None:
    for n in range(30):
        await login(app, "198.51.100.7", owner, f"wrong {n}")
    assert await login(app, "203.0.113.9", owner, PASSWORD) == "LoggedIn"


async def test_many_addresses_together_are_slowed_and_the_owner_at_home_is_not(app: Starlette, owner: str) -> None:
    rule = throttling.SIGN_IN.account
    assert rule is not None
    assert await login(app, "203.0.113.9", owner, PASSWORD) == "LoggedIn"
    strangers = [await login(app, f"198.51.100.{n}", owner, "wrong") for n in range(rule.free + 10)]
    assert (strangers.count(WRONG), strangers.count("RATE_LIMITED")) == (rule.free, 10)
    assert await login(app, "203.0.113.9", owner, PASSWORD) == "LoggedIn"


async def test_one_address_cannot_go_through_many_accounts(app: Starlette, shop: Shop, owner: str) -> None:
    rule = throttling.SIGN_IN.address
    assert rule is not None
    answers = [await login(app, "198.51.100.7", f"reader{n}@example.com", "wrong") for n in range(rule.free + 5)]
    assert (answers.count(WRONG), answers.count("RATE_LIMITED")) == (rule.free, 5)
    assert await login(app, "198.51.100.7", owner, PASSWORD) == "RATE_LIMITED"
    assert await login(app, "203.0.113.9", owner, PASSWORD) == "LoggedIn"


async def test_an_attacker_gains_nothing_by_signing_in_as_themselves(app: Starlette, shop: Shop, owner: str) -> None:
    await add_member(shop, "mine@example.com", password_hash=await shop.passwords.hash(PASSWORD))
    rule = throttling.SIGN_IN.address
    assert rule is not None
    wrong = 0
    for n in range(rule.free):
        wrong += await login(app, "198.51.100.7", f"reader{n}@example.com", "wrong") == WRONG
        if n % 10 == 0:
            assert await login(app, "198.51.100.7", "mine@example.com", PASSWORD) == "LoggedIn"
    assert wrong == rule.free
    assert await login(app, "198.51.100.7", "another@example.com", "wrong") == "RATE_LIMITED"


async def test_letters_are_not_sent_without_end(app: Starlette, owner: str, postgres: asyncpg.Connection) -> None:
    answers = [await post(app, f"198.51.100.{n}", FORGOT, email=owner.upper()) for n in range(10)]
    refused = [answer for answer in answers if "errors" in answer]
    assert {answer["errors"][0]["extensions"]["code"] for answer in refused} == {"RATE_LIMITED"}
    assert (
        await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'RESET_PASSWORD'") == 10 - len(refused) == 3
    )


async def test_what_is_counted_names_nobody_and_is_forgotten(
    app: Starlette, shop: Shop, owner: str, postgres: asyncpg.Connection
) -> None:
    await login(app, "198.51.100.7", owner, "wrong")
    await login(app, "203.0.113.9", owner, PASSWORD)
    stored = str(await postgres.fetch("SELECT * FROM throttles"))
    assert owner not in stored
    assert "198.51.100.7" not in stored
    await later(postgres, dt.timedelta(days=2))
    await sweep(shop)
    assert await postgres.fetchval("SELECT array_agg(tries) FROM throttles") == [0]  # where the owner is at home
    await later(postgres, dt.timedelta(days=90))
    await sweep(shop)
    assert await postgres.fetchval("SELECT count(*) FROM throttles") == 0


async def test_a_fault_of_the_shop_is_no_wrong_guess(shop: Shop) -> None:
    throttles = Throttles(shop.database, b"key")
    for _ in range(10):
        with pytest.raises(Unavailable):
            async with throttles.trying(SIGN_IN, account="a@example.com", address="192.0.2.1"):
                raise Unavailable


async def test_capitals_make_no_other_account(shop: Shop) -> None:
    throttles = Throttles(shop.database, b"key")
    for _ in range(5):
        with pytest.raises(Refusal):
            async with throttles.trying(SIGN_IN, account="a@example.com", address="192.0.2.1"):
                raise Refusal("Wrong.")
    with pytest.raises(TooOften):
        async with throttles.trying(SIGN_IN, account=" A@Example.COM", address="192.0.2.1"):
            pass
