"""The server never sells a copy twice, even when buyers check out concurrently."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest
import stamina

from domain.shop import Shop
from domain.stock import set_stock
from tests.support.database.db_snapshots import get_stock, is_stock_consistent, list_payments, list_stock_movements
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book, book_id


@pytest.fixture(autouse=True)
def _no_retries() -> Iterator[None]:
    """Switch off retries, so that a deadlock fails the test."""
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.mark.parametrize("copies", [0, 1, 3])
async def test_concurrent_checkouts_sell_exactly_the_stock(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str, copies: int
) -> None:
    book = await add_book(shop, stock=7)
    buyers = [await add_customer(client, shop, (book, 1)) for _ in range(7)]
    await set_stock(shop, book.id, copies)
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        checkouts = [asyncio.create_task(buyer.checkout()) for buyer in buyers]
        await wait_for_blocked(postgres, len(checkouts))
    outcomes = Counter(result["__typename"] for result in await asyncio.gather(*checkouts))

    assert outcomes == Counter(OrderPlaced=copies, InsufficientStock=7 - copies)
    assert await get_stock(postgres, book) == 0
    assert await list_payments(postgres) == [("APPROVED", False)] * copies
    assert await postgres.fetchval("SELECT count(*) FROM orders") == copies
    assert await is_stock_consistent(postgres)


async def test_late_buyers_see_remaining_stock_and_keep_cart(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, "Emma", stock=3)
    buyers = [await add_customer(client, shop, (book, 2)) for _ in range(3)]
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        checkouts = [asyncio.create_task(buyer.checkout()) for buyer in buyers]
        await wait_for_blocked(postgres, len(checkouts))
    rejected = [
        (buyer, result)
        for buyer, result in zip(buyers, await asyncio.gather(*checkouts), strict=True)
        if result["__typename"] == "InsufficientStock"
    ]

    assert len(rejected) == 2
    for buyer, result in rejected:
        shortage = {"requested": 2, "available": 1, "book": {"id": book_id(book), "title": "Emma"}}
        assert result["shortages"] == [shortage]
        assert await buyer.get_cart_lines() == [("Emma", 2)]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 3), ("SALE", -2)]


async def test_carts_in_opposite_order_do_not_deadlock(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    first, second = await add_book(shop, stock=4), await add_book(shop, stock=4)
    buyers = [
        await add_customer(client, shop, *lines) for lines in [((first, 1), (second, 1)), ((second, 1), (first, 1))] * 3
    ]
    async with hold_lock(database_url, LOCK_BOOKS, [first.id, second.id]):
        checkouts = [asyncio.create_task(buyer.checkout()) for buyer in buyers]
        await wait_for_blocked(postgres, len(checkouts))
    outcomes = Counter(result["__typename"] for result in await asyncio.gather(*checkouts))

    assert outcomes == Counter(OrderPlaced=4, InsufficientStock=2)
    assert [await get_stock(postgres, book) for book in (first, second)] == [0, 0]
    assert await is_stock_consistent(postgres)


async def test_cart_is_sold_entirely_or_not_at_all(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    available_book, scarce_book, sold_out_book = (
        await add_book(shop, stock=9),
        await add_book(shop, stock=9),
        await add_book(shop, stock=9),
    )
    buyer = await add_customer(client, shop, (available_book, 2), (scarce_book, 2), (sold_out_book, 1))
    async with hold_lock(database_url, LOCK_BOOKS, [scarce_book.id, sold_out_book.id]) as connection:
        await connection.execute("UPDATE books SET stock_quantity = 1 WHERE id = $1", scarce_book.id)
        await connection.execute("UPDATE books SET stock_quantity = 0 WHERE id = $1", sold_out_book.id)
        checkout = asyncio.create_task(buyer.checkout())
        await wait_for_blocked(postgres, 1)
    result = await checkout

    assert result["__typename"] == "InsufficientStock"
    assert [
        (shortage["book"]["id"], shortage["requested"], shortage["available"]) for shortage in result["shortages"]
    ] == [
        (book_id(scarce_book), 2, 1),
        (book_id(sold_out_book), 1, 0),
    ]
    assert [await get_stock(postgres, book) for book in (available_book, scarce_book, sold_out_book)] == [9, 1, 0]
    assert await list_stock_movements(postgres, available_book) == [("NEW_BOOK", 9)]
    assert len(await buyer.get_cart_lines()) == 3
    assert await buyer.list_orders() == []
