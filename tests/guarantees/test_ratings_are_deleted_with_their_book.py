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

DELETE_BOOK = "mutation ($book: ID!) { result: deleteBook(input: {bookId: $book}) { __typename } }"
CHANGE_MUTATIONS = {
    "a new review": "mutation ($book: ID!) { result: createReview(input: {bookId: $book, rating: 5}) { __typename } }",
    "other stars": "mutation ($id: ID!) { result: updateReview(input: {reviewId: $id, rating: 1}) { __typename } }",
    "a deletion": "mutation ($id: ID!) { result: deleteReview(input: {reviewId: $id}) { __typename } }",
    "a deletion in bulk": "mutation ($id: ID!) { result: deleteReviews(input: {reviewIds: [$id]}) { __typename } }",
}
"""The mutations select only the type of the result, because the book may be deleted."""
LOCK_RATINGS = "SELECT FROM book_ratings WHERE book_id = $1 FOR UPDATE"


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop)


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop, role="ADMIN")


@pytest.mark.parametrize("book_first", [False, True])
@pytest.mark.parametrize("name", CHANGE_MUTATIONS)
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
    buyer, other_buyer = await add_buyer(client, shop, book), await add_buyer(client, shop, book)
    other_book = await add_book(shop)
    await submit_review(await add_buyer(client, shop, other_book), other_book, 3)
    review_id = (await submit_review(buyer, book, 4))["review"]["id"]
    caller = {"a new review": other_buyer, "a deletion in bulk": admin}.get(name, buyer)

    async def change_review() -> Any:
        arguments = {"book": book_id(book)} if name == "a new review" else {"id": review_id}
        return (await caller.execute(CHANGE_MUTATIONS[name], **arguments))["result"]["__typename"]

    async def delete_book() -> Any:
        return (await admin.execute(DELETE_BOOK, book=book_id(book)))["result"]["__typename"]

    async with hold_lock(database_url, LOCK_RATINGS, book.id):
        first = asyncio.create_task(delete_book() if book_first else change_review())
        await wait_for_blocked(postgres, 1)
        second = asyncio.create_task(change_review() if book_first else delete_book())
        await wait_for_blocked(postgres, 2)
    typenames = set(await asyncio.gather(first, second))
    assert "BookDeleted" in typenames
    assert typenames - {"BookDeleted"} <= {"ReviewSaved", "ReviewDeleted", "ReviewsDeleted", "NotFound"}
    assert [stars for _, stars in await list_visible_reviews(postgres)] == [3]
    assert await postgres.fetchval("SELECT count(*) FROM book_ratings") == 1
    assert await are_ratings_exact(postgres)


async def test_every_book_has_ratings_and_sales_rows(shop: Shop, postgres: asyncpg.Connection) -> None:
    """Otherwise the checks of ratings and sales would miss a book."""
    for stock in (0, 1):
        await add_book(shop, stock=stock)
    count_missing = "SELECT count(*) FROM books WHERE id NOT IN (SELECT book_id FROM {})"
    for table in ("book_ratings", "book_sales"):
        assert await postgres.fetchval(count_missing.format(table)) == 0
