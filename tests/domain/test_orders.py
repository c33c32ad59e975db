"""What orders decide by themselves: numbers, digests, who may cancel, and a provider that does not answer."""

import asyncio
import re
from dataclasses import replace
from decimal import Decimal

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import orders
from domain.errors import Busy
from domain.orders import Purchase, as_order_number, can_be_cancelled, checkout, may_see, new_order_number
from domain.shop import Shop
from domain.sweeping import sweep
from persistence.faults import Unavailable
from persistence.orders import Address, OrderStatus
from tests.factories import add_administrator, add_book, add_member, fill_cart
from tests.memory import stock_of, time_passes
from tests.providers import SilentPayments, SlowPayments

APPROVED = Purchase("key", payment_token="mock-approve")
NUMBER = re.compile("[0-9A-HJKMNP-TV-Z]{4}(-[0-9A-HJKMNP-TV-Z]{4}){2}")
MISREAD = {"0": "0Oo", "1": "1IiLl"}


# ── Numbers ───────────────────────────────────────────────────────────────────────────────


def test_a_number_has_no_letters_that_look_like_others() -> None:
    for _ in range(200):
        number = new_order_number()
        assert NUMBER.fullmatch(number)
        assert as_order_number(number) == number


@given(st.text(orders.ALPHABET, min_size=12, max_size=12), st.data())
def test_a_number_is_understood_however_it_is_written(bare: str, data: st.DataObject) -> None:
    number = "-".join((bare[:4], bare[4:8], bare[8:]))
    misread = "".join(data.draw(st.sampled_from(MISREAD.get(character, character))) for character in number)
    gap = data.draw(st.sampled_from(["-", " ", "", " - "]))
    assert as_order_number(f" {misread} ".replace("-", gap)) == number
    assert as_order_number(misread.lower()) == number


@given(st.text() | st.text(alphabet="0123456789abcdefghijklmnopqrstuvwxyz- ", min_size=11, max_size=15))
def test_what_is_understood_is_a_number(text: str) -> None:
    number = as_order_number(text)
    assert number is None or NUMBER.fullmatch(number)


async def test_a_number_that_is_taken_is_made_anew(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    book, one, other = await add_book(shop), await add_member(shop), await add_member(shop)
    for member in (one, other):
        await fill_cart(shop, member, (book, 1))
    numbers = iter(["AAAA-AAAA-AAAA", "AAAA-AAAA-AAAA", "BBBB-BBBB-BBBB"])
    monkeypatch.setattr(orders, "new_order_number", lambda: next(numbers))
    placed = [await checkout(shop, member.id, APPROVED) for member in (one, other)]
    assert [order.number for order in placed] == ["AAAA-AAAA-AAAA", "BBBB-BBBB-BBBB"]


# ── What makes a purchase another one ─────────────────────────────────────────────────────

WORDS = st.text(alphabet="ab\"',[] ", min_size=1, max_size=3)
ADDRESSES = st.builds(
    Address, WORDS, WORDS, st.none() | WORDS, WORDS, st.none() | WORDS, st.none() | WORDS, WORDS, st.none() | WORDS
)
PURCHASES = st.builds(
    Purchase, st.just("key"), st.none() | st.decimals(0, 30, places=2), st.none() | ADDRESSES, st.none() | WORDS
)


@given(PURCHASES, PURCHASES)
def test_purchases_that_differ_have_different_digests(one: Purchase, other: Purchase) -> None:
    assert (one.digest == other.digest) == (one == other)


@given(PURCHASES, st.integers(0, 4))
def test_zeros_at_the_end_of_a_total_do_not_make_another_purchase(purchase: Purchase, zeros: int) -> None:
    if purchase.expected_total is not None:
        same = replace(purchase, expected_total=purchase.expected_total.quantize(Decimal(10) ** -(2 + zeros)))
        assert purchase.digest == same.digest


# ── Totals ────────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.tuples(st.integers(1, 10_000_000), st.integers(1, 9)), min_size=1, max_size=5))
@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_a_total_is_the_sum_of_its_lines_to_the_cent(shop: Shop, lines: list[tuple[int, int]]) -> None:
    member = await add_member(shop)
    for cents, copies in lines:
        book = await add_book(shop, price=f"{cents // 100}.{cents % 100:02}")
        await fill_cart(shop, member, (book, copies))
    order = await checkout(shop, member.id, APPROVED)
    assert order.total * 100 == sum(cents * copies for cents, copies in lines)
    assert order.total_quantity == sum(copies for _, copies in lines)


# ── Who may ───────────────────────────────────────────────────────────────────────────────


async def test_buyers_and_administrators_may_cancel_what_is_confirmed(shop: Shop) -> None:
    buyer, stranger, administrator = await add_member(shop), await add_member(shop), await add_administrator(shop)
    await fill_cart(shop, buyer, (await add_book(shop), 1))
    order = await checkout(shop, buyer.id, APPROVED)
    for viewer, may in ((buyer, True), (stranger, False), (administrator, True)):
        assert may_see(order, viewer.user) == may
        for status in OrderStatus:
            confirmed = status == OrderStatus.CONFIRMED
            assert can_be_cancelled(replace(order, status=status), viewer.user) == (may and confirmed)


# ── A provider that does not answer ───────────────────────────────────────────────────────


async def test_a_charge_that_takes_too_long_is_left_to_the_sweeper(
    shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "CHARGE_TIMEOUT", 0.01)
    provider = SlowPayments()
    shop = replace(shop, payments=provider)
    book, member = await add_book(shop, stock=5), await add_member(shop)
    await fill_cart(shop, member, (book, 2))

    with pytest.raises(Busy):
        await checkout(shop, member.id, APPROVED)
    assert await postgres.fetchval("SELECT status FROM orders") == "PENDING"
    assert await stock_of(postgres, book) == 3

    provider.decided = dict.fromkeys(provider.charged, provider.outcome)
    await time_passes(postgres)
    await sweep(shop)
    assert (await checkout(shop, member.id, APPROVED)).status == OrderStatus.CONFIRMED
    assert len(provider.charged) == 1


@pytest.mark.parametrize("error", [OSError(), TimeoutError(), ConnectionResetError(), Unavailable()])
async def test_a_charge_that_breaks_off_is_left_to_the_sweeper(
    shop: Shop, postgres: asyncpg.Connection, error: Exception
) -> None:
    member = await add_member(shop)
    await fill_cart(shop, member, (await add_book(shop), 2))
    with pytest.raises(Busy) as raised:
        await checkout(replace(shop, payments=SilentPayments(error)), member.id, APPROVED)
    assert raised.value.retry_after == orders.RETRY_AFTER
    assert await postgres.fetchval("SELECT status FROM orders") == "PENDING"


async def test_a_payment_slower_than_an_answer_goes_on(
    shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    member, payments = await add_member(shop), SlowPayments()
    await fill_cart(shop, member, (await add_book(shop), 1))
    slow = replace(shop, payments=payments)
    monkeypatch.setattr(orders, "ANSWER_WAIT", 0.05)
    with pytest.raises(Busy):
        await checkout(slow, member.id, Purchase("key"))
    assert await postgres.fetchval("SELECT status FROM orders") == "PENDING"
    payments.go_on.set()
    await asyncio.gather(*slow.under_way)
    assert await postgres.fetchval("SELECT status FROM orders") == "CONFIRMED"
    assert (await checkout(slow, member.id, Purchase("key"))).status == "CONFIRMED"
    assert len(payments.charged) == 1
