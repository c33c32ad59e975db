"""Wishlists over HTTP: keyed by book, at today's price and stock, and nobody else's business."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from domain.stock import take_stock
from graph.ids import global_id
from persistence.catalog import Book
from persistence.models import new_id
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, book_id
from tests.locks import BOOKS, holding, until_waiting

ADD = """mutation ($id: ID!) { end: addToWishlist(input: {bookId: $id}) {
    __typename ... on WishlistItemAdded { item { id addedAt book { id } } } ... on NotFound { code id } } }"""
REMOVE = """mutation ($id: ID!) { end: removeFromWishlist(input: {bookId: $id}) {
    __typename ... on WishlistItemRemoved { itemId book { id viewerHasWishlisted } } ... on NotFound { code id } } }"""
MINE = """{ me { wishlist { totalCount nodes { id
    book { title stockQuantity availability price { amount } viewerHasWishlisted } } } } }"""
FOUND = "query ($id: ID!) { node(id: $id) { id ... on WishlistItem { book { title } } } nodes(ids: [$id]) { id } }"


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", stock=3, price="9.90")


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop)


async def saves(customer: Customer, book: Book) -> Any:
    return (await customer.ask(ADD, id=book_id(book)))["end"]


async def saved(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM wishlist_items")
    return count


@pytest.mark.parametrize("document", [ADD, REMOVE])
async def test_ids_that_lead_nowhere(customer: Customer, postgres: asyncpg.Connection, document: str) -> None:
    nowhere = global_id("Book", new_id())
    assert (await customer.ask(document, id=nowhere))["end"] == {
        "__typename": "NotFound",
        "code": "NOT_FOUND",
        "id": nowhere,
    }
    for bad in (global_id("WishlistItem", new_id()), customer.member.global_id, "x", ""):
        assert (await customer.ask(document, id=bad)).codes == ["BAD_USER_INPUT"]
    assert await saved(postgres) == 0


async def test_saving_twice_saves_once(customer: Customer, book: Book, postgres: asyncpg.Connection) -> None:
    first = await saves(customer, book)
    assert first["__typename"] == "WishlistItemAdded"
    assert await saves(customer, book) == first
    assert await saved(postgres) == 1


async def test_two_tabs_save_once(
    customer: Customer, book: Book, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with holding(database_url, BOOKS, [book.id]):
        tabs = [asyncio.create_task(saves(customer, book)) for _ in range(3)]
        await until_waiting(postgres, 3)
    ends = await asyncio.gather(*tabs)
    assert len({end["item"]["id"] for end in ends}) == await saved(postgres) == 1


async def test_a_book_that_is_deleted_at_this_moment_is_not_saved(
    customer: Customer, book: Book, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with holding(database_url, BOOKS, [book.id]) as third:
        await third.execute("DELETE FROM books WHERE id = $1", book.id)
        saving = asyncio.create_task(saves(customer, book))
        await until_waiting(postgres, 1)
    assert (await saving)["__typename"] == "NotFound"
    assert await saved(postgres) == 0


async def test_removing_tells_which_item_it_was_and_then_none(
    customer: Customer, book: Book, postgres: asyncpg.Connection
) -> None:
    item = (await saves(customer, book))["item"]["id"]
    gone = {"id": book_id(book), "viewerHasWishlisted": False}
    for item_id in (item, None, None):
        end = (await customer.ask(REMOVE, id=book_id(book)))["end"]
        assert end == {"__typename": "WishlistItemRemoved", "itemId": item_id, "book": gone}
    assert await saved(postgres) == 0


async def test_price_and_stock_are_those_of_today(customer: Customer, shop: Shop, book: Book, postgres: Any) -> None:
    await saves(customer, book)
    await take_stock(shop, book.id, 0)
    await postgres.execute("UPDATE books SET price = 12.5 WHERE id = $1", book.id)
    [item] = (await customer.ask(MINE))["me"]["wishlist"]["nodes"]
    assert item["book"] == {
        "title": "Emma",
        "stockQuantity": 0,
        "availability": "OUT_OF_STOCK",
        "price": {"amount": "12.50"},
        "viewerHasWishlisted": True,
    }


async def test_the_latest_comes_first(customer: Customer, shop: Shop) -> None:
    for title in ("One", "Two", "Three"):
        await saves(customer, await add_book(shop, title))
    told = (await customer.ask(MINE))["me"]["wishlist"]
    assert [item["book"]["title"] for item in told["nodes"]] == ["Three", "Two", "One"]
    assert told["totalCount"] == 3


async def test_a_deleted_book_leaves_every_list(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    book, other = await add_book(shop), await add_book(shop)
    customers = [await add_customer(visitor, shop) for _ in range(2)]
    for customer in customers:
        await saves(customer, book)
        await saves(customer, other)
    manager = await add_customer(visitor, shop, role="ADMIN")
    await manager.ask("mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }", id=book_id(book))
    assert await saved(postgres) == 2
    for customer in customers:
        assert (await customer.ask(MINE))["me"]["wishlist"]["totalCount"] == 1


async def test_a_foreign_item_is_not_there(visitor: Visitor, shop: Shop, customer: Customer, book: Book) -> None:
    item = (await saves(customer, book))["item"]["id"]
    nobodys = {"node": None, "nodes": [None]}
    assert (await visitor.ask(FOUND, id=item)).data == nobodys
    assert (await (await add_customer(visitor, shop)).ask(FOUND, id=item)).data == nobodys
    there = {"node": {"id": item, "book": {"title": "Emma"}}, "nodes": [{"id": item}]}
    assert (await customer.ask(FOUND, id=item)).data == there
    assert (await (await add_customer(visitor, shop, role="ADMIN")).ask(FOUND, id=item)).data == there
    assert (await customer.ask(FOUND, id=global_id("WishlistItem", new_id()))).data == nobodys
    stale = await visitor.signed_in("x").ask(FOUND, id=item)
    assert Counter(stale.codes) == Counter({"UNAUTHENTICATED": 2})


async def test_each_has_their_own(visitor: Visitor, shop: Shop, customer: Customer, book: Book) -> None:
    other = await add_customer(visitor, shop)
    await saves(customer, book)
    assert (await other.ask(MINE))["me"]["wishlist"] == {"totalCount": 0, "nodes": []}
    theirs = (await saves(other, book))["item"]["id"]
    assert (await saves(customer, book))["item"]["id"] != theirs
    await other.ask(REMOVE, id=book_id(book))
    assert (await customer.ask(MINE))["me"]["wishlist"]["totalCount"] == 1
