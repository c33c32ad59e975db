"""No oversell: copies are sold once, however many buyers come for them at the same moment."""

import asyncio
from collections import Counter
from collections.abc import Iterator

import asyncpg
import pytest
import stamina

from domain.shop import Shop
from domain.stock import take_stock
from tests.client import Visitor
from tests.customers import add_customer
from tests.factories import add_book, book_id
from tests.locks import BOOKS, holding, until_waiting
from tests.memory import movements_of, payments, stock_is_explained, stock_of


@pytest.fixture(autouse=True)
def _no_second_try() -> Iterator[None]:
    """A deadlock is an answer of its own, instead of being tried again unseen."""
    with stamina.set_testing(True, attempts=1):
        yield


@pytest.mark.parametrize("copies", [0, 1, 3])
async def test_as_many_are_sold_as_there_are(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str, copies: int
) -> None:
    book = await add_book(shop, stock=7)
    buyers = [await add_customer(visitor, shop, (book, 1)) for _ in range(7)]
    await take_stock(shop, book.id, copies)
    async with holding(database_url, BOOKS, [book.id]):
        purchases = [asyncio.create_task(buyer.buys()) for buyer in buyers]
        await until_waiting(postgres, len(purchases))
    ends = Counter(end["__typename"] for end in await asyncio.gather(*purchases))

    assert ends == Counter(OrderPlaced=copies, InsufficientStock=7 - copies)
    assert await stock_of(postgres, book) == 0
    assert await payments(postgres) == [("APPROVED", False)] * copies
    assert await postgres.fetchval("SELECT count(*) FROM orders") == copies
    assert await stock_is_explained(postgres, shop)


async def test_the_late_are_told_what_is_left_and_keep_their_cart(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, "Emma", stock=3)
    buyers = [await add_customer(visitor, shop, (book, 2)) for _ in range(3)]
    async with holding(database_url, BOOKS, [book.id]):
        purchases = [asyncio.create_task(buyer.buys()) for buyer in buyers]
        await until_waiting(postgres, len(purchases))
    late = [
        (buyer, end)
        for buyer, end in zip(buyers, await asyncio.gather(*purchases), strict=True)
        if end["__typename"] == "InsufficientStock"
    ]

    assert len(late) == 2
    for buyer, end in late:
        told = {"requested": 2, "available": 1, "book": {"id": book_id(book), "title": "Emma"}}
        assert end["shortages"] == [told]
        assert await buyer.cart_lines() == [("Emma", 2)]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 3), ("SALE", -2)]


async def test_carts_in_opposite_order_do_not_wait_for_each_other_in_a_ring(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    first, second = await add_book(shop, stock=4), await add_book(shop, stock=4)
    buyers = [
        await add_customer(visitor, shop, *lines)
        for lines in [((first, 1), (second, 1)), ((second, 1), (first, 1))] * 3
    ]
    async with holding(database_url, BOOKS, [first.id, second.id]):
        purchases = [asyncio.create_task(buyer.buys()) for buyer in buyers]
        await until_waiting(postgres, len(purchases))
    ends = Counter(end["__typename"] for end in await asyncio.gather(*purchases))

    assert ends == Counter(OrderPlaced=4, InsufficientStock=2)
    assert [await stock_of(postgres, book) for book in (first, second)] == [0, 0]
    assert await stock_is_explained(postgres, shop)


async def test_all_books_of_a_cart_are_sold_or_none(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    plenty, rare, gone = (await add_book(shop, stock=9), await add_book(shop, stock=9), await add_book(shop, stock=9))
    buyer = await add_customer(visitor, shop, (plenty, 2), (rare, 2), (gone, 1))
    async with holding(database_url, BOOKS, [rare.id, gone.id]) as third:
        await third.execute("UPDATE books SET stock_quantity = 1 WHERE id = $1", rare.id)
        await third.execute("UPDATE books SET stock_quantity = 0 WHERE id = $1", gone.id)
        purchase = asyncio.create_task(buyer.buys())
        await until_waiting(postgres, 1)
    end = await purchase

    assert end["__typename"] == "InsufficientStock"
    assert [(short["book"]["id"], short["requested"], short["available"]) for short in end["shortages"]] == [
        (book_id(rare), 2, 1),
        (book_id(gone), 1, 0),
    ]
    assert [await stock_of(postgres, book) for book in (plenty, rare, gone)] == [9, 1, 0]
    assert await movements_of(postgres, plenty) == [("NEW_BOOK", 9)]
    assert len(await buyer.cart_lines()) == 3
    assert await buyer.orders() == []
