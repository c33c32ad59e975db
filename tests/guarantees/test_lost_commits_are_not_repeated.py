"""When the answer to a COMMIT is lost nobody knows what became of it: nothing is done twice, and checkout finds out."""

from collections.abc import AsyncIterator

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from domain.sweeping import sweep
from server.settings import Settings
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import RESTOCK, shop_with
from tests.memory import movements_of, payments, stock_is_explained, time_passes
from tests.network import Network, between

pytestmark = pytest.mark.usefixtures("sound")

RESERVED, CHARGED, SETTLED = 1, 2, 3
LETTERS = "SELECT count(*) FROM letters WHERE kind = 'ORDER_CONFIRMED'"


@pytest.fixture
async def network(database_url: str, shop: Shop) -> AsyncIterator[Network]:
    async with between(database_url) as network:
        yield network


@pytest.fixture
async def visitor(network: Network, settings: Settings) -> AsyncIterator[Visitor]:
    async with shop_with(settings, database_url=network.url) as visitor:
        yield visitor


async def test_a_change_of_stock_happens_once(
    network: Network, visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book, admin = await add_book(shop, stock=1), visitor.signed_in((await add_administrator(shop)).token)
    network.loses_commit(1)
    assert (await admin.ask(RESTOCK, id=book_id(book))).codes == ["SERVICE_UNAVAILABLE"]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    assert (await admin.ask(RESTOCK, id=book_id(book)))["updateStock"] == {"__typename": "StockUpdated"}
    assert await stock_is_explained(postgres, shop)


async def test_a_reservation_is_healed(
    network: Network, visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "REPLAY_WAIT", 0)
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    network.loses_commit(RESERVED)
    assert (await customer.tries_to_buy("once")).codes == ["SERVICE_UNAVAILABLE"]
    assert (await customer.tries_to_buy("once")).codes == ["SERVICE_UNAVAILABLE"]
    assert await payments(postgres) == []

    await time_passes(postgres)
    await sweep(shop)
    assert (await customer.buys("once"))["__typename"] == "PaymentFailed"
    assert await customer.cart_lines() == [("Emma", 2)]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]


@pytest.mark.parametrize("commit", [CHARGED, SETTLED])
async def test_a_paid_order_is_found_under_its_key(
    network: Network,
    visitor: Visitor,
    shop: Shop,
    postgres: asyncpg.Connection,
    monkeypatch: pytest.MonkeyPatch,
    commit: int,
) -> None:
    monkeypatch.setattr(orders, "REPLAY_WAIT", 0)
    book = await add_book(shop, stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    network.loses_commit(commit)
    assert (await customer.tries_to_buy("once")).codes == ["SERVICE_UNAVAILABLE"]

    await time_passes(postgres)
    await sweep(shop)
    await _bought_once(customer, postgres)
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]
    assert await stock_is_explained(postgres, shop)


async def _bought_once(customer: Customer, postgres: asyncpg.Connection) -> None:
    again = await customer.buys("once")
    assert again["__typename"] == "OrderPlaced"
    assert [order["id"] for order in await customer.orders()] == [again["order"]["id"]]
    assert await payments(postgres) == [("APPROVED", False)]
    assert await postgres.fetchval(LETTERS) == 1
