"""Rules of orders: numbers, digests, totals, who can cancel, and payment providers that do not respond."""

import asyncio
import re
from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import orders
from domain.errors import Overloaded
from domain.orders import CheckoutRequest, can_cancel, can_view, checkout, generate_order_number, normalize_order_number
from domain.shop import Shop
from domain.sweeper import sweep
from persistence.orders import AddressRow, OrderStatus
from persistence.postgres.errors import Unavailable
from tests.support.database.db_snapshots import age_orders, get_stock
from tests.support.shop.factories import add_admin, add_book, add_user, fill_cart
from tests.support.shop.payment_providers import SlowPayments, UnreachablePayments

APPROVED = CheckoutRequest("key", payment_token="mock-approve")
NUMBER = re.compile("[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}")
CONFUSABLE_CHARACTERS = {"0": "0Oo", "1": "1IiLl"}


# ── Numbers ───────────────────────────────────────────────────────────────────────────


def test_order_number_has_no_ambiguous_characters() -> None:
    for _ in range(200):
        number = generate_order_number()
        assert NUMBER.fullmatch(number)
        assert normalize_order_number(number) == number


@given(st.text(orders.ORDER_NUMBER_ALPHABET, min_size=12, max_size=12), st.data())
def test_order_number_is_normalized(characters: str, data: st.DataObject) -> None:
    number = "-".join((characters[:4], characters[4:8], characters[8:]))
    misread_number = "".join(
        data.draw(st.sampled_from(CONFUSABLE_CHARACTERS.get(character, character))) for character in number
    )
    separator = data.draw(
        st.sampled_from(["-", " ", "", " - ", "\u2010", "\u2011", "\u2014", "\u2212", "\u00a0", "\u00ad", "\u200b"])
    )
    sign = data.draw(st.sampled_from(["", "#", "\uff03", " # ", "\ufeff#", "\u202a"]))
    assert normalize_order_number(f" {sign}{misread_number} ".replace("-", separator)) == number
    assert normalize_order_number(misread_number.lower()) == number


@given(st.text() | st.text(alphabet="0123456789abcdefghijklmnopqrstuvwxyz- ", min_size=11, max_size=15))
def test_normalized_order_number_is_valid(text: str) -> None:
    number = normalize_order_number(text)
    assert number is None or NUMBER.fullmatch(number)


