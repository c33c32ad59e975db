"""The cart over HTTP: adding, changing and removing, and what it says of books that ran short."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from domain import catalog
from domain.shop import Shop
from domain.stock import take_stock
from graph.ids import global_id
from tests.carts import ADD, REMOVE, UPDATE, change, lines_of, merge
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, book_id
from tests.memory import remembered

MUTATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "addToCart": (ADD, {"quantity": 1}),
    "updateCartItem": (UPDATE, {"quantity": 1}),
    "removeFromCart": (REMOVE, {}),
}


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop)


@pytest.mark.parametrize("name", MUTATIONS)
async def test_visitors_have_no_cart(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, name: str) -> None:
    document, more = MUTATIONS[name]
    book = await add_book(shop)
    before = await remembered(postgres)
    reply = await visitor.ask(document, input={"bookId": book_id(book), **more})
    assert (reply.data, reply.codes) == ({"change": None}, ["UNAUTHENTICATED"])
    assert await remembered(postgres) == before


@pytest.mark.parametrize("name", MUTATIONS)
@pytest.mark.parametrize("id_", ["", "1", "QQ", global_id("Order", UUID(int=7)), "é", "x" * 500])
async def test_what_is_no_id_of_a_book_is_a_wrong_call(customer: Customer, name: str, id_: str) -> None:
    document, more = MUTATIONS[name]
    reply = await customer.ask(document, input={"bookId": id_, **more})
    assert (reply.data, reply.codes) == ({"change": None}, ["BAD_USER_INPUT"])


@pytest.mark.parametrize("document", [ADD, UPDATE])
async def test_a_book_that_is_not_there_is_not_found(
    customer: Customer, shop: Shop, postgres: asyncpg.Connection, document: str
) -> None:
    book = await add_book(shop)
    await catalog.delete_book(shop, book.id)
    before = await remembered(postgres)
    changed = await change(customer, document, book, quantity=1)
    assert (changed["__typename"], changed["code"], changed["id"]) == ("NotFound", "NOT_FOUND", book_id(book))
    assert await remembered(postgres) == before


@pytest.mark.parametrize("document", [ADD, UPDATE])
@pytest.mark.parametrize(("quantity", "rule"), [(0, "TOO_SMALL"), (-1, "TOO_SMALL"), (1000, "TOO_LARGE")])
async def test_quantities_out_of_bounds_are_refused(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, document: str, quantity: int, rule: str
) -> None:
    book = await add_book(shop, stock=5000)
    customer = await add_customer(visitor, shop, (book, 1))
    before = await remembered(postgres)
    changed = await change(customer, document, book, quantity=quantity)
    assert (changed["__typename"], changed["issues"]) == ("InvalidInput", [{"path": ["quantity"], "rule": rule}])
    assert await remembered(postgres) == before


@pytest.mark.parametrize("document", [ADD, UPDATE])
@pytest.mark.parametrize("quantity", [2**31, -(2**31) - 1, 10**30, 1.5, "2", None, True])
async def test_what_is_no_quantity_is_a_wrong_call(
    customer: Customer, shop: Shop, postgres: asyncpg.Connection, document: str, quantity: object
) -> None:
    book = await add_book(shop)
    before = await remembered(postgres)
    reply = await customer.ask(document, input={"bookId": book_id(book), "quantity": quantity})
    assert (reply.data, reply.codes) == (None, ["BAD_USER_INPUT"])
    assert await remembered(postgres) == before


async def test_a_line_may_not_grow_over_999_copies(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, stock=5000)
    customer = await add_customer(visitor, shop, (book, 999))
    before = await remembered(postgres)
    changed = await change(customer, ADD, book, quantity=1)
    assert changed["issues"] == [{"path": ["quantity"], "rule": "TOO_LARGE"}]
    assert await remembered(postgres) == before


@pytest.mark.parametrize(("document", "quantity"), [(ADD, 2), (UPDATE, 5)])
async def test_a_line_may_not_exceed_the_stock(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, document: str, quantity: int
) -> None:
    book = await add_book(shop, "Emma", stock=4)
    customer = await add_customer(visitor, shop, (book, 3))
    before = await remembered(postgres)
    changed = await change(customer, document, book, quantity=quantity)
    assert (changed["__typename"], changed["code"]) == ("InsufficientStock", "ORDER_INSUFFICIENT_STOCK")
    assert changed["shortages"] == [{"requested": 5, "available": 4, "book": {"title": "Emma"}}]
    assert await remembered(postgres) == before


async def test_a_cart_holds_a_hundred_different_books(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    books = [await add_book(shop) for _ in range(101)]
    customer = await add_customer(visitor, shop, *[(book, 1) for book in books[:100]])
    before = await remembered(postgres)

    one_too_many = await change(customer, ADD, books[100], quantity=1)
    assert (one_too_many["__typename"], one_too_many["issues"][0]["rule"]) == ("InvalidInput", "TOO_LONG")
    assert (await merge(customer, (books[100], 1)))["issues"] == [{"path": ["items"], "rule": "TOO_LONG"}]
    assert (await merge(customer, *[(books[0], 1)] * 101))["issues"] == [{"path": ["items"], "rule": "TOO_LONG"}]
    assert await remembered(postgres) == before

    assert (await change(customer, ADD, books[0], quantity=1))["cart"]["totalQuantity"] == 101
    assert (await merge(customer, (books[1], 3)))["cart"]["totalQuantity"] == 103


async def test_a_book_that_is_not_in_the_cart_cannot_be_changed_there(
    customer: Customer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop)
    before = await remembered(postgres)
    changed = await change(customer, UPDATE, book, quantity=2)
    assert (changed["__typename"], changed["id"]) == ("NotFound", book_id(book))
    assert await remembered(postgres) == before


async def test_adding_adds_up(customer: Customer, shop: Shop) -> None:
    emma, persuasion = await add_book(shop, "Emma", price="7.50"), await add_book(shop, "Persuasion", price="0.99")
    await change(customer, ADD, emma, quantity=1)
    await change(customer, ADD, persuasion)
    changed = await change(customer, ADD, emma, quantity=2)

    assert lines_of(changed) == [("Emma", 3), ("Persuasion", 1)]
    assert changed["cart"]["totalQuantity"] == 4
    assert changed["cart"]["total"] == {"amount": "23.49", "currency": "EUR"}
    assert [item["lineTotal"]["amount"] for item in changed["cart"]["items"]] == ["22.50", "0.99"]
    assert await customer.cart() == changed["cart"]


async def test_an_empty_cart_costs_nothing(customer: Customer) -> None:
    nothing = {"totalQuantity": 0, "total": {"amount": "0.00", "currency": "EUR"}, "items": [], "shortages": []}
    assert await customer.cart() == nothing


async def test_updating_sets_the_quantity(visitor: Visitor, shop: Shop) -> None:
    book = await add_book(shop, "Emma", stock=999)
    customer = await add_customer(visitor, shop, (book, 5))
    assert lines_of(await change(customer, UPDATE, book, quantity=2)) == [("Emma", 2)]
    assert lines_of(await change(customer, UPDATE, book, quantity=999)) == [("Emma", 999)]


async def test_removing_twice_is_fine(visitor: Visitor, shop: Shop) -> None:
    emma, persuasion = await add_book(shop, "Emma"), await add_book(shop, "Persuasion")
    customer = await add_customer(visitor, shop, (emma, 5), (persuasion, 1))
    for _ in range(2):
        assert lines_of(await change(customer, REMOVE, emma)) == [("Persuasion", 1)]


async def test_carts_are_apart(visitor: Visitor, shop: Shop) -> None:
    book = await add_book(shop, "Emma")
    one, other = await add_customer(visitor, shop, (book, 5)), await add_customer(visitor, shop, (book, 1))
    await change(other, REMOVE, book)
    assert await one.cart_lines() == [("Emma", 5)]


async def test_stock_that_shrinks_shows_as_a_shortage(visitor: Visitor, shop: Shop) -> None:
    short, gone, plenty = await add_book(shop), await add_book(shop), await add_book(shop)
    customer = await add_customer(visitor, shop, (short, 5), (gone, 1), (plenty, 5))
    await take_stock(shop, short.id, 4)
    await take_stock(shop, gone.id, 0)

    cart = await customer.cart()
    assert cart["shortages"] == [
        {"requested": 5, "available": 4, "book": {"id": book_id(short)}},
        {"requested": 1, "available": 0, "book": {"id": book_id(gone)}},
    ]
    assert cart["totalQuantity"] == 11
    assert (await change(customer, UPDATE, short, quantity=4))["cart"]["shortages"] == cart["shortages"][1:]
