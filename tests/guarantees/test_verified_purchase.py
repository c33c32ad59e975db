"""Verified purchase: only who has a confirmed or shipped order with a book may review it."""

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog import Book
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, book_id
from tests.reviewing import add_reader, living_reviews, reviews_it

CAN_REVIEW = "query ($id: ID!) { book(by: {id: $id}) { viewerCanReview viewerReview { id } } }"
VERIFIED = "query ($id: ID!) { review(id: $id) { isVerifiedPurchase } }"


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", stock=20)


async def _may_not(reader: Customer, book: Book, postgres: asyncpg.Connection) -> None:
    assert (await reader.ask(CAN_REVIEW, id=book_id(book)))["book"]["viewerCanReview"] is False
    end = await reviews_it(reader, book, 5)
    assert (end["__typename"], end["code"]) == ("PurchaseRequired", "REVIEW_PURCHASE_REQUIRED")
    assert end["book"] == {"id": book_id(book)}
    assert await living_reviews(postgres) == []
    assert await postgres.fetchval("SELECT sum(count) FROM book_ratings") == 0


async def test_visitors_review_nothing(visitor: Visitor, book: Book, postgres: asyncpg.Connection) -> None:
    told = (await visitor.ask(CAN_REVIEW, id=book_id(book)))["book"]
    assert told == {"viewerCanReview": False, "viewerReview": None}


async def test_who_has_not_bought_it_may_not(
    visitor: Visitor, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    other = await add_book(shop)
    await _may_not(await add_reader(visitor, shop), book, postgres)
    await _may_not(await add_reader(visitor, shop, other), book, postgres)
    await _may_not(await add_customer(visitor, shop, (book, 1)), book, postgres)
    await add_reader(visitor, shop, book)
    await _may_not(await add_reader(visitor, shop, other), book, postgres)


@pytest.mark.parametrize("status", ["PENDING", "PAYMENT_FAILED", "CANCELLED"])
async def test_whose_order_does_not_stand_may_not(
    visitor: Visitor, shop: Shop, book: Book, postgres: asyncpg.Connection, status: str
) -> None:
    reader = await add_reader(visitor, shop, book)
    cancelled = "now()" if status == "CANCELLED" else "NULL"
    await postgres.execute(f"UPDATE orders SET status = '{status}', cancelled_at = {cancelled}")
    await _may_not(reader, book, postgres)


@pytest.mark.parametrize("shipped", [False, True])
async def test_whose_order_stands_may_once_the_books_are_on_their_way_or_before(
    visitor: Visitor, shop: Shop, book: Book, shipped: bool
) -> None:
    reader = await add_reader(visitor, shop, book)
    if shipped:
        [order] = await reader.orders()
        await (await add_customer(visitor, shop, role="ADMIN")).ships(order["id"])
    assert (await reader.ask(CAN_REVIEW, id=book_id(book)))["book"]["viewerCanReview"] is True
    end = await reviews_it(reader, book, 5, "Read it twice.")
    assert end["__typename"] == "ReviewSaved"
    assert end["review"]["isVerifiedPurchase"] is True
    told = (await reader.ask(CAN_REVIEW, id=book_id(book)))["book"]
    assert told == {"viewerCanReview": False, "viewerReview": {"id": end["review"]["id"]}}


async def test_a_cancelled_order_takes_the_mark_away_and_leaves_the_review(
    visitor: Visitor, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    reader = await add_reader(visitor, shop, book)
    review = (await reviews_it(reader, book))["review"]
    [order] = await reader.orders()
    assert (await reader.cancels(order["id"]))["__typename"] == "OrderCancelled"
    assert (await visitor.ask(VERIFIED, id=review["id"]))["review"] == {"isVerifiedPurchase": False}
    assert (await reviews_it(reader, book))["__typename"] == "DuplicateReview"
    assert await living_reviews(postgres) == [(review["id"], 4)]


async def test_a_book_that_is_gone_has_no_reviewers(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    gone = await add_book(shop)
    reader = await add_reader(visitor, shop, gone)
    await reviews_it(reader, gone)
    await postgres.execute("DELETE FROM books WHERE id = $1", gone.id)
    assert await living_reviews(postgres) == []
    assert (await reviews_it(reader, gone))["__typename"] == "NotFound"
