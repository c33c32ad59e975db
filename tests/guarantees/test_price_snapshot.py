"""An order keeps the titles and prices of its checkout, and a customer pays only the total shown."""

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from domain import catalog
from domain.shop import Shop
from tests.support.database.db_snapshots import take_snapshot
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_admin, add_book, book_id

UPDATE = """
mutation ($id: ID!, $title: String!, $price: Decimal!) {
  updateBook(input: {bookId: $id, title: $title, price: $price}) { __typename ... on BookSaved { book { title } } }
}
"""
DELETE = "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }"


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return Customer(await add_admin(shop), client).with_client(client)


def _snapshot(order: Any) -> Any:
    """Return the parts of the order that later changes to the books must not alter."""
    lines = [(item["title"], item["quantity"], item["unitPrice"], item["lineTotal"]) for item in order["items"]]
    return lines, order["total"], order["totalQuantity"]


async def test_an_order_keeps_its_titles_and_prices(client: ApiClient, shop: Shop, admin: Customer) -> None:
    emma, persuasion = await add_book(shop, "Emma", price="7.50"), await add_book(shop, "Persuasion", price="0.99")
    customer = await add_customer(client, shop, (emma, 2), (persuasion, 3))
    result = await customer.checkout()
    assert _snapshot(result["order"]) == (
        [
            ("Emma", 2, {"amount": "7.50"}, {"amount": "15.00"}),
            ("Persuasion", 3, {"amount": "0.99"}, {"amount": "2.97"}),
        ],
        {"amount": "17.97", "currency": "EUR"},
        5,
    )

    response = await admin.execute(UPDATE, id=book_id(emma), title="Emma, revised", price="99.00")
    assert response["updateBook"] == {"__typename": "BookSaved", "book": {"title": "Emma, revised"}}
    [order] = await customer.list_orders()
    assert order == result["order"]


async def test_order_survives_deleted_books(client: ApiClient, shop: Shop, admin: Customer) -> None:
    emma, persuasion = await add_book(shop, "Emma", price="7.50"), await add_book(shop, "Persuasion")
    customer = await add_customer(client, shop, (emma, 2), (persuasion, 1))
    result = await customer.checkout()

    assert (await admin.execute(DELETE, id=book_id(emma)))["deleteBook"] == {"__typename": "BookDeleted"}
    [order] = await customer.list_orders()
    assert _snapshot(order) == _snapshot(result["order"])
    assert [item["book"] for item in order["items"]] == [None, {"id": book_id(persuasion)}]
    repeated_result = await customer.checkout()
    assert (repeated_result["__typename"], _snapshot(repeated_result["order"])) == ("OrderPlaced", _snapshot(order))


async def test_changed_price_is_not_charged(
    client: ApiClient, shop: Shop, admin: Customer, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, "Emma", price="7.50")
    customer = await add_customer(client, shop, (book, 2))
    await admin.execute(UPDATE, id=book_id(book), title="Emma", price="7.00")
    before = await take_snapshot(postgres)

    result = await customer.checkout(expectedTotal="15.00")

    assert result["__typename"] == "PriceChanged"
    assert result["expectedTotal"] == {"amount": "15.00", "currency": "EUR"}
    assert result["cart"]["total"] == {"amount": "14.00", "currency": "EUR"}
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize("expected_total", ["-15.00", "14.9999999999", "99999999999999999999"])
async def test_impossible_total_is_invalid(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, expected_total: str
) -> None:
    customer = await add_customer(client, shop, (await add_book(shop, price="7.50"), 2))
    before = await take_snapshot(postgres)
    assert (await customer.checkout(expectedTotal=expected_total))["__typename"] == "InvalidInput"
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize("expected_total", ["0", "0.00", "15.01", "9999999999.99"])
async def test_any_other_total_is_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, expected_total: str
) -> None:
    customer = await add_customer(client, shop, (await add_book(shop, price="7.50"), 2))
    before = await take_snapshot(postgres)
    assert (await customer.checkout(expectedTotal=expected_total))["__typename"] == "PriceChanged"
    assert await take_snapshot(postgres) == before


async def test_cart_that_lost_a_book_is_not_sold_for_the_old_total(
    client: ApiClient, shop: Shop, admin: Customer, postgres: asyncpg.Connection
) -> None:
    deleted_book, remaining_book = (
        await add_book(shop, "Gone", price="5.00"),
        await add_book(shop, "Stays", price="7.50"),
    )
    customer = await add_customer(client, shop, (deleted_book, 1), (remaining_book, 2))
    await admin.execute(DELETE, id=book_id(deleted_book))
    before = await take_snapshot(postgres)

    result = await customer.checkout(expectedTotal="20.00")

    assert result["__typename"] == "PriceChanged"
    assert [(item["book"]["title"], item["quantity"]) for item in result["cart"]["items"]] == [("Stays", 2)]
    assert await take_snapshot(postgres) == before
    assert (await customer.checkout(expectedTotal="15.00"))["__typename"] == "OrderPlaced"


# ── During a checkout ─────────────────────────────────────────────────────────────────────


async def test_price_change_during_checkout_is_detected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, price="7.50")
    customer_with_total, customer_without_total = (
        await add_customer(client, shop, (book, 1)),
        await add_customer(client, shop, (book, 2)),
    )
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]) as connection:
        await connection.execute("UPDATE books SET price = 8, title = 'Dearer' WHERE id = $1", book.id)
        checkout_with_total = asyncio.create_task(customer_with_total.checkout(expectedTotal="7.50"))
        checkout_without_total = asyncio.create_task(customer_without_total.checkout())
        await wait_for_blocked(postgres, 2)

    assert (await checkout_with_total)["__typename"] == "PriceChanged"
    order = (await checkout_without_total)["order"]
    assert _snapshot(order) == (
        [("Dearer", 2, {"amount": "8.00"}, {"amount": "16.00"})],
        {"amount": "16.00", "currency": "EUR"},
        2,
    )
    assert await postgres.fetchval("SELECT amount FROM mock_payments") == Decimal("16.00")


async def test_book_deleted_during_checkout_is_not_sold(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    deleted_book, remaining_book = await add_book(shop, "Gone"), await add_book(shop, "Stays")
    customer = await add_customer(client, shop, (deleted_book, 1), (remaining_book, 1))
    async with hold_lock(database_url, LOCK_BOOKS, [deleted_book.id]):
        deletion = asyncio.create_task(catalog.delete_book(shop, deleted_book.id))
        await wait_for_blocked(postgres, 1)
        checkout = asyncio.create_task(customer.checkout())
        await wait_for_blocked(postgres, 2)
    await deletion

    assert [item["title"] for item in (await checkout)["order"]["items"]] == ["Stays"]
