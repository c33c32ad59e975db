"""One order per cart: double clicks, second tabs and retries buy once, and pay once."""

import asyncio
import uuid
from collections import Counter
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from domain import catalog, orders
from domain.payments import Declined
from domain.shop import Shop
from domain.stock import restock, take_stock
from persistence import orders as stored_orders
from persistence.database import Reading, Transaction
from server.settings import Settings
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_administrator, add_book, fill_cart
from tests.locks import BOOKS, holding, until_waiting
from tests.memory import movements_of, payments, remembered, stock_is_explained, stock_of
from tests.providers import SlowPayments, paid_through

ADDRESS = {"recipient": "Ada", "line1": "1 Mill Lane", "city": "Ely", "country": "GB"}


async def test_a_double_click_places_one_order(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    async with holding(database_url, BOOKS, [book.id]):
        clicks = [asyncio.create_task(customer.buys("once")) for _ in range(4)]
        await until_waiting(postgres, len(clicks))
    ends = await asyncio.gather(*clicks)

    assert {end["__typename"] for end in ends} == {"OrderPlaced"}
    assert len({end["order"]["id"] for end in ends}) == 1
    assert await postgres.fetchval("SELECT count(*) FROM orders") == 1
    assert await payments(postgres) == [("APPROVED", False)]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]


