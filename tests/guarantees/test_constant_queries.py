"""A page of books costs the same number of SQL statements at any length."""

from collections.abc import AsyncIterator

import pytest

from domain import orders
from domain.orders import CheckoutRequest
from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from server.settings import Settings
from tests.support.database.query_counter import QueryCounter, count_queries
from tests.support.shop.factories import SignedInUser, add_book, add_genre, add_user, book_id, fill_cart

BOOKS = "query ($first: Int!) { books(first: $first) { nodes { title authors { name } genre { name } } } }"
BOOKS_WITH_COUNT = "{ books(first: 2) { totalCount nodes { title authors { name } genre { name } } } }"
BY_IDS = "query ($ids: [ID!]!) { nodes(ids: $ids) { ... on Book { title authors { name } genre { name } } } }"
CART = """{ me { cart { totalQuantity total { amount } shortages { requested }
    items { quantity lineTotal { amount } book { title authors { name } genre { name } } } } } }"""
ORDERS = """{ me { orders(first: 20) { nodes { number customer { email } shippingAddress { city } viewerCanCancel
    items { title book { title authors { name } genre { name } } } } } } }"""

BOOK_STATEMENTS = 1  # the page, with its authors and genres
NODE_STATEMENTS = 3  # the books, their authors, their genres
CART_STATEMENTS = 5  # the viewer, the items, their books, the authors, the genres
ORDER_STATEMENTS = 8  # the viewer, the page, customers, addresses, the items, their books, the authors, the genres


@pytest.fixture
async def counter(shop: Shop, settings: Settings) -> AsyncIterator[QueryCounter]:
    async with count_queries(settings) as counter:
        yield counter


async def _add_books(shop: Shop, count: int) -> list[BookRow]:
    """Add books with two authors each, in five genres."""
    genres = [await add_genre(shop) for _ in range(5)]
    return [
        await add_book(
            shop, stock=30, authors=(f"Author {number}", f"Author {number + 1}"), genre_id=genres[number % 5].id
        )
        for number in range(count)
    ]


async def _place_order(shop: Shop, user: SignedInUser, books: list[BookRow]) -> None:
    await fill_cart(shop, user, *((book, 1) for book in books))
    key = f"{user.id}-{books[0].id}-{len(books)}"
    await orders.checkout(shop, user.id, CheckoutRequest(key, payment_token="mock-approve"))


async def test_statement_count_of_100_books_equals_20(counter: QueryCounter, shop: Shop) -> None:
    await _add_books(shop, 100)
    assert await counter.count(counter.client, BOOKS, first=20) == BOOK_STATEMENTS
    assert await counter.count(counter.client, BOOKS, first=100) == BOOK_STATEMENTS


async def test_total_count_costs_a_statement_only_if_selected(counter: QueryCounter, shop: Shop) -> None:
    await _add_books(shop, 3)
    assert await counter.count(counter.client, BOOKS, first=2) == BOOK_STATEMENTS
    assert await counter.count(counter.client, BOOKS_WITH_COUNT) == BOOK_STATEMENTS + 1


async def test_statement_count_of_100_ids_equals_2(counter: QueryCounter, shop: Shop) -> None:
    ids = [book_id(book) for book in await _add_books(shop, 100)]
    assert await counter.count(counter.client, BY_IDS, ids=ids[:2]) == NODE_STATEMENTS
    assert await counter.count(counter.client, BY_IDS, ids=ids) == NODE_STATEMENTS


async def test_statement_count_of_20_cart_items_equals_2(counter: QueryCounter, shop: Shop) -> None:
    books, user = await _add_books(shop, 20), await add_user(shop)
    user_client = counter.client.with_token(user.token)
    await fill_cart(shop, user, *((book, 1) for book in books[:2]))
    assert await counter.count(user_client, CART) == CART_STATEMENTS
    await fill_cart(shop, user, *((book, 1) for book in books[2:]))
    assert await counter.count(user_client, CART) == CART_STATEMENTS


async def test_statement_count_of_20_orders_equals_2(counter: QueryCounter, shop: Shop) -> None:
    books, user = await _add_books(shop, 20), await add_user(shop)
    user_client = counter.client.with_token(user.token)
    for book in books[:2]:
        await _place_order(shop, user, [book, books[-1]])
    assert await counter.count(user_client, ORDERS) == ORDER_STATEMENTS
    for book in books[:18]:
        await _place_order(shop, user, [book, books[18], books[19]])
    response = await user_client.execute(ORDERS)
    assert len(response["me"]["orders"]["nodes"]) == 20
    assert await counter.count(user_client, ORDERS) == ORDER_STATEMENTS


async def test_counter_detects_unbatched_statements(counter: QueryCounter, shop: Shop) -> None:
    """A counter that always returned the same number would prove nothing."""
    first, second = [to_global_id("Book", book.id) for book in await _add_books(shop, 2)]
    one_by_one = "query ($a: ID!, $b: ID!) { a: node(id: $a) { id } b: book(by: {id: $b}) { id } }"
    assert await counter.count(counter.client, one_by_one, a=first, b=second) == 1
    by_slug = '{ a: book(by: {slug: "a"}) { id } b: book(by: {slug: "b"}) { id } }'
    assert await counter.count(counter.client, by_slug) == 2
