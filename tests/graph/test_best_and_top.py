"""Best sellers of the last 90 days and the best rated: what counts, and a window that moves."""

import datetime as dt

import asyncpg
import pytest

from domain.shop import Shop
from domain.sweeping import sweep
from persistence.catalog import Book
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, add_member
from tests.purchases import bought
from tests.stockroom import add_manager

TITLES = "query ($sort: BookSort!, $filter: BookFilter) { books(sort: $sort, filter: $filter) { nodes { title } } }"
WRONG = """
SELECT book_id FROM book_sales s WHERE copies <> (
  SELECT coalesce(sum(quantity), 0) FROM order_items i JOIN orders o ON o.id = i.order_id
  WHERE i.book_id = s.book_id AND status IN ('CONFIRMED', 'SHIPPED') AND placed_at >= (SELECT since FROM sales_window))
"""
"""Books whose sales figure is not that of their orders since the window begins."""


async def titles(visitor: Visitor, sort: str, least: float | None = None) -> list[str]:
    reply = await visitor.ask(TITLES, sort=sort, filter={"minRating": least})
    return [node["title"] for node in reply["books"]["nodes"]]


async def copies_of(postgres: asyncpg.Connection, book: Book) -> int | None:
    copies: int | None = await postgres.fetchval("SELECT copies FROM book_sales WHERE book_id = $1", book.id)
    return copies


async def days_pass(postgres: asyncpg.Connection, days: float) -> None:
    """All that was sold, and the window, are so much older."""
    ago = dt.timedelta(days=days)
    await postgres.execute("UPDATE orders SET placed_at = placed_at - $1::interval", ago)
    await postgres.execute("UPDATE sales_window SET since = since - $1::interval", ago)


async def buys(visitor: Visitor, shop: Shop, *lines: tuple[Book, int], token: str = "mock-approve") -> Customer:
    customer = await add_customer(visitor, shop, *lines)
    await customer.buys(token=token)
    return customer


# ── Best sellers ──────────────────────────────────────────────────────────────────────────


async def test_the_most_copies_come_first_and_what_never_sold_last(visitor: Visitor, shop: Shop) -> None:
    few, _, many = await add_book(shop, "Few"), await add_book(shop, "None"), await add_book(shop, "Many")
    await buys(visitor, shop, (few, 1), (many, 2))
    await buys(visitor, shop, (many, 3))
    assert await titles(visitor, "BESTSELLING") == ["Many", "Few", "None"]


async def test_a_purchase_that_falls_through_or_is_called_off_is_no_sale(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop)
    await buys(visitor, shop, (book, 4), token="mock-decline")
    assert await copies_of(postgres, book) == 0
    customer = await buys(visitor, shop, (book, 2))
    assert await copies_of(postgres, book) == 2
    await customer.cancels((await customer.orders())[0]["id"])
    assert await copies_of(postgres, book) == 0


async def test_a_shipped_order_is_still_a_sale(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop)
    customer = await buys(visitor, shop, (book, 2))
    await (await add_manager(visitor, shop)).ships((await customer.orders())[0]["id"])
    assert await copies_of(postgres, book) == 2
    assert await postgres.fetch(WRONG) == []


@pytest.mark.parametrize(("days", "left"), [(0, 3), (89, 3), (89.95, 3), (90.1, 0), (400, 0)])
async def test_what_was_sold_90_days_ago_counts_no_more(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, days: float, left: int
) -> None:
    book = await add_book(shop)
    await buys(visitor, shop, (book, 3))
    await days_pass(postgres, days)
    await sweep(shop)
    assert await copies_of(postgres, book) == left
    assert await postgres.fetch(WRONG) == []
    await sweep(shop)
    assert await copies_of(postgres, book) == left


async def test_new_sales_overtake_old_ones(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    old, new = await add_book(shop, "Old"), await add_book(shop, "New")
    await buys(visitor, shop, (old, 5))
    await days_pass(postgres, 60)
    await buys(visitor, shop, (new, 2))
    await sweep(shop)
    assert await titles(visitor, "BESTSELLING") == ["Old", "New"]
    await days_pass(postgres, 40)
    await sweep(shop)
    assert await titles(visitor, "BESTSELLING") == ["New", "Old"]
    assert await postgres.fetch(WRONG) == []


@pytest.mark.parametrize("days", [80, 100])
async def test_an_old_order_that_is_cancelled_is_taken_out_once(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, days: int
) -> None:
    book = await add_book(shop)
    customer = await buys(visitor, shop, (book, 3))
    await days_pass(postgres, days)
    await buys(visitor, shop, (book, 4))
    await sweep(shop)
    await customer.cancels((await customer.orders())[0]["id"])
    assert await copies_of(postgres, book) == 4
    assert await postgres.fetch(WRONG) == []


async def test_the_window_moves_over_many_orders_at_once(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    books, member = [await add_book(shop) for _ in range(3)], await add_member(shop)
    now = dt.datetime.now(dt.UTC)
    for number, day in enumerate(range(0, 200, 10)):
        lines = [(book, 1 + day % 7) for book in books[: 1 + number % 3]]
        placed = now - dt.timedelta(days=day, hours=2)
        await bought(postgres, member, *lines, at=placed, status="SHIPPED")
        await bought(postgres, member, *lines, at=placed, status=("CANCELLED", "PAYMENT_FAILED")[number % 2])
    await postgres.execute("UPDATE sales_window SET since = now() - interval '300 days'")
    await postgres.execute(
        """UPDATE book_sales s SET copies = (SELECT coalesce(sum(quantity), 0) FROM order_items i
        JOIN orders o ON o.id = i.order_id WHERE i.book_id = s.book_id AND status = 'SHIPPED')"""
    )
    assert await postgres.fetch(WRONG) == []
    await sweep(shop)
    assert await postgres.fetch(WRONG) == []
    assert await postgres.fetchval("SELECT now() - since <= interval '91 days' FROM sales_window")
    assert sum([await copies_of(postgres, book) or 0 for book in books]) > 0


# ── The best rated ────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def rated(shop: Shop, postgres: asyncpg.Connection) -> None:
    """Four books: 5.0 by one reader, 4.5 by two, 4.0 by one, and one that nobody rated."""
    for title, stars in (("Best", {"five": 1}), ("Good", {"four": 1, "five": 1}), ("Fair", {"four": 1}), ("None", {})):
        book = await add_book(shop, title)
        for name, readers in stars.items():
            await postgres.execute(f"UPDATE book_ratings SET {name} = $1 WHERE book_id = $2", readers, book.id)


async def test_the_best_rated_come_first_and_the_unrated_last(visitor: Visitor, rated: None) -> None:
    assert await titles(visitor, "TOP_RATED") == ["Best", "Good", "Fair", "None"]


@pytest.mark.parametrize(("least", "found"), [(1, 3), (4, 3), (4.01, 2), (4.5, 2), (4.51, 1), (5, 1)])
async def test_the_least_rating_is_inclusive_and_leaves_the_unrated_out(
    visitor: Visitor, rated: None, least: float, found: int
) -> None:
    assert await titles(visitor, "TOP_RATED", least) == ["Best", "Good", "Fair"][:found]
    assert len(await titles(visitor, "NEWEST", least)) == found
