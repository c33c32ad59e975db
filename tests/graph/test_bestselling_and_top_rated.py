"""Books sorted by sales of the last 90 days and by rating: which orders count, and how the window moves."""

import datetime as dt

import asyncpg
import pytest

from domain.shop import Shop
from domain.sweeper import sweep
from persistence.catalog import BookRow
from tests.support.http.client import ApiClient
from tests.support.shop.catalog_admin import add_admin_customer
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, add_user
from tests.support.shop.past_orders import add_past_order

TITLES = "query ($sort: BookSort!, $filter: BookFilter) { books(sort: $sort, filter: $filter) { nodes { title } } }"
SELECT_WRONG_SALES = """
SELECT book_id FROM book_sales s WHERE copies <> (
  SELECT coalesce(sum(quantity), 0) FROM order_items i JOIN orders o ON o.id = i.order_id
  WHERE i.book_id = s.book_id AND status IN ('CONFIRMED', 'SHIPPED') AND placed_at >= (SELECT since FROM sales_window))
"""
"""Selects books whose sales differ from those of their orders since the window begins."""


async def list_titles(client: ApiClient, sort: str, min_rating: float | None = None) -> list[str]:
    response = await client.execute(TITLES, sort=sort, filter={"minRating": min_rating})
    return [node["title"] for node in response["books"]["nodes"]]


async def get_sold_quantity(postgres: asyncpg.Connection, book: BookRow) -> int | None:
    copies: int | None = await postgres.fetchval("SELECT copies FROM book_sales WHERE book_id = $1", book.id)
    return copies


async def advance_days(postgres: asyncpg.Connection, days: float) -> None:
    """Move all sales and the window back by this many days."""
    shift = dt.timedelta(days=days)
    await postgres.execute("UPDATE orders SET placed_at = placed_at - $1::interval", shift)
    await postgres.execute("UPDATE sales_window SET since = since - $1::interval", shift)


async def buy_books(
    client: ApiClient, shop: Shop, *lines: tuple[BookRow, int], token: str = "mock-approve"
) -> Customer:
    customer = await add_customer(client, shop, *lines)
    await customer.checkout(token=token)
    return customer


# ── Best sellers ──────────────────────────────────────────────────────────────────────────


async def test_bestselling_sorts_by_sold_quantity(client: ApiClient, shop: Shop) -> None:
    few, _, many = await add_book(shop, "Few"), await add_book(shop, "None"), await add_book(shop, "Many")
    await buy_books(client, shop, (few, 1), (many, 2))
    await buy_books(client, shop, (many, 3))
    assert await list_titles(client, "BESTSELLING") == ["Many", "Few", "None"]


async def test_failed_and_cancelled_orders_are_not_sales(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop)
    await buy_books(client, shop, (book, 4), token="mock-decline")
    assert await get_sold_quantity(postgres, book) == 0
    customer = await buy_books(client, shop, (book, 2))
    assert await get_sold_quantity(postgres, book) == 2
    await customer.cancel_order((await customer.list_orders())[0]["id"])
    assert await get_sold_quantity(postgres, book) == 0


async def test_a_shipped_order_is_still_a_sale(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop)
    customer = await buy_books(client, shop, (book, 2))
    await (await add_admin_customer(client, shop)).ship_order((await customer.list_orders())[0]["id"])
    assert await get_sold_quantity(postgres, book) == 2
    assert await postgres.fetch(SELECT_WRONG_SALES) == []


@pytest.mark.parametrize(("days", "quantity"), [(0, 3), (89, 3), (89.95, 3), (90.1, 0), (400, 0)])
async def test_sales_older_than_90_days_do_not_count(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, days: float, quantity: int
) -> None:
    book = await add_book(shop)
    await buy_books(client, shop, (book, 3))
    await advance_days(postgres, days)
    await sweep(shop)
    assert await get_sold_quantity(postgres, book) == quantity
    assert await postgres.fetch(SELECT_WRONG_SALES) == []
    await sweep(shop)
    assert await get_sold_quantity(postgres, book) == quantity


