"""A cart becomes one order, despite double clicks, second tabs and retries."""

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
from domain.stock import adjust_stock, set_stock
from persistence import orders as stored_orders
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from server.settings import Settings
from tests.support.database.db_snapshots import (
    get_stock,
    is_stock_consistent,
    list_payments,
    list_stock_movements,
    take_snapshot,
)
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_admin, add_book, fill_cart
from tests.support.shop.payment_providers import SlowPayments

ADDRESS = {"recipient": "Ada", "line1": "1 Mill Lane", "city": "Ely", "country": "GB"}


async def test_double_click_places_one_order(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(client, shop, (book, 2))
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        checkouts = [asyncio.create_task(customer.checkout("once")) for _ in range(4)]
        await wait_for_blocked(postgres, len(checkouts))
    results = await asyncio.gather(*checkouts)

    assert {result["__typename"] for result in results} == {"OrderPlaced"}
    assert len({result["order"]["id"] for result in results}) == 1
    assert await postgres.fetchval("SELECT count(*) FROM orders") == 1
    assert await list_payments(postgres) == [("APPROVED", False)]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]


async def test_second_tab_with_another_key_finds_an_empty_cart(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(client, shop, (book, 2))
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        checkouts = [asyncio.create_task(customer.checkout(key)) for key in ("tab 1", "tab 2", "tab 3")]
        await wait_for_blocked(postgres, len(checkouts))
    outcomes = Counter(result["__typename"] for result in await asyncio.gather(*checkouts))

    assert outcomes == Counter(OrderPlaced=1, CartEmpty=2)
    assert await postgres.fetchval("SELECT count(*) FROM orders") == 1
    assert await list_payments(postgres) == [("APPROVED", False)]
    assert await get_stock(postgres, book) == 3


async def test_items_added_during_checkout_stay_in_the_cart(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    bought_book, late_book = await add_book(shop, "Bought"), await add_book(shop, "Late")
    customer = await add_customer(client, shop, (bought_book, 1))
    async with hold_lock(database_url, LOCK_BOOKS, [bought_book.id]):
        checkout = asyncio.create_task(customer.checkout())
        await wait_for_blocked(postgres, 1)
        addition = asyncio.create_task(fill_cart(shop, customer.user, (late_book, 1)))
        await wait_for_blocked(postgres, 2)
    result, _ = await asyncio.gather(checkout, addition)

    assert [item["title"] for item in result["order"]["items"]] == ["Bought"]
    assert await customer.get_cart_lines() == [("Late", 1)]


# ── Repeated keys ─────────────────────────────────────────────────────────────────────────


async def test_same_key_returns_the_current_order(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(client, shop, (book, 2))
    first = await customer.checkout("once")
    await fill_cart(shop, customer.user, (book, 1))
    before = await take_snapshot(postgres)

    assert await customer.checkout("once") == first
    assert await take_snapshot(postgres) == before

    admin = Customer(await add_admin(shop), client).with_client(client)
    await admin.ship_order(first["order"]["id"])
    repeated_result = await customer.checkout("once")
    assert (repeated_result["__typename"], repeated_result["order"]["status"]) == ("OrderPlaced", "SHIPPED")
    assert repeated_result["order"]["id"] == first["order"]["id"]


async def test_the_same_key_after_a_declined_payment_is_declined_again(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(client, shop, (book, 2))
    first = await customer.checkout("once", "mock-decline")
    before = await take_snapshot(postgres)

    assert (first["__typename"], first["order"]["status"]) == ("PaymentFailed", "PAYMENT_FAILED")
    assert await customer.checkout("once", "mock-decline") == first
    assert await take_snapshot(postgres) == before
    assert await customer.get_cart_lines() == [("Emma", 2)]
    assert (await customer.checkout("another card"))["__typename"] == "OrderPlaced"
    assert await list_payments(postgres) == [("DECLINED", False), ("APPROVED", False)]


@pytest.mark.parametrize("first_token", ["mock-approve", "mock-decline"])
@pytest.mark.parametrize(
    "changed_argument",
    [{"token": "mock-other"}, {"token": None}, {"expectedTotal": "20.00"}, {"shippingAddress": ADDRESS}],
)
async def test_same_key_for_another_request_is_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, first_token: str, changed_argument: dict[str, Any]
) -> None:
    book = await add_book(shop, stock=5)
    customer = await add_customer(client, shop, (book, 2))
    await customer.checkout("once", first_token)
    await fill_cart(shop, customer.user, (book, 1))
    before = await take_snapshot(postgres)

    result = await customer.checkout("once", **{"token": first_token, **changed_argument})

    assert result["__typename"] == "InvalidInput"
    assert [(issue["path"], issue["rule"]) for issue in result["issues"]] == [(["idempotencyKey"], "NOT_ALLOWED")]
    assert await take_snapshot(postgres) == before


async def test_differently_written_total_is_the_same_request(client: ApiClient, shop: Shop) -> None:
    customer = await add_customer(client, shop, (await add_book(shop, price="10.00"), 2))
    first = await customer.checkout(expectedTotal="20.00")
    assert await customer.checkout(expectedTotal="20") == first


async def test_two_customers_may_use_the_same_key(client: ApiClient, shop: Shop) -> None:
    book = await add_book(shop)
    first_customer, other_customer = (
        await add_customer(client, shop, (book, 1)),
        await add_customer(client, shop, (book, 1)),
    )
    first, second = await first_customer.checkout("1"), await other_customer.checkout("1")
    assert first["__typename"] == second["__typename"] == "OrderPlaced"
    assert first["order"]["id"] != second["order"]["id"]


async def test_the_same_key_waits_while_the_first_is_being_paid(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    retry_is_waiting = _watch_for_pending(monkeypatch)
    provider = SlowPayments()
    async with running_client(settings, provider) as client:
        customer = await add_customer(client, shop, (await add_book(shop), 1))
        first = asyncio.create_task(customer.checkout("once"))
        await provider.charge_started.wait()
        second = asyncio.create_task(customer.checkout("once"))
        await retry_is_waiting.wait()
        assert not second.done()
        provider.may_continue.set()
        results = await asyncio.gather(first, second)

    assert results[0]["__typename"] == "OrderPlaced"
    assert results[0] == results[1]
    assert len(provider.charged) == 1
    assert await postgres.fetchval("SELECT count(*) FROM orders") == 1


async def test_long_wait_reports_retry_after(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "REPLAY_TIMEOUT", 0)
    provider = SlowPayments(outcome=Declined("No money."))
    async with running_client(settings, provider) as client:
        customer = await add_customer(client, shop, (await add_book(shop), 1))
        first = asyncio.create_task(customer.checkout("once"))
        await provider.charge_started.wait()
        before = await take_snapshot(postgres)
        second = await customer.try_checkout("once")
        assert (second.data, second.codes) == ({"checkout": None}, ["SERVICE_UNAVAILABLE"])
        assert second.errors[0]["extensions"]["retryAfter"] == orders.RETRY_AFTER
        assert await take_snapshot(postgres) == before
        provider.may_continue.set()
        assert (await first)["__typename"] == "PaymentFailed"
        assert (await customer.checkout("once"))["__typename"] == "PaymentFailed"
    assert len(provider.charged) == 1


async def test_another_request_with_a_pending_key_is_rejected_immediately(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    provider = SlowPayments()
    async with running_client(settings, provider) as client:
        customer = await add_customer(client, shop, (await add_book(shop), 1))
        first = asyncio.create_task(customer.checkout("once"))
        await provider.charge_started.wait()
        before = await take_snapshot(postgres)
        assert (await customer.checkout("once", "mock-other"))["__typename"] == "InvalidInput"
        assert await take_snapshot(postgres) == before
        provider.may_continue.set()
        assert (await first)["__typename"] == "OrderPlaced"


def _watch_for_pending(monkeypatch: pytest.MonkeyPatch) -> asyncio.Event:
    """Return an event that is set when a retry finds its order pending and begins to wait."""
    find_order, retry_is_waiting = stored_orders.find_order_by_idempotency_key, asyncio.Event()

    async def find_and_signal(
        db: ReadSession | Transaction, user_id: uuid.UUID, key: str
    ) -> stored_orders.OrderRow | None:
        order = await find_order(db, user_id, key)
        if order is not None and order.status == "PENDING" and isinstance(db, ReadSession):
            retry_is_waiting.set()
        return order

    monkeypatch.setattr(stored_orders, "find_order_by_idempotency_key", find_and_signal)
    return retry_is_waiting


# ── A user error does not use up the key ──────────────────────────────────────────────────


async def test_key_is_free_after_empty_cart(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop)
    customer = await add_customer(client, shop)
    before = await take_snapshot(postgres)
    assert (await customer.checkout())["__typename"] == "CartEmpty"
    assert await take_snapshot(postgres) == before

    await fill_cart(shop, customer.user, (book, 1))
    assert (await customer.checkout())["__typename"] == "OrderPlaced"


async def test_key_is_free_after_insufficient_stock(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, stock=3)
    customer = await add_customer(client, shop, (book, 3))
    await set_stock(shop, book.id, 2)
    before = await take_snapshot(postgres)
    assert (await customer.checkout())["__typename"] == "InsufficientStock"
    assert await take_snapshot(postgres) == before

    await adjust_stock(shop, book.id, 1)
    assert (await customer.checkout())["__typename"] == "OrderPlaced"
    assert await is_stock_consistent(postgres)


async def test_key_is_free_after_changed_price(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, price="10.00")
    customer = await add_customer(client, shop, (book, 2))
    await catalog.update_book(shop, book.id, {"price": Decimal("10.50")})
    before = await take_snapshot(postgres)
    assert (await customer.checkout(expectedTotal="20.00"))["__typename"] == "PriceChanged"
    assert await take_snapshot(postgres) == before

    assert (await customer.checkout(expectedTotal="21.00"))["__typename"] == "OrderPlaced"