async def test_a_second_tab_with_its_own_key_finds_an_empty_cart(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    async with holding(database_url, BOOKS, [book.id]):
        tabs = [asyncio.create_task(customer.buys(key)) for key in ("tab 1", "tab 2", "tab 3")]
        await until_waiting(postgres, len(tabs))
    ends = Counter(end["__typename"] for end in await asyncio.gather(*tabs))

    assert ends == Counter(OrderPlaced=1, CartEmpty=2)
    assert await postgres.fetchval("SELECT count(*) FROM orders") == 1
    assert await payments(postgres) == [("APPROVED", False)]
    assert await stock_of(postgres, book) == 3


async def test_what_is_added_while_the_cart_is_bought_stays_for_the_next_order(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    bought, late = await add_book(shop, "Bought"), await add_book(shop, "Late")
    customer = await add_customer(visitor, shop, (bought, 1))
    async with holding(database_url, BOOKS, [bought.id]):
        purchase = asyncio.create_task(customer.buys())
        await until_waiting(postgres, 1)
        adding = asyncio.create_task(fill_cart(shop, customer.member, (late, 1)))
        await until_waiting(postgres, 2)
    end, _ = await asyncio.gather(purchase, adding)

    assert [item["title"] for item in end["order"]["items"]] == ["Bought"]
    assert await customer.cart_lines() == [("Late", 1)]


# ── The same key again ────────────────────────────────────────────────────────────────────


async def test_the_same_key_tells_of_the_same_order_as_it_is_now(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    first = await customer.buys("once")
    await fill_cart(shop, customer.member, (book, 1))
    before = await remembered(postgres)

    assert await customer.buys("once") == first
    assert await remembered(postgres) == before

    administrator = Customer(await add_administrator(shop), visitor).at(visitor)
    await administrator.ships(first["order"]["id"])
    again = await customer.buys("once")
    assert (again["__typename"], again["order"]["status"]) == ("OrderPlaced", "SHIPPED")
    assert again["order"]["id"] == first["order"]["id"]


async def test_the_same_key_after_a_declined_payment_is_declined_again(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    first = await customer.buys("once", "mock-decline")
    before = await remembered(postgres)

    assert (first["__typename"], first["order"]["status"]) == ("PaymentFailed", "PAYMENT_FAILED")
    assert await customer.buys("once", "mock-decline") == first
    assert await remembered(postgres) == before
    assert await customer.cart_lines() == [("Emma", 2)]
    assert (await customer.buys("another card"))["__typename"] == "OrderPlaced"
    assert await payments(postgres) == [("DECLINED", False), ("APPROVED", False)]


@pytest.mark.parametrize("first_token", ["mock-approve", "mock-decline"])
@pytest.mark.parametrize(
    "other", [{"token": "mock-other"}, {"token": None}, {"expectedTotal": "20.00"}, {"shippingAddress": ADDRESS}]
)
async def test_the_same_key_for_another_purchase_is_refused(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, first_token: str, other: dict[str, Any]
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    await customer.buys("once", first_token)
    await fill_cart(shop, customer.member, (book, 1))
    before = await remembered(postgres)

    end = await customer.buys("once", **{"token": first_token, **other})

    assert end["__typename"] == "InvalidInput"
    assert [(issue["path"], issue["rule"]) for issue in end["issues"]] == [(["idempotencyKey"], "NOT_ALLOWED")]
    assert await remembered(postgres) == before


async def test_a_total_written_differently_is_the_same_purchase(visitor: Visitor, shop: Shop) -> None:
    customer = await add_customer(visitor, shop, (await add_book(shop, price="10.00"), 2))
    first = await customer.buys(expectedTotal="20.00")
    assert await customer.buys(expectedTotal="20") == first


async def test_two_customers_may_use_the_same_key(visitor: Visitor, shop: Shop) -> None:
    book = await add_book(shop)
    one, other = (await add_customer(visitor, shop, (book, 1)), await add_customer(visitor, shop, (book, 1)))
    first, second = await one.buys("1"), await other.buys("1")
    assert first["__typename"] == second["__typename"] == "OrderPlaced"
    assert first["order"]["id"] != second["order"]["id"]


async def test_the_same_key_waits_while_the_first_is_being_paid(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen_pending = _watch_for_pending(monkeypatch)
    provider = SlowPayments()
    async with paid_through(provider, settings) as visitor:
        customer = await add_customer(visitor, shop, (await add_book(shop), 1))
        first = asyncio.create_task(customer.buys("once"))
        await provider.asked.wait()
        second = asyncio.create_task(customer.buys("once"))
        await seen_pending.wait()
        assert not second.done()
        provider.go_on.set()
        ends = await asyncio.gather(first, second)

    assert ends[0]["__typename"] == "OrderPlaced"
    assert ends[0] == ends[1]
    assert len(provider.charged) == 1
    assert await postgres.fetchval("SELECT count(*) FROM orders") == 1


async def test_who_has_waited_long_enough_is_told_when_to_come_back(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "REPLAY_WAIT", 0)
    provider = SlowPayments(outcome=Declined("No money."))
    async with paid_through(provider, settings) as visitor:
        customer = await add_customer(visitor, shop, (await add_book(shop), 1))
        first = asyncio.create_task(customer.buys("once"))
        await provider.asked.wait()
        before = await remembered(postgres)
        second = await customer.tries_to_buy("once")
        assert (second.data, second.codes) == ({"checkout": None}, ["SERVICE_UNAVAILABLE"])
        assert second.errors[0]["extensions"]["retryAfter"] == orders.RETRY_AFTER
        assert await remembered(postgres) == before
        provider.go_on.set()
        assert (await first)["__typename"] == "PaymentFailed"
        assert (await customer.buys("once"))["__typename"] == "PaymentFailed"
    assert len(provider.charged) == 1


async def test_another_purchase_under_a_key_that_is_being_paid_is_refused_at_once(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    provider = SlowPayments()
    async with paid_through(provider, settings) as visitor:
        customer = await add_customer(visitor, shop, (await add_book(shop), 1))
        first = asyncio.create_task(customer.buys("once"))
        await provider.asked.wait()
        before = await remembered(postgres)
        assert (await customer.buys("once", "mock-other"))["__typename"] == "InvalidInput"
        assert await remembered(postgres) == before
        provider.go_on.set()
        assert (await first)["__typename"] == "OrderPlaced"


def _watch_for_pending(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Tells when a retry has found its order unsettled, and so has begun to wait."""
    find, seen = stored_orders.find_order_by_key, asyncio.Event()

    async def find_and_tell(db: Reading | Transaction, user_id: uuid.UUID, key: str) -> stored_orders.Order | None:
        order = await find(db, user_id, key)
        if order is not None and order.status == "PENDING" and isinstance(db, Reading):
            seen.set()
        return order

    monkeypatch.setattr(stored_orders, "find_order_by_key", find_and_tell)
    return seen


# ── A refusal leaves the key free ─────────────────────────────────────────────────────────


async def test_after_an_empty_cart_the_key_is_free(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop)
    customer = await add_customer(visitor, shop)
    before = await remembered(postgres)
    assert (await customer.buys())["__typename"] == "CartEmpty"
    assert await remembered(postgres) == before

    await fill_cart(shop, customer.member, (book, 1))
    assert (await customer.buys())["__typename"] == "OrderPlaced"


async def test_after_a_shortage_the_key_is_free(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, stock=3)
    customer = await add_customer(visitor, shop, (book, 3))
    await take_stock(shop, book.id, 2)
    before = await remembered(postgres)
    assert (await customer.buys())["__typename"] == "InsufficientStock"
    assert await remembered(postgres) == before

    await restock(shop, book.id, 1)
    assert (await customer.buys())["__typename"] == "OrderPlaced"
    assert await stock_is_explained(postgres, shop)


async def test_after_a_changed_price_the_key_is_free_for_the_new_total(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, price="10.00")
    customer = await add_customer(visitor, shop, (book, 2))
    await catalog.update_book(shop, book.id, {"price": Decimal("10.50")})
    before = await remembered(postgres)
    assert (await customer.buys(expectedTotal="20.00"))["__typename"] == "PriceChanged"
    assert await remembered(postgres) == before

    assert (await customer.buys(expectedTotal="21.00"))["__typename"] == "OrderPlaced"
