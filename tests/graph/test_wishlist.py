"""Wishlists over HTTP: keyed by book, with the current price and stock, visible to their owner and administrators."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from domain.stock import set_stock
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from persistence.tables import new_id
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id

ADD_TO_WISHLIST = """mutation ($id: ID!) { result: addToWishlist(input: {bookId: $id}) {
    __typename ... on WishlistItemAdded { item { id addedAt book { id } } } ... on NotFound { code id } } }"""
REMOVE_FROM_WISHLIST = """mutation ($id: ID!) { result: removeFromWishlist(input: {bookId: $id}) {
    __typename ... on WishlistItemRemoved { itemId book { id viewerHasWishlisted } } ... on NotFound { code id } } }"""
MY_WISHLIST = """{ me { wishlist { totalCount nodes { id
    book { title stockQuantity availability price { amount } viewerHasWishlisted } } } } }"""
NODE_QUERY = "query ($id: ID!) { node(id: $id) { id ... on WishlistItem { book { title } } } nodes(ids: [$id]) { id } }"


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", stock=3, price="9.90")


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop)


async def add_to_wishlist(customer: Customer, book: BookRow) -> Any:
    return (await customer.execute(ADD_TO_WISHLIST, id=book_id(book)))["result"]


async def count_wishlist_items(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM wishlist_items")
    return count


@pytest.mark.parametrize("document", [ADD_TO_WISHLIST, REMOVE_FROM_WISHLIST])
async def test_unknown_ids_are_not_found(customer: Customer, postgres: asyncpg.Connection, document: str) -> None:
    unknown_id = to_global_id("Book", new_id())
    assert (await customer.execute(document, id=unknown_id))["result"] == {
        "__typename": "NotFound",
        "code": "NOT_FOUND",
        "id": unknown_id,
    }
    for invalid_id in (to_global_id("WishlistItem", new_id()), customer.user.global_id, "x", ""):
        assert (await customer.execute(document, id=invalid_id)).codes == ["BAD_USER_INPUT"]
    assert await count_wishlist_items(postgres) == 0


async def test_adding_is_idempotent(customer: Customer, book: BookRow, postgres: asyncpg.Connection) -> None:
    first = await add_to_wishlist(customer, book)
    assert first["__typename"] == "WishlistItemAdded"
    assert await add_to_wishlist(customer, book) == first
    assert await count_wishlist_items(postgres) == 1


async def test_concurrent_additions_add_once(
    customer: Customer, book: BookRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        attempts = [asyncio.create_task(add_to_wishlist(customer, book)) for _ in range(3)]
        await wait_for_blocked(postgres, 3)
    results = await asyncio.gather(*attempts)
    assert len({result["item"]["id"] for result in results}) == await count_wishlist_items(postgres) == 1


async def test_book_deleted_concurrently_is_not_added(
    customer: Customer, book: BookRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]) as connection:
        await connection.execute("DELETE FROM books WHERE id = $1", book.id)
        addition = asyncio.create_task(add_to_wishlist(customer, book))
        await wait_for_blocked(postgres, 1)
    assert (await addition)["__typename"] == "NotFound"
    assert await count_wishlist_items(postgres) == 0


async def test_removing_returns_the_item_then_null(
    customer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    item = (await add_to_wishlist(customer, book))["item"]["id"]
    removed_book = {"id": book_id(book), "viewerHasWishlisted": False}
    for item_id in (item, None, None):
        result = (await customer.execute(REMOVE_FROM_WISHLIST, id=book_id(book)))["result"]
        assert result == {"__typename": "WishlistItemRemoved", "itemId": item_id, "book": removed_book}
    assert await count_wishlist_items(postgres) == 0


async def test_wishlist_shows_current_price_and_stock(
    customer: Customer, shop: Shop, book: BookRow, postgres: Any
) -> None:
    await add_to_wishlist(customer, book)
    await set_stock(shop, book.id, 0)
    await postgres.execute("UPDATE books SET price = 12.5 WHERE id = $1", book.id)
    [item] = (await customer.execute(MY_WISHLIST))["me"]["wishlist"]["nodes"]
    assert item["book"] == {
        "title": "Emma",
        "stockQuantity": 0,
        "availability": "OUT_OF_STOCK",
        "price": {"amount": "12.50"},
        "viewerHasWishlisted": True,
    }


async def test_newest_item_comes_first(customer: Customer, shop: Shop) -> None:
    for title in ("One", "Two", "Three"):
        await add_to_wishlist(customer, await add_book(shop, title))
    page = (await customer.execute(MY_WISHLIST))["me"]["wishlist"]
    assert [item["book"]["title"] for item in page["nodes"]] == ["Three", "Two", "One"]
    assert page["totalCount"] == 3


async def test_deleted_book_leaves_every_wishlist(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    book, other = await add_book(shop), await add_book(shop)
    customers = [await add_customer(client, shop) for _ in range(2)]
    for customer in customers:
        await add_to_wishlist(customer, book)
        await add_to_wishlist(customer, other)
    admin = await add_customer(client, shop, role="ADMIN")
    await admin.execute("mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }", id=book_id(book))
    assert await count_wishlist_items(postgres) == 2
    for customer in customers:
        assert (await customer.execute(MY_WISHLIST))["me"]["wishlist"]["totalCount"] == 1


async def test_item_of_another_user_is_not_found(
    client: ApiClient, shop: Shop, customer: Customer, book: BookRow
) -> None:
    item = (await add_to_wishlist(customer, book))["item"]["id"]
    not_found = {"node": None, "nodes": [None]}
    assert (await client.execute(NODE_QUERY, id=item)).data == not_found
    assert (await (await add_customer(client, shop)).execute(NODE_QUERY, id=item)).data == not_found
    visible = {"node": {"id": item, "book": {"title": "Emma"}}, "nodes": [{"id": item}]}
    assert (await customer.execute(NODE_QUERY, id=item)).data == visible
    assert (await (await add_customer(client, shop, role="ADMIN")).execute(NODE_QUERY, id=item)).data == visible
    assert (await customer.execute(NODE_QUERY, id=to_global_id("WishlistItem", new_id()))).data == not_found
    response = await client.with_token("x").execute(NODE_QUERY, id=item)
    assert Counter(response.codes) == Counter({"UNAUTHENTICATED": 2})


async def test_wishlists_are_separate(client: ApiClient, shop: Shop, customer: Customer, book: BookRow) -> None:
    other = await add_customer(client, shop)
    await add_to_wishlist(customer, book)
    assert (await other.execute(MY_WISHLIST))["me"]["wishlist"] == {"totalCount": 0, "nodes": []}
    other_item_id = (await add_to_wishlist(other, book))["item"]["id"]
    assert (await add_to_wishlist(customer, book))["item"]["id"] != other_item_id
    await other.execute(REMOVE_FROM_WISHLIST, id=book_id(book))
    assert (await customer.execute(MY_WISHLIST))["me"]["wishlist"]["totalCount"] == 1
