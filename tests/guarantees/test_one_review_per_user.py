"""A user has at most one review of a book, and can write a new review after deleting it."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id
from tests.support.shop.reviews import (
    add_buyer,
    are_ratings_exact,
    get_ratings,
    list_visible_reviews,
    submit_bulk_deletion,
    submit_review,
    submit_review_deletion,
)

LOCK_RATINGS = "SELECT FROM book_ratings WHERE book_id = $1 FOR UPDATE"
REVIEW_BY_EVERY_PATH = """
query ($id: ID!, $ids: [ID!]!, $book: ID!) {
  review(id: $id) { id }
  node(id: $id) { id }
  nodes(ids: $ids) { id }
  book(by: {id: $book}) { viewerReview { id } reviews { totalCount nodes { id } } }
  me { reviews { totalCount nodes { id } } }
}
"""


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma")


@pytest.fixture
async def buyer(client: ApiClient, shop: Shop, book: BookRow) -> Customer:
    return await add_buyer(client, shop, book)


async def test_second_review_returns_the_first(buyer: Customer, book: BookRow, postgres: asyncpg.Connection) -> None:
    first = (await submit_review(buyer, book, 2, "Too long."))["review"]
    second = await submit_review(buyer, book, 5, "Perfect.")
    assert (second["__typename"], second["code"]) == ("DuplicateReview", "REVIEW_DUPLICATE")
    assert second["existingReview"] == first
    assert await list_visible_reviews(postgres) == [(first["id"], 2)]


async def test_concurrent_reviews_create_one(
    buyer: Customer, client: ApiClient, shop: Shop, book: BookRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, LOCK_RATINGS, book.id):
        reviews = [asyncio.create_task(submit_review(buyer, book, stars)) for stars in (1, 5)]
        await wait_for_blocked(postgres, 2)
    results = await asyncio.gather(*reviews)
    assert Counter(result["__typename"] for result in results) == Counter(ReviewSaved=1, DuplicateReview=1)
    [(remaining_id, stars)] = await list_visible_reviews(postgres)
    assert {(result.get("review") or result.get("existingReview"))["id"] for result in results} == {remaining_id}
    assert (await get_ratings(client, book))[:2] == (float(stars), 1)
    assert await are_ratings_exact(postgres)


@pytest.mark.parametrize("by_administrator", [False, True])
async def test_deleted_review_can_be_replaced_and_is_unreachable(
    buyer: Customer,
    client: ApiClient,
    shop: Shop,
    book: BookRow,
    postgres: asyncpg.Connection,
    by_administrator: bool,
) -> None:
    first = (await submit_review(buyer, book, 1))["review"]["id"]
    if by_administrator:
        admin = await add_customer(client, shop, role="ADMIN")
        assert (await submit_bulk_deletion(admin, [first, first]))["reviewIds"] == [first]
        assert (await submit_bulk_deletion(admin, [first]))["reviewIds"] == []
    else:
        deletion = (await submit_review_deletion(buyer, first))["deleteReview"]
        assert deletion["book"] == {"averageRating": None, "reviewCount": 0}
    assert (await submit_review_deletion(buyer, first))["deleteReview"]["__typename"] == "NotFound"
    response = await buyer.execute(REVIEW_BY_EVERY_PATH, id=first, ids=[first], book=book_id(book))
    empty_connection = {"totalCount": 0, "nodes": []}
    assert response.data == {
        "review": None,
        "node": None,
        "nodes": [None],
        "book": {"viewerReview": None, "reviews": empty_connection},
        "me": {"reviews": empty_connection},
    }

    shop.count_cache.clear()
    second = (await submit_review(buyer, book, 5))["review"]["id"]
    assert second != first
    assert await list_visible_reviews(postgres) == [(second, 5)]
    assert await postgres.fetchval("SELECT count(*) FROM reviews") == 2
    assert await are_ratings_exact(postgres)


async def test_other_users_and_other_books_can_be_reviewed(
    buyer: Customer, client: ApiClient, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    other_buyer = await add_buyer(client, shop, book, other_book := await add_book(shop))
    assert (await submit_review(buyer, book))["__typename"] == "ReviewSaved"
    assert (await submit_review(other_buyer, book))["__typename"] == "ReviewSaved"
    assert (await submit_review(other_buyer, other_book))["__typename"] == "ReviewSaved"
    assert len(await list_visible_reviews(postgres)) == 3
