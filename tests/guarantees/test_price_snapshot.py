"""Price snapshot: an order keeps the titles and prices of its day, and nobody pays a total they were not shown."""

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from domain import catalog
from domain.shop import Shop
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_administrator, add_book, book_id
from tests.locks import BOOKS, holding, until_waiting
from tests.memory import remembered

UPDATE = """
mutation ($id: ID!, $title: String!, $price: Decimal!) {
  updateBook(input: {bookId: $id, title: $title, price: $price}) { __typename ... on BookSaved { book { title } } }
}
"""
DELETE = "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }"


@pytest.fixture
async def administrator(visitor: Visitor, shop: Shop) -> Customer:
    return Customer(await add_administrator(shop), visitor).at(visitor)


def _snapshot(order: Any) -> Any:
    """What must not change, whatever happens to the books."""
    lines = [(item["title"], item["quantity"], item["unitPrice"], item["lineTotal"]) for item in order["items"]]
    return lines, order["total"], order["totalQuantity"]


async def test_an_order_keeps_its_titles_and_prices(visitor: Visitor, shop: Shop, administrator: Customer) -> None:
    emma, persuasion = await add_book(shop, "Emma", price="7.50"), await add_book(shop, "Persuasion", price="0.99")
    customer = await add_customer(visitor, shop, (emma, 2), (persuasion, 3))
    placed = await customer.buys()
    assert _snapshot(placed["order"]) == (
        [
            ("Emma", 2, {"amount": "7.50"}, {"amount": "15.00"}),
            ("Persuasion", 3, {"amount": "0.99"}, {"amount": "2.97"}),
        ],
        {"amount": "17.97", "currency": "EUR"},
        5,
    )

    changed = await administrator.ask(UPDATE, id=book_id(emma), title="Emma, revised", price="99.00")
    assert changed["updateBook"] == {"__typename": "BookSaved", "book": {"title": "Emma, revised"}}
    [order] = await customer.orders()
    assert order == placed["order"]


async def test_an_order_outlives_its_books(visitor: Visitor, shop: Shop, administrator: Customer) -> None:
    emma, persuasion = await add_book(shop, "Emma", price="7.50"), await add_book(shop, "Persuasion")
    customer = await add_customer(visitor, shop, (emma, 2), (persuasion, 1))
    placed = await customer.buys()

    assert (await administrator.ask(DELETE, id=book_id(emma)))["deleteBook"] == {"__typename": "BookDeleted"}
    [order] = await customer.orders()
    assert _snapshot(order) == _snapshot(placed["order"])
    assert [item["book"] for item in order["items"]] == [None, {"id": book_id(persuasion)}]
    again = await customer.buys()
    assert (again["__typename"], _snapshot(again["order"])) == ("OrderPlaced", _snapshot(order))


async def test_a_price_that_changed_since_it_was_shown_is_not_charged(
    visitor: Visitor, shop: Shop, administrator: Customer, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, "Emma", price="7.50")
    customer = await add_customer(visitor, shop, (book, 2))
    await administrator.ask(UPDATE, id=book_id(book), title="Emma", price="7.00")
    before = await remembered(postgres)

    end = await customer.buys(expectedTotal="15.00")

    assert end["__typename"] == "PriceChanged"
    assert end["expectedTotal"] == {"amount": "15.00", "currency": "EUR"}
    assert end["cart"]["total"] == {"amount": "14.00", "currency": "EUR"}
    assert await remembered(postgres) == before


@pytest.mark.parametrize("expected", ["-15.00", "14.9999999999", "99999999999999999999"])
async def test_what_no_cart_can_cost_is_invalid(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, expected: str
) -> None:
    customer = await add_customer(visitor, shop, (await add_book(shop, price="7.50"), 2))
    before = await remembered(postgres)
    assert (await customer.buys(expectedTotal=expected))["__typename"] == "InvalidInput"
    assert await remembered(postgres) == before


@pytest.mark.parametrize("expected", ["0", "0.00", "15.01", "9999999999.99"])
async def test_any_other_total_is_refused(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, expected: str
) -> None:
    customer = await add_customer(visitor, shop, (await add_book(shop, price="7.50"), 2))
    before = await remembered(postgres)
    assert (await customer.buys(expectedTotal=expected))["__typename"] == "PriceChanged"
    assert await remembered(postgres) == before


async def test_a_cart_that_lost_a_book_is_not_bought_for_the_total_that_was_shown(
    visitor: Visitor, shop: Shop, administrator: Customer, postgres: asyncpg.Connection
) -> None:
    gone, stays = await add_book(shop, "Gone", price="5.00"), await add_book(shop, "Stays", price="7.50")
    customer = await add_customer(visitor, shop, (gone, 1), (stays, 2))
    await administrator.ask(DELETE, id=book_id(gone))
    before = await remembered(postgres)

    end = await customer.buys(expectedTotal="20.00")

    assert end["__typename"] == "PriceChanged"
    assert [(item["book"]["title"], item["quantity"]) for item in end["cart"]["items"]] == [("Stays", 2)]
    assert await remembered(postgres) == before
    assert (await customer.buys(expectedTotal="15.00"))["__typename"] == "OrderPlaced"


# ── While the buyer waits for the books ───────────────────────────────────────────────────


async def test_a_price_that_changes_at_the_till_is_seen(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, price="7.50")
    attentive, trusting = await add_customer(visitor, shop, (book, 1)), await add_customer(visitor, shop, (book, 2))
    async with holding(database_url, BOOKS, [book.id]) as third:
        await third.execute("UPDATE books SET price = 8, title = 'Dearer' WHERE id = $1", book.id)
        shown = asyncio.create_task(attentive.buys(expectedTotal="7.50"))
        unseen = asyncio.create_task(trusting.buys())
        await until_waiting(postgres, 2)

    assert (await shown)["__typename"] == "PriceChanged"
    order = (await unseen)["order"]
    assert _snapshot(order) == (
        [("Dearer", 2, {"amount": "8.00"}, {"amount": "16.00"})],
        {"amount": "16.00", "currency": "EUR"},
        2,
    )
    assert await postgres.fetchval("SELECT amount FROM mock_payments") == Decimal("16.00")


async def test_a_book_that_is_deleted_at_the_till_is_not_bought(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    gone, stays = await add_book(shop, "Gone"), await add_book(shop, "Stays")
    customer = await add_customer(visitor, shop, (gone, 1), (stays, 1))
    async with holding(database_url, BOOKS, [gone.id]):
        deletion = asyncio.create_task(catalog.delete_book(shop, gone.id))
        await until_waiting(postgres, 1)
        purchase = asyncio.create_task(customer.buys())
        await until_waiting(postgres, 2)
    await deletion

    assert [item["title"] for item in (await purchase)["order"]["items"]] == ["Stays"]
