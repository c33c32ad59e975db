"""The mock payment provider: one outcome per idempotency key, one charge and one refund."""

import asyncio
from decimal import Decimal

import asyncpg
import pytest

from domain.payments import Approved, Declined, MockPaymentProvider, PaymentOutcome
from domain.shop import Shop
from tests.support.database.db_snapshots import list_payments


@pytest.fixture
def provider(shop: Shop) -> MockPaymentProvider:
    return MockPaymentProvider(shop.database)


async def _charge(provider: MockPaymentProvider, key: str, token: str | None = None) -> PaymentOutcome:
    return await provider.charge(key, Decimal("9.99"), "EUR", token)


async def test_payment_token_decides_outcome(provider: MockPaymentProvider) -> None:
    assert isinstance(await _charge(provider, "1", "mock-approve"), Approved)
    assert isinstance(await _charge(provider, "2", "mock-decline"), Declined)


async def test_without_a_token_nine_keys_in_ten_are_approved(provider: MockPaymentProvider) -> None:
    outcomes = await asyncio.gather(*(_charge(provider, f"order {number}") for number in range(10)))
    later_outcomes = [await _charge(provider, f"order {number}") for number in range(200)]
    assert later_outcomes[:10] == outcomes
    assert 170 <= sum(isinstance(outcome, Approved) for outcome in later_outcomes) <= 190


@pytest.mark.parametrize(
    ("first_token", "second_token"), [("mock-approve", "mock-decline"), ("mock-decline", "mock-approve")]
)
async def test_same_key_has_same_outcome(
    provider: MockPaymentProvider, postgres: asyncpg.Connection, first_token: str, second_token: str
) -> None:
    assert await provider.find("key") is None
    outcome = await _charge(provider, "key", first_token)
    assert await _charge(provider, "key", second_token) == outcome
    assert await provider.find("key") == outcome
    assert len(await list_payments(postgres)) == 1


async def test_concurrent_charges_with_one_key_charge_once(
    provider: MockPaymentProvider, postgres: asyncpg.Connection
) -> None:
    outcomes = await asyncio.gather(*(_charge(provider, "key", "mock-approve") for _ in range(8)))
    assert set(map(type, outcomes)) == {Approved}
    assert await list_payments(postgres) == [("APPROVED", False)]


async def test_refund_happens_once(provider: MockPaymentProvider, postgres: asyncpg.Connection) -> None:
    await _charge(provider, "key", "mock-approve")
    await provider.refund("key")
    refunded_at = await postgres.fetchval("SELECT refunded_at FROM mock_payments")
    await provider.refund("key")
    assert refunded_at is not None
    assert await postgres.fetchval("SELECT refunded_at FROM mock_payments") == refunded_at


async def test_refund_before_charge_prevents_the_charge(
    provider: MockPaymentProvider, postgres: asyncpg.Connection
) -> None:
    await provider.refund("key")
    assert isinstance(await _charge(provider, "key", "mock-approve"), Declined)
    assert isinstance(await provider.find("key"), Declined)
    assert await list_payments(postgres) == [("VOIDED", False)]


async def test_declined_charge_is_not_refunded(provider: MockPaymentProvider, postgres: asyncpg.Connection) -> None:
    await _charge(provider, "key", "mock-decline")
    await provider.refund("key")
    assert await list_payments(postgres) == [("DECLINED", False)]
