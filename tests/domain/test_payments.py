"""The mock provider keeps the promises of a real one: one answer for a key, charged once, refunded once."""

import asyncio
from decimal import Decimal

import asyncpg
import pytest

from domain.payments import Approved, Declined, MockPayments, Outcome
from domain.shop import Shop
from tests.memory import payments


@pytest.fixture
def provider(shop: Shop) -> MockPayments:
    return MockPayments(shop.database)


async def _charge(provider: MockPayments, key: str, token: str | None = None) -> Outcome:
    return await provider.charge(key, Decimal("9.99"), "EUR", token)


async def test_tokens_decide(provider: MockPayments) -> None:
    assert isinstance(await _charge(provider, "1", "mock-approve"), Approved)
    assert isinstance(await _charge(provider, "2", "mock-decline"), Declined)


async def test_without_a_token_nine_keys_in_ten_are_approved(provider: MockPayments) -> None:
    outcomes = await asyncio.gather(*(_charge(provider, f"order {number}") for number in range(10)))
    more = [await _charge(provider, f"order {number}") for number in range(200)]
    assert more[:10] == outcomes
    assert 170 <= sum(isinstance(outcome, Approved) for outcome in more) <= 190


@pytest.mark.parametrize(("first", "then"), [("mock-approve", "mock-decline"), ("mock-decline", "mock-approve")])
async def test_a_key_has_one_answer(
    provider: MockPayments, postgres: asyncpg.Connection, first: str, then: str
) -> None:
    assert await provider.find("key") is None
    answer = await _charge(provider, "key", first)
    assert await _charge(provider, "key", then) == answer
    assert await provider.find("key") == answer
    assert len(await payments(postgres)) == 1


async def test_charges_at_once_under_a_key_take_the_money_once(
    provider: MockPayments, postgres: asyncpg.Connection
) -> None:
    answers = await asyncio.gather(*(_charge(provider, "key", "mock-approve") for _ in range(8)))
    assert set(map(type, answers)) == {Approved}
    assert await payments(postgres) == [("APPROVED", False)]


async def test_money_goes_back_once(provider: MockPayments, postgres: asyncpg.Connection) -> None:
    await _charge(provider, "key", "mock-approve")
    await provider.refund("key")
    first = await postgres.fetchval("SELECT refunded_at FROM mock_payments")
    await provider.refund("key")
    assert first is not None
    assert await postgres.fetchval("SELECT refunded_at FROM mock_payments") == first


async def test_a_refund_before_the_charge_keeps_it_from_being_taken(
    provider: MockPayments, postgres: asyncpg.Connection
) -> None:
    await provider.refund("key")
    assert isinstance(await _charge(provider, "key", "mock-approve"), Declined)
    assert isinstance(await provider.find("key"), Declined)
    assert await payments(postgres) == [("VOIDED", False)]


async def test_nothing_is_given_back_of_what_was_declined(provider: MockPayments, postgres: asyncpg.Connection) -> None:
    await _charge(provider, "key", "mock-decline")
    await provider.refund("key")
    assert await payments(postgres) == [("DECLINED", False)]