async def test_new_sales_overtake_old_ones(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    old, new = await add_book(shop, "Old"), await add_book(shop, "New")
    await buy_books(client, shop, (old, 5))
    await advance_days(postgres, 60)
    await buy_books(client, shop, (new, 2))
    await sweep(shop)
    assert await list_titles(client, "BESTSELLING") == ["Old", "New"]
    await advance_days(postgres, 40)
    await sweep(shop)
    assert await list_titles(client, "BESTSELLING") == ["New", "Old"]
    assert await postgres.fetch(SELECT_WRONG_SALES) == []


@pytest.mark.parametrize("days", [80, 100])
async def test_cancelled_old_order_is_subtracted_once(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, days: int
) -> None:
    book = await add_book(shop)
    customer = await buy_books(client, shop, (book, 3))
    await advance_days(postgres, days)
    await buy_books(client, shop, (book, 4))
    await sweep(shop)
    await customer.cancel_order((await customer.list_orders())[0]["id"])
    assert await get_sold_quantity(postgres, book) == 4
    assert await postgres.fetch(SELECT_WRONG_SALES) == []


async def test_sales_window_moves_over_many_orders(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    books, user = [await add_book(shop) for _ in range(3)], await add_user(shop)
    now = dt.datetime.now(dt.UTC)
    for number, day in enumerate(range(0, 200, 10)):
        lines = [(book, 1 + day % 7) for book in books[: 1 + number % 3]]
        placed_at = now - dt.timedelta(days=day, hours=2)
        await add_past_order(postgres, user, *lines, at=placed_at, status="SHIPPED")
        await add_past_order(postgres, user, *lines, at=placed_at, status=("CANCELLED", "PAYMENT_FAILED")[number % 2])
    await postgres.execute("UPDATE sales_window SET since = now() - interval '300 days'")
    await postgres.execute(
        """UPDATE book_sales s SET copies = (SELECT coalesce(sum(quantity), 0) FROM order_items i
        JOIN orders o ON o.id = i.order_id WHERE i.book_id = s.book_id AND status = 'SHIPPED')"""
    )
    assert await postgres.fetch(SELECT_WRONG_SALES) == []
    await sweep(shop)
    assert await postgres.fetch(SELECT_WRONG_SALES) == []
    assert await postgres.fetchval("SELECT now() - since <= interval '91 days' FROM sales_window")
    assert sum([await get_sold_quantity(postgres, book) or 0 for book in books]) > 0


# ── Top rated ─────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def rated_books(shop: Shop, postgres: asyncpg.Connection) -> None:
    """Add four books: rated 5.0 by one user, 4.5 by two, 4.0 by one, and a book without a rating."""
    for title, stars in (("Best", {"five": 1}), ("Good", {"four": 1, "five": 1}), ("Fair", {"four": 1}), ("None", {})):
        book = await add_book(shop, title)
        for name, readers in stars.items():
            await postgres.execute(f"UPDATE book_ratings SET {name} = $1 WHERE book_id = $2", readers, book.id)


async def test_top_rated_sorts_unrated_last(client: ApiClient, rated_books: None) -> None:
    assert await list_titles(client, "TOP_RATED") == ["Best", "Good", "Fair", "None"]


@pytest.mark.parametrize(("min_rating", "count"), [(1, 3), (4, 3), (4.01, 2), (4.5, 2), (4.51, 1), (5, 1)])
async def test_min_rating_is_inclusive_and_excludes_unrated(
    client: ApiClient, rated_books: None, min_rating: float, count: int
) -> None:
    assert await list_titles(client, "TOP_RATED", min_rating) == ["Best", "Good", "Fair"][:count]
    assert len(await list_titles(client, "NEWEST", min_rating)) == count
