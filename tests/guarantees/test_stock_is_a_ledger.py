"""The stock of a book equals the sum of its ledger of stock movements."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.database.db_snapshots import get_stock, is_stock_consistent, list_stock_movements, take_snapshot
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_admin, add_book, book_id

UPDATE_STOCK = """
mutation ($id: ID!, $change: StockChangeInput!) {
  updateStock(input: {bookId: $id, change: $change}) {
    __typename
    ... on StockUpdated { book { stockQuantity } }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
ADD_TO_CART = """
mutation ($id: ID!, $quantity: Int!) { addToCart(input: {bookId: $id, quantity: $quantity}) { __typename } }
"""
DELETE_BOOK = "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }"


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return Customer(await add_admin(shop), client).with_client(client)


@dataclass(slots=True)
class StockScenario:
    """A book, its buyer, and the expected quantity in stock, which is `None` once the book is deleted."""

    book: BookRow
    administrator: Customer
    customer: Customer
    quantity: int | None
    placed_orders: list[tuple[str, int]] = field(default_factory=list)
    keys: "itertools.count[int]" = field(default_factory=itertools.count)

    async def set_to(self, copies: int) -> None:
        await self._change({"setTo": copies}, copies)

    async def adjust_by(self, copies: int) -> None:
        await self._change({"adjustBy": copies}, (self.quantity or 0) + copies)

    async def _change(self, change: dict[str, int], copies: int) -> None:
        result = (await self.administrator.execute(UPDATE_STOCK, id=book_id(self.book), change=change))["updateStock"]
        if self.quantity is None and change.get("setTo", 0) >= 0:
            assert result["__typename"] == "NotFound"
        elif copies < 0:
            assert result["__typename"] == "InvalidInput"
        else:
            assert result == {"__typename": "StockUpdated", "book": {"stockQuantity": copies}}
            self.quantity = copies

    async def sell(self, copies: int) -> None:
        await self._check_out(copies, "mock-approve")

    async def fail_to_sell(self, copies: int) -> None:
        await self._check_out(copies, "mock-decline")

    async def _check_out(self, copies: int, token: str) -> None:
        cart_result = (await self.customer.execute(ADD_TO_CART, id=book_id(self.book), quantity=copies))["addToCart"][
            "__typename"
        ]
        cart_lines = await self.customer.get_cart_lines()
        ordered_quantity = sum(quantity for _, quantity in cart_lines)
        result = await self.customer.checkout(str(next(self.keys)), token)
        if self.quantity is None:
            assert (cart_result, result["__typename"]) == ("NotFound", "CartEmpty")
        elif not cart_lines:
            assert (cart_result, result["__typename"]) == ("InsufficientStock", "CartEmpty")
        elif ordered_quantity > self.quantity:
            assert result["__typename"] == "InsufficientStock"
        elif token == "mock-decline":
            assert result["__typename"] == "PaymentFailed"
        else:
            assert result["__typename"] == "OrderPlaced"
            self.quantity -= ordered_quantity
            self.placed_orders.append((result["order"]["id"], ordered_quantity))

    async def cancel(self, index: int) -> None:
        if self.placed_orders:
            order_id, copies = self.placed_orders.pop(index % len(self.placed_orders))
            assert (await self.customer.cancel_order(order_id))["__typename"] == "OrderCancelled"
            self.quantity = None if self.quantity is None else self.quantity + copies

    async def delete(self, _: int) -> None:
        result = (await self.administrator.execute(DELETE_BOOK, id=book_id(self.book)))["deleteBook"]["__typename"]
        assert result == ("NotFound" if self.quantity is None else "BookDeleted")
        self.quantity = None


StockEvent = tuple[Callable[[StockScenario, int], Awaitable[None]], int]
STOCK_EVENTS = st.one_of(
    st.tuples(st.just(StockScenario.set_to), st.integers(-1, 6)),
    st.tuples(st.just(StockScenario.adjust_by), st.integers(-6, 6)),
    st.tuples(st.just(StockScenario.sell), st.integers(1, 4)),
    st.tuples(st.just(StockScenario.sell), st.integers(1, 4)),
    st.tuples(st.just(StockScenario.fail_to_sell), st.integers(1, 4)),
    st.tuples(st.just(StockScenario.cancel), st.integers(0, 3)),
)
DELETION = st.tuples(st.just(StockScenario.delete), st.just(0))


@given(
    stock=st.integers(0, 6),
    events=st.lists(STOCK_EVENTS, max_size=8),
    events_after_deletion=st.just([])
    | st.tuples(DELETION, st.lists(STOCK_EVENTS, max_size=3)).map(lambda parts: [parts[0], *parts[1]]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_movements_sum_to_the_stock(
    client: ApiClient,
    shop: Shop,
    admin: Customer,
    postgres: asyncpg.Connection,
    stock: int,
    events: list[StockEvent],
    events_after_deletion: list[StockEvent],
) -> None:
    book = await add_book(shop, stock=stock)
    scenario = StockScenario(book, admin, await add_customer(client, shop), stock)
    for apply_event, number in events + events_after_deletion:
        await apply_event(scenario, number)
        assert await get_stock(postgres, book) == scenario.quantity
        assert await is_stock_consistent(postgres)


@pytest.mark.parametrize(
    ("change", "path", "rule"),
    [
        ({"adjustBy": -4}, "adjustBy", "TOO_SMALL"),
        ({"adjustBy": -(2**31)}, "adjustBy", "TOO_SMALL"),
        ({"adjustBy": 999_998}, "adjustBy", "TOO_LARGE"),
        ({"adjustBy": 2**31 - 1}, "adjustBy", "TOO_LARGE"),
        ({"setTo": -1}, "setTo", "TOO_SMALL"),
        ({"setTo": 1_000_001}, "setTo", "TOO_LARGE"),
    ],
)
async def test_invalid_stock_is_rejected(
    shop: Shop, admin: Customer, postgres: asyncpg.Connection, change: dict[str, int], path: str, rule: str
) -> None:
    book = await add_book(shop, stock=3)
    before = await take_snapshot(postgres)
    result: Any = (await admin.execute(UPDATE_STOCK, id=book_id(book), change=change))["updateStock"]
    assert result == {"__typename": "InvalidInput", "issues": [{"path": ["change", path], "rule": rule}]}
    assert await take_snapshot(postgres) == before


async def test_movements_have_reasons(
    client: ApiClient, shop: Shop, admin: Customer, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, stock=3)
    scenario = StockScenario(book, admin, await add_customer(client, shop), 3)
    await scenario.adjust_by(4)
    await scenario.set_to(5)
    await scenario.set_to(5)
    await scenario.adjust_by(0)
    await scenario.sell(2)
    await scenario.cancel(0)
    await scenario.fail_to_sell(1)
    movements = [
        ("NEW_BOOK", 3),
        ("DELIVERY", 4),
        ("STOCKTAKE", -2),
        ("SALE", -2),
        ("CANCELLATION", 2),
        ("SALE", -1),
        ("PAYMENT_FAILED", 1),
    ]
    assert await list_stock_movements(postgres, book) == movements

    await scenario.delete(0)
    movement_rows = await postgres.fetch("SELECT reason, change, title FROM stock_movements ORDER BY id")
    assert [(row["reason"], row["change"]) for row in movement_rows] == movements
    assert {row["title"] for row in movement_rows} == {book.title}
