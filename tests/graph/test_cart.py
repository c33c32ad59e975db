"""The cart over HTTP: adding, changing and removing books, and shortages."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from domain import catalog
from domain.shop import Shop
from domain.stock import set_stock
from graph.kit.ids import to_global_id
from tests.support.database.db_snapshots import take_snapshot
from tests.support.http.client import ApiClient
from tests.support.shop.carts import (
    ADD_TO_CART,
    REMOVE_FROM_CART,
    UPDATE_CART_ITEM,
    change_cart,
    get_cart_lines,
    merge_cart,
)
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id

MUTATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "addToCart": (ADD_TO_CART, {"quantity": 1}),
    "updateCartItem": (UPDATE_CART_ITEM, {"quantity": 1}),
    "removeFromCart": (REMOVE_FROM_CART, {}),
}


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_anonymous_callers_have_no_cart(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, name: str
) -> None:
    document, fields = MUTATIONS[name]
    book = await add_book(shop)
    before = await take_snapshot(postgres)
    response = await client.execute(document, input={"bookId": book_id(book), **fields})
    assert (response.data, response.codes) == ({"change": None}, ["UNAUTHENTICATED"])
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("id_", ["", "1", "QQ", to_global_id("Order", UUID(int=7)), "é", "x" * 500])
async def test_invalid_book_id_is_a_request_error(customer: Customer, name: str, id_: str) -> None:
    document, fields = MUTATIONS[name]
    response = await customer.execute(document, input={"bookId": id_, **fields})
    assert (response.data, response.codes) == ({"change": None}, ["BAD_USER_INPUT"])


@pytest.mark.parametrize("document", [ADD_TO_CART, UPDATE_CART_ITEM])
async def test_unknown_book_is_not_found(
    customer: Customer, shop: Shop, postgres: asyncpg.Connection, document: str
) -> None:
    book = await add_book(shop)
    await catalog.delete_book(shop, book.id)
    before = await take_snapshot(postgres)
    result = await change_cart(customer, document, book, quantity=1)
    assert (result["__typename"], result["code"], result["id"]) == ("NotFound", "NOT_FOUND", book_id(book))
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize("document", [ADD_TO_CART, UPDATE_CART_ITEM])
@pytest.mark.parametrize(("quantity", "rule"), [(0, "TOO_SMALL"), (-1, "TOO_SMALL"), (1000, "TOO_LARGE")])
async def test_quantities_out_of_range_are_invalid(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, document: str, quantity: int, rule: str
) -> None:
    book = await add_book(shop, stock=5000)
    customer = await add_customer(client, shop, (book, 1))
    before = await take_snapshot(postgres)
    result = await change_cart(customer, document, book, quantity=quantity)
    assert (result["__typename"], result["issues"]) == ("InvalidInput", [{"path": ["quantity"], "rule": rule}])
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize("document", [ADD_TO_CART, UPDATE_CART_ITEM])
@pytest.mark.parametrize("quantity", [2**31, -(2**31) - 1, 10**30, 1.5, "2", None, True])
async def test_non_integer_quantity_is_a_request_error(
    customer: Customer, shop: Shop, postgres: asyncpg.Connection, document: str, quantity: object
) -> None:
    book = await add_book(shop)
    before = await take_snapshot(postgres)
    response = await customer.execute(document, input={"bookId": book_id(book), "quantity": quantity})
    assert (response.data, response.codes) == (None, ["BAD_USER_INPUT"])
    assert await take_snapshot(postgres) == before


async def test_cart_item_is_limited_to_999(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, stock=5000)
    customer = await add_customer(client, shop, (book, 999))
    before = await take_snapshot(postgres)
    result = await change_cart(customer, ADD_TO_CART, book, quantity=1)
    assert result["issues"] == [{"path": ["quantity"], "rule": "TOO_LARGE"}]
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize(("document", "quantity"), [(ADD_TO_CART, 2), (UPDATE_CART_ITEM, 5)])
async def test_cart_item_is_limited_to_stock(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, document: str, quantity: int
) -> None:
    book = await add_book(shop, "Emma", stock=4)
    customer = await add_customer(client, shop, (book, 3))
    before = await take_snapshot(postgres)
    result = await change_cart(customer, document, book, quantity=quantity)
    assert (result["__typename"], result["code"]) == ("InsufficientStock", "ORDER_INSUFFICIENT_STOCK")
    assert result["shortages"] == [{"requested": 5, "available": 4, "book": {"title": "Emma"}}]
    assert await take_snapshot(postgres) == before


async def test_cart_is_limited_to_100_books(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    books = [await add_book(shop) for _ in range(101)]
    customer = await add_customer(client, shop, *[(book, 1) for book in books[:100]])
    before = await take_snapshot(postgres)

    rejected = await change_cart(customer, ADD_TO_CART, books[100], quantity=1)
    assert (rejected["__typename"], rejected["issues"][0]["rule"]) == ("InvalidInput", "TOO_LONG")
    assert (await merge_cart(customer, (books[100], 1)))["issues"] == [{"path": ["items"], "rule": "TOO_LONG"}]
    assert (await merge_cart(customer, *[(books[0], 1)] * 101))["issues"] == [{"path": ["items"], "rule": "TOO_LONG"}]
    assert await take_snapshot(postgres) == before

    assert (await change_cart(customer, ADD_TO_CART, books[0], quantity=1))["cart"]["totalQuantity"] == 101
    assert (await merge_cart(customer, (books[1], 3)))["cart"]["totalQuantity"] == 103


async def test_update_of_book_not_in_cart_is_not_found(
    customer: Customer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop)
    before = await take_snapshot(postgres)
    result = await change_cart(customer, UPDATE_CART_ITEM, book, quantity=2)
    assert (result["__typename"], result["id"]) == ("NotFound", book_id(book))
    assert await take_snapshot(postgres) == before


async def test_adding_twice_sums_quantities(customer: Customer, shop: Shop) -> None:
    emma, persuasion = await add_book(shop, "Emma", price="7.50"), await add_book(shop, "Persuasion", price="0.99")
    await change_cart(customer, ADD_TO_CART, emma, quantity=1)
    await change_cart(customer, ADD_TO_CART, persuasion)
    result = await change_cart(customer, ADD_TO_CART, emma, quantity=2)

    assert get_cart_lines(result) == [("Emma", 3), ("Persuasion", 1)]
    assert result["cart"]["totalQuantity"] == 4
    assert result["cart"]["total"] == {"amount": "23.49", "currency": "EUR"}
    assert [item["lineTotal"]["amount"] for item in result["cart"]["items"]] == ["22.50", "0.99"]
    assert await customer.get_cart() == result["cart"]


async def test_empty_cart_has_zero_total(customer: Customer) -> None:
    empty_cart = {"totalQuantity": 0, "total": {"amount": "0.00", "currency": "EUR"}, "items": [], "shortages": []}
    assert await customer.get_cart() == empty_cart


async def test_updating_sets_the_quantity(client: ApiClient, shop: Shop) -> None:
    book = await add_book(shop, "Emma", stock=999)
    customer = await add_customer(client, shop, (book, 5))
    assert get_cart_lines(await change_cart(customer, UPDATE_CART_ITEM, book, quantity=2)) == [("Emma", 2)]
    assert get_cart_lines(await change_cart(customer, UPDATE_CART_ITEM, book, quantity=999)) == [("Emma", 999)]


async def test_removing_is_idempotent(client: ApiClient, shop: Shop) -> None:
    emma, persuasion = await add_book(shop, "Emma"), await add_book(shop, "Persuasion")
    customer = await add_customer(client, shop, (emma, 5), (persuasion, 1))
    for _ in range(2):
        assert get_cart_lines(await change_cart(customer, REMOVE_FROM_CART, emma)) == [("Persuasion", 1)]


async def test_carts_are_separate(client: ApiClient, shop: Shop) -> None:
    book = await add_book(shop, "Emma")
    first, second = await add_customer(client, shop, (book, 5)), await add_customer(client, shop, (book, 1))
    await change_cart(second, REMOVE_FROM_CART, book)
    assert await first.get_cart_lines() == [("Emma", 5)]


async def test_reduced_stock_is_reported_as_a_shortage(client: ApiClient, shop: Shop) -> None:
    scarce_book, sold_out_book, available_book = await add_book(shop), await add_book(shop), await add_book(shop)
    customer = await add_customer(client, shop, (scarce_book, 5), (sold_out_book, 1), (available_book, 5))
    await set_stock(shop, scarce_book.id, 4)
    await set_stock(shop, sold_out_book.id, 0)

    cart = await customer.get_cart()
    assert cart["shortages"] == [
        {"requested": 5, "available": 4, "book": {"id": book_id(scarce_book)}},
        {"requested": 1, "available": 0, "book": {"id": book_id(sold_out_book)}},
    ]
    assert cart["totalQuantity"] == 11
    assert (await change_cart(customer, UPDATE_CART_ITEM, scarce_book, quantity=4))["cart"]["shortages"] == cart[
        "shortages"
    ][1:]
