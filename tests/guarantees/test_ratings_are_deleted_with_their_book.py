"""Ratings are deleted with their book; concurrent reviews and edits leave no wrong rating."""

import asyncio
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id
from tests.support.shop.reviews import add_buyer, are_ratings_exact, list_visible_reviews, submit_review

DELETE_BOOK = "mutation ($book: ID!) { end: deleteBook(input: {bookId: $book}) { __typename } }"
CHANGES = {
    "a new review": "mutation ($book: ID!) { end: createReview(input: {bookId: $book, rating: 5}) { __typename } }",
    "other stars": "mutation ($id: ID!) { end: updateReview(input: {reviewId: $id, rating: 1}) { __typename } }",
    "a deletion": "mutation ($id: ID!) { end: deleteReview(input: {reviewId: $id}) { __typename } }",
    "a deletion in bulk": "mutation ($id: ID!) { end: deleteReviews(input: {reviewIds: [$id]}) { __typename } }",
}
"""They select nothing but the type: the book may be deleted by then."""
RATINGS = "SELECT FROM book_ratings WHERE book_id = $1 FOR UPDATE"


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop)


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop, role="ADMIN")


@pytest.mark.parametrize("book_first", [False, True])
@pytest.mark.parametrize("name", CHANGES)
async def test_book_deleted_during_a_review_change(
    client: ApiClient,
    shop: Shop,
    admin: Customer,
    book: BookRow,
    postgres: asyncpg.Connection,
    database_url: str,
    name: str,
    book_first: bool,
) -> None:
    user, newcomer = await add_buyer(client, shop, book), await add_buyer(client, shop, book)
    other = await add_book(shop)
    await submit_review(await add_buyer(client, shop, other), other, 3)
    review = (await submit_review(user, book, 4))["review"]["id"]
    caller = {"a new review": newcomer, "a deletion in bulk": admin}.get(name, user)

    async def change() -> Any:
        arguments = {"book": book_id(book)} if name == "a new review" else {"id": review}
        return (await caller.execute(CHANGES[name], **arguments))["end"]["__typename"]

    async def deletion() -> Any:
        return (await admin.execute(DELETE_BOOK, book=book_id(book)))["end"]["__typename"]

    async with hold_lock(database_url, RATINGS, book.id):
        first = asyncio.create_task(deletion() if book_first else change())
        await wait_for_blocked(postgres, 1)
        second = asyncio.create_task(change() if book_first else deletion())
        await wait_for_blocked(postgres, 2)
    ends = set(await asyncio.gather(first, second))
    assert "BookDeleted" in ends
    assert ends - {"BookDeleted"} <= {"ReviewSaved", "ReviewDeleted", "ReviewsDeleted", "NotFound"}
    assert [stars for _, stars in await list_visible_reviews(postgres)] == [3]
    assert await postgres.fetchval("SELECT count(*) FROM book_ratings") == 1
    assert await are_ratings_exact(postgres)


async def test_every_book_has_ratings_and_sales_rows(shop: Shop, postgres: asyncpg.Connection) -> None:
    """Otherwise the checks of ratings and sales would skip a book."""
    for stock in (0, 1):
        await add_book(shop, stock=stock)
    missing = "SELECT count(*) FROM books WHERE id NOT IN (SELECT book_id FROM {})"
    for table in ("book_ratings", "book_sales"):
        assert await postgres.fetchval(missing.format(table)) == 0
