"""Merging an anonymous customer's cart into the cart of their account."""

import asyncio

import asyncpg
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import catalog
from domain.shop import Shop
from domain.stock import set_stock
from tests.support.database.db_snapshots import take_snapshot
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.carts import MERGE_CART, get_cart_lines, get_shortages, merge_cart
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book, book_id


async def test_anonymous_callers_cannot_merge(client: ApiClient, shop: Shop) -> None:
    items = [{"bookId": book_id(await add_book(shop)), "quantity": 1}]
    response = await client.execute(MERGE_CART, input={"items": items})
    assert (response.data, response.codes) == ({"change": None}, ["UNAUTHENTICATED"])


async def test_invalid_merge_changes_nothing_and_reports_all_errors(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    emma, persuasion = await add_book(shop), await add_book(shop)
    customer = await add_customer(client, shop, (emma, 1))
    before = await take_snapshot(postgres)
    result = await merge_cart(customer, (emma, 0), (persuasion, 2), (persuasion, 1000))
    assert result["issues"] == [
        {"path": ["items", "0", "quantity"], "rule": "TOO_SMALL"},
        {"path": ["items", "2", "quantity"], "rule": "TOO_LARGE"},
    ]
    assert await take_snapshot(postgres) == before


async def test_unknown_and_sold_out_books_are_skipped(client: ApiClient, shop: Shop) -> None:
    customer = await add_customer(client, shop)
    deleted, available = await add_book(shop), await add_book(shop, "There", stock=2)
    sold_out = await add_book(shop, "Gone", stock=0)
    await catalog.delete_book(shop, deleted.id)
    result = await merge_cart(customer, (deleted, 1), (sold_out, 1), (available, 2))
    assert (get_cart_lines(result), get_shortages(result)) == ([("There", 2)], [("Gone", 1, 0)])
    result = await merge_cart(customer)
    assert (get_cart_lines(result), get_shortages(result)) == ([("There", 2)], [])


async def test_sold_out_book_stays_in_the_cart(client: ApiClient, shop: Shop) -> None:
    book = await add_book(shop, "Emma", stock=3)
    customer = await add_customer(client, shop, (book, 3))
    await set_stock(shop, book.id, 0)
    result = await merge_cart(customer, (book, 2))
    assert (get_cart_lines(result), get_shortages(result)) == ([("Emma", 3)], [("Emma", 3, 0)])


async def test_stock_sold_during_the_merge_is_reported(
    client: ApiClient, shop: Shop, database_url: str, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(client, shop)
    async with hold_lock(database_url, "SELECT FROM books WHERE id = $1 FOR UPDATE", book.id) as holder:
        merge = asyncio.create_task(merge_cart(customer, (book, 4)))
        await wait_for_blocked(postgres, 1)
        await holder.execute("UPDATE books SET stock_quantity = 1 WHERE id = $1", book.id)
        await holder.execute(
            "INSERT INTO stock_movements (id, book_id, title, change, reason)"
            " VALUES (gen_random_uuid(), $1, 'Emma', -4, 'STOCKTAKE')",
            book.id,
        )
    result = await merge
    assert (get_cart_lines(result), get_shortages(result)) == ([("Emma", 1)], [("Emma", 4, 1)])


@given(
    in_cart=st.lists(st.integers(0, 6), min_size=3, max_size=3),
    merged_lines=st.lists(st.tuples(st.integers(0, 2), st.integers(1, 12)), max_size=6),
)
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_larger_quantity_wins_up_to_the_stock(
    client: ApiClient, shop: Shop, in_cart: list[int], merged_lines: list[tuple[int, int]]
) -> None:
    books = [await add_book(shop, stock=stock) for stock in (6, 8, 20)]
    cart_lines = [(book, copies) for book, copies in zip(books, in_cart, strict=True) if copies]
    customer = await add_customer(client, shop, *cart_lines)

    result = await merge_cart(customer, *[(books[index], copies) for index, copies in merged_lines])

    quantities = list(in_cart)
    for index, copies in merged_lines:
        quantities[index] = max(quantities[index], copies)
    expected = {
        book.title: min(copies, book.stock_quantity) for book, copies in zip(books, quantities, strict=True) if copies
    }
    assert dict(get_cart_lines(result)) == expected
    assert len(result["cart"]["items"]) == len(expected)
    merged_indexes = dict.fromkeys(index for index, _ in merged_lines)
    assert get_shortages(result) == [
        (books[index].title, quantities[index], books[index].stock_quantity)
        for index in merged_indexes
        if quantities[index] > books[index].stock_quantity
    ]
