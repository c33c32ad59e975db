"""When the response to a COMMIT is lost, nothing runs twice, and a checkout retry reports the real result."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from domain.sweeper import sweep
from server.settings import Settings
from tests.support.database.db_snapshots import age_orders, is_stock_consistent, list_payments, list_stock_movements
from tests.support.database.fault_proxy import FaultProxy, start_fault_proxy
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.http.probes import INCREMENT_STOCK
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_admin, add_book, book_id

pytestmark = pytest.mark.usefixtures("check_invariants")

RESERVED, CHARGED, FINALIZED = 1, 2, 3
"""The commits of a checkout, in order."""
COUNT_CONFIRMATIONS = "SELECT count(*) FROM letters WHERE kind = 'ORDER_CONFIRMED'"


@pytest.fixture
async def fault_proxy(database_url: str, shop: Shop) -> AsyncIterator[FaultProxy]:
    async with start_fault_proxy(database_url) as proxy:
        yield proxy


@pytest.fixture
async def client(fault_proxy: FaultProxy, settings: Settings) -> AsyncIterator[ApiClient]:
    async with running_client(settings, database_url=fault_proxy.url) as client:
        yield client


async def test_stock_change_happens_once(
    fault_proxy: FaultProxy, client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book, admin = await add_book(shop, stock=1), client.with_token((await add_admin(shop)).token)
    fault_proxy.lose_commit_response(1)
    assert (await admin.execute(INCREMENT_STOCK, id=book_id(book))).codes == ["SERVICE_UNAVAILABLE"]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    assert (await admin.execute(INCREMENT_STOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
    assert await is_stock_consistent(postgres)


async def test_lost_reservation_is_recovered(
    fault_proxy: FaultProxy,
    client: ApiClient,
    shop: Shop,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(orders, "REPLAY_TIMEOUT", 0)
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(client, shop, (book, 2))
    fault_proxy.lose_commit_response(RESERVED)
    assert (await customer.try_checkout("once")).codes == ["SERVICE_UNAVAILABLE"]
    assert (await customer.try_checkout("once")).codes == ["SERVICE_UNAVAILABLE"]
    assert await list_payments(postgres) == []

    await age_orders(postgres)
    await sweep(shop)
    assert (await customer.checkout("once"))["__typename"] == "PaymentFailed"
    assert await customer.get_cart_lines() == [("Emma", 2)]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]


@pytest.mark.parametrize("commit", [CHARGED, FINALIZED])
async def test_paid_order_is_found_by_its_key(
    fault_proxy: FaultProxy,
    client: ApiClient,
    shop: Shop,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    commit: int,
) -> None:
    monkeypatch.setattr(orders, "REPLAY_TIMEOUT", 0)
    book = await add_book(shop, stock=5)
    customer = await add_customer(client, shop, (book, 2))
    fault_proxy.lose_commit_response(commit)
    assert (await customer.try_checkout("once")).codes == ["SERVICE_UNAVAILABLE"]

    await age_orders(postgres)
    await sweep(shop)
    await _assert_bought_once(customer, postgres)
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]
    assert await is_stock_consistent(postgres)


async def _assert_bought_once(customer: Customer, postgres: asyncpg.Connection) -> None:
    repeated_result = await customer.checkout("once")
    assert repeated_result["__typename"] == "OrderPlaced"
    assert [order["id"] for order in await customer.list_orders()] == [repeated_result["order"]["id"]]
    assert await list_payments(postgres) == [("APPROVED", False)]
    assert await postgres.fetchval(COUNT_CONFIRMATIONS) == 1
