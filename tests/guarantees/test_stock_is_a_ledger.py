"""Stock is a ledger: whatever happens to a book, the sum of its movements is its stock."""

import itertools
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.shop import Shop
from persistence.catalog import Book
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_administrator, add_book, book_id
from tests.memory import movements_of, remembered, stock_is_explained, stock_of

UPDATE_STOCK = """
mutation ($id: ID!, $change: StockChangeInput!) {
  updateStock(input: {bookId: $id, change: $change}) {
    __typename
    ... on StockUpdated { book { stockQuantity } }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
ADD = """
mutation ($id: ID!, $quantity: Int!) { addToCart(input: {bookId: $id, quantity: $quantity}) { __typename } }
"""
DELETE = "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }"


@pytest.fixture
async def administrator(visitor: Visitor, shop: Shop) -> Customer:
    return Customer(await add_administrator(shop), visitor).at(visitor)


@dataclass(slots=True)
class Shelf:
    """A book, someone who buys it, and how many copies there should be; `None` when it has left the catalogue."""

    book: Book
    administrator: Customer
    customer: Customer
    copies: int | None
    placed: list[tuple[str, int]] = field(default_factory=list)
    keys: "itertools.count[int]" = field(default_factory=itertools.count)

    async def set_to(self, copies: int) -> None:
        await self._change({"setTo": copies}, copies)

    async def adjust_by(self, copies: int) -> None:
        await self._change({"adjustBy": copies}, (self.copies or 0) + copies)

    async def _change(self, change: dict[str, int], copies: int) -> None:
        end = (await self.administrator.ask(UPDATE_STOCK, id=book_id(self.book), change=change))["updateStock"]
        if self.copies is None and change.get("setTo", 0) >= 0:
            assert end["__typename"] == "NotFound"
        elif copies < 0:
            assert end["__typename"] == "InvalidInput"
        else:
            assert end == {"__typename": "StockUpdated", "book": {"stockQuantity": copies}}
            self.copies = copies

    async def sell(self, copies: int) -> None:
        await self._check_out(copies, "mock-approve")

    async def fail_to_sell(self, copies: int) -> None:
        await self._check_out(copies, "mock-decline")

    async def _check_out(self, copies: int, token: str) -> None:
        added = (await self.customer.ask(ADD, id=book_id(self.book), quantity=copies))["addToCart"]["__typename"]
        lines = await self.customer.cart_lines()
        wanted = sum(quantity for _, quantity in lines)
        end = await self.customer.buys(str(next(self.keys)), token)
        if self.copies is None:
            assert (added, end["__typename"]) == ("NotFound", "CartEmpty")
        elif not lines:
            assert (added, end["__typename"]) == ("InsufficientStock", "CartEmpty")
        elif wanted > self.copies:
            assert end["__typename"] == "InsufficientStock"
        elif token == "mock-decline":
            assert end["__typename"] == "PaymentFailed"
        else:
            assert end["__typename"] == "OrderPlaced"
            self.copies -= wanted
            self.placed.append((end["order"]["id"], wanted))

    async def cancel(self, which: int) -> None:
        if self.placed:
            order_id, copies = self.placed.pop(which % len(self.placed))
            assert (await self.customer.cancels(order_id))["__typename"] == "OrderCancelled"
            self.copies = None if self.copies is None else self.copies + copies

    async def delete(self, _: int) -> None:
        end = (await self.administrator.ask(DELETE, id=book_id(self.book)))["deleteBook"]["__typename"]
        assert end == ("NotFound" if self.copies is None else "BookDeleted")
        self.copies = None


Happening = tuple[Callable[[Shelf, int], Awaitable[None]], int]
HAPPENINGS = st.one_of(
    st.tuples(st.just(Shelf.set_to), st.integers(-1, 6)),
    st.tuples(st.just(Shelf.adjust_by), st.integers(-6, 6)),
    st.tuples(st.just(Shelf.sell), st.integers(1, 4)),
    st.tuples(st.just(Shelf.sell), st.integers(1, 4)),
    st.tuples(st.just(Shelf.fail_to_sell), st.integers(1, 4)),
    st.tuples(st.just(Shelf.cancel), st.integers(0, 3)),
)
LAST_DAYS = st.tuples(st.just(Shelf.delete), st.just(0))


@given(
    stock=st.integers(0, 6),
    life=st.lists(HAPPENINGS, max_size=8),
    afterlife=st.just([]) | st.tuples(LAST_DAYS, st.lists(HAPPENINGS, max_size=3)).map(lambda two: [two[0], *two[1]]),
)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_movements_add_up_to_the_stock(
    visitor: Visitor,
    shop: Shop,
    administrator: Customer,
    postgres: asyncpg.Connection,
    stock: int,
    life: list[Happening],
    afterlife: list[Happening],
) -> None:
    book = await add_book(shop, stock=stock)
    shelf = Shelf(book, administrator, await add_customer(visitor, shop), stock)
    for happen, number in life + afterlife:
        await happen(shelf, number)
        assert await stock_of(postgres, book) == shelf.copies
        assert await stock_is_explained(postgres, shop)


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
async def test_a_stock_that_cannot_be_is_refused(
    shop: Shop, administrator: Customer, postgres: asyncpg.Connection, change: dict[str, int], path: str, rule: str
) -> None:
    book = await add_book(shop, stock=3)
    before = await remembered(postgres)
    end: Any = (await administrator.ask(UPDATE_STOCK, id=book_id(book), change=change))["updateStock"]
    assert end == {"__typename": "InvalidInput", "issues": [{"path": ["change", path], "rule": rule}]}
    assert await remembered(postgres) == before


async def test_the_ledger_says_why(
    visitor: Visitor, shop: Shop, administrator: Customer, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, stock=3)
    shelf = Shelf(book, administrator, await add_customer(visitor, shop), 3)
    await shelf.adjust_by(4)
    await shelf.set_to(5)
    await shelf.set_to(5)
    await shelf.adjust_by(0)
    await shelf.sell(2)
    await shelf.cancel(0)
    await shelf.fail_to_sell(1)
    movements = [
        ("NEW_BOOK", 3),
        ("DELIVERY", 4),
        ("STOCKTAKE", -2),
        ("SALE", -2),
        ("CANCELLATION", 2),
        ("SALE", -1),
        ("PAYMENT_FAILED", 1),
    ]
    assert await movements_of(postgres, book) == movements

    await shelf.delete(0)
    kept = await postgres.fetch("SELECT reason, change, title FROM stock_movements ORDER BY id")
    assert [(row["reason"], row["change"]) for row in kept] == movements
    assert {row["title"] for row in kept} == {book.title}