async def test_duplicate_order_number_is_regenerated(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    book, first, second = await add_book(shop), await add_user(shop), await add_user(shop)
    for user in (first, second):
        await fill_cart(shop, user, (book, 1))
    numbers = iter(["AAAA-AAAA-AAAA", "AAAA-AAAA-AAAA", "BBBB-BBBB-BBBB"])
    monkeypatch.setattr(orders, "generate_order_number", lambda: next(numbers))
    placed_orders = [await checkout(shop, user.id, APPROVED) for user in (first, second)]
    assert [order.number for order in placed_orders] == ["AAAA-AAAA-AAAA", "BBBB-BBBB-BBBB"]


# ── Digests ───────────────────────────────────────────────────────────────────────────

WORDS = st.text(alphabet="ab\"',[] ", min_size=1, max_size=3)
ADDRESSES = st.builds(
    AddressRow, WORDS, WORDS, st.none() | WORDS, WORDS, st.none() | WORDS, st.none() | WORDS, WORDS, st.none() | WORDS
)
REQUESTS = st.builds(
    CheckoutRequest, st.just("key"), st.none() | st.decimals(0, 30, places=2), st.none() | ADDRESSES, st.none() | WORDS
)


@given(REQUESTS, REQUESTS)
def test_different_checkout_requests_have_different_digests(first: CheckoutRequest, second: CheckoutRequest) -> None:
    assert (first.digest == second.digest) == (first == second)


@given(REQUESTS, st.integers(0, 4))
def test_trailing_zeros_of_total_do_not_change_digest(request: CheckoutRequest, zeros: int) -> None:
    if request.expected_total is not None:
        request_with_zeros = replace(
            request, expected_total=request.expected_total.quantize(Decimal(10) ** -(2 + zeros))
        )
        assert request.digest == request_with_zeros.digest


# ── Totals ────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(1, 10_000_000), st.integers(1, 9)), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_total_is_the_sum_of_its_lines_to_the_cent(shop: Shop, lines: list[tuple[int, int]]) -> None:
    user = await add_user(shop)
    for cents, quantity in lines:
        book = await add_book(shop, price=f"{cents // 100}.{cents % 100:02}")
        await fill_cart(shop, user, (book, quantity))
    order = await checkout(shop, user.id, APPROVED)
    assert order.total * 100 == sum(cents * quantity for cents, quantity in lines)
    assert order.total_quantity == sum(quantity for _, quantity in lines)


# ── Permissions ───────────────────────────────────────────────────────────────────────


async def test_buyer_and_admin_can_cancel_confirmed_order(shop: Shop) -> None:
    buyer, other_user, admin = await add_user(shop), await add_user(shop), await add_admin(shop)
    await fill_cart(shop, buyer, (await add_book(shop), 1))
    order = await checkout(shop, buyer.id, APPROVED)
    for viewer, is_allowed in ((buyer, True), (other_user, False), (admin, True)):
        assert can_view(order, viewer.row) == is_allowed
        for status in OrderStatus:
            is_confirmed = status == OrderStatus.CONFIRMED
            assert can_cancel(replace(order, status=status), viewer.row) == (is_allowed and is_confirmed)


# ── Providers that do not respond ─────────────────────────────────────────────────────


async def test_slow_charge_is_left_to_the_sweeper(
    shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "CHARGE_TIMEOUT", 0.01)
    provider = SlowPayments()
    shop = replace(shop, payments=provider)
    book, user = await add_book(shop, stock=5), await add_user(shop)
    await fill_cart(shop, user, (book, 2))

    with pytest.raises(Overloaded):
        await checkout(shop, user.id, APPROVED)
    assert await postgres.fetchval("SELECT status FROM orders") == "PENDING"
    assert await get_stock(postgres, book) == 3

    provider.outcomes = dict.fromkeys(provider.charged, provider.outcome)
    await age_orders(postgres)
    await sweep(shop)
    assert (await checkout(shop, user.id, APPROVED)).status == OrderStatus.CONFIRMED
    assert len(provider.charged) == 1


@pytest.mark.parametrize("error", [OSError(), TimeoutError(), ConnectionResetError(), Unavailable()])
async def test_failed_charge_is_left_to_the_sweeper(shop: Shop, postgres: asyncpg.Connection, error: Exception) -> None:
    user = await add_user(shop)
    await fill_cart(shop, user, (await add_book(shop), 2))
    with pytest.raises(Overloaded) as error_info:
        await checkout(replace(shop, payments=UnreachablePayments(error)), user.id, APPROVED)
    assert error_info.value.retry_after == orders.RETRY_AFTER
    assert await postgres.fetchval("SELECT status FROM orders") == "PENDING"


async def test_payment_slower_than_the_response_continues(
    shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    user, payments = await add_user(shop), SlowPayments()
    await fill_cart(shop, user, (await add_book(shop), 1))
    slow_shop = replace(shop, payments=payments)
    monkeypatch.setattr(orders, "PAYMENT_WAIT_TIMEOUT", 0.05)
    with pytest.raises(Overloaded):
        await checkout(slow_shop, user.id, CheckoutRequest("key"))
    assert await postgres.fetchval("SELECT status FROM orders") == "PENDING"
    payments.may_continue.set()
    await asyncio.gather(*slow_shop.pending_payments)
    assert await postgres.fetchval("SELECT status FROM orders") == "CONFIRMED"
    assert (await checkout(slow_shop, user.id, CheckoutRequest("key"))).status == "CONFIRMED"
    assert len(payments.charged) == 1
