"""Readers: what they ask about the books they bought, and what comes back."""

from typing import Any

import asyncpg

from domain.shop import Shop
from graph.ids import global_id
from persistence import reviews
from persistence.catalog import Book
from tests.client import Reply, Visitor
from tests.customers import Customer, add_customer
from tests.factories import book_id

REVIEW = """
fragment ReviewTold on Review {
  id rating text isVerifiedPurchase viewerCanUpdate viewerCanDelete
  book { id averageRating reviewCount } reviewer { displayName }
}
"""
CREATE = (
    REVIEW
    + """
mutation ($input: CreateReviewInput!) {
  createReview(input: $input) {
    __typename
    ... on UserError { code message }
    ... on ReviewSaved { review { ...ReviewTold } }
    ... on DuplicateReview { existingReview { ...ReviewTold } }
    ... on PurchaseRequired { book { id } }
    ... on NotFound { id }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
)
UPDATE = (
    REVIEW
    + """
mutation ($input: UpdateReviewInput!) {
  updateReview(input: $input) {
    __typename
    ... on UserError { code message }
    ... on ReviewSaved { review { ...ReviewTold } }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
)
DELETE = """
mutation ($id: ID!) {
  deleteReview(input: {reviewId: $id}) {
    __typename
    ... on UserError { code }
    ... on ReviewDeleted { reviewId book { averageRating reviewCount } }
  }
}
"""
DELETE_MANY = """
mutation ($ids: [ID!]!) {
  deleteReviews(input: {reviewIds: $ids}) {
    __typename
    ... on ReviewsDeleted { reviewIds }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
RATINGS = """
query ($id: ID!) {
  book(by: {id: $id}) { averageRating reviewCount ratingHistogram { stars count } }
}
"""
_BY_HAND = """
SELECT count(*) FROM book_ratings r WHERE (one, two, three, four, five) <> (
  SELECT count(*) FILTER (WHERE rating = 1), count(*) FILTER (WHERE rating = 2), count(*) FILTER (WHERE rating = 3),
    count(*) FILTER (WHERE rating = 4), count(*) FILTER (WHERE rating = 5)
  FROM reviews WHERE book_id = r.book_id AND deleted_at IS NULL)
"""


async def add_reader(visitor: Visitor, shop: Shop, *books: Book) -> Customer:
    """Someone who has bought these books."""
    reader = await add_customer(visitor, shop, *((book, 1) for book in books))
    if books:
        assert (await reader.buys())["__typename"] == "OrderPlaced"
    return reader


async def reviews_it(reader: Customer, book: Book, rating: int = 4, text: str | None = None) -> Any:
    """How `createReview` ended."""
    given = {"bookId": book_id(book), "rating": rating, "text": text}
    return (await reader.ask(CREATE, input=given))["createReview"]


async def changes(reader: Customer, review_id: str, **given: Any) -> Reply:
    return await reader.ask(UPDATE, input={"reviewId": review_id, **given})


async def deletes(reader: Customer, review_id: str) -> Reply:
    return await reader.ask(DELETE, id=review_id)


async def deletes_many(administrator: Customer, review_ids: list[str]) -> Any:
    return (await administrator.ask(DELETE_MANY, ids=review_ids))["deleteReviews"]


async def ratings(visitor: Visitor, book: Book) -> tuple[float | None, int, list[int]]:
    """The average, the count, and how many gave five stars to one."""
    told = (await visitor.ask(RATINGS, id=book_id(book)))["book"]
    assert [bucket["stars"] for bucket in told["ratingHistogram"]] == [5, 4, 3, 2, 1]
    return told["averageRating"], told["reviewCount"], [bucket["count"] for bucket in told["ratingHistogram"]]


async def ratings_are_exact(postgres: asyncpg.Connection, shop: Shop) -> bool:
    """By the shop's own query and by one of the tests' own."""
    return not await reviews.list_discrepancies(shop.database.reading) and not await postgres.fetchval(_BY_HAND)


async def living_reviews(postgres: asyncpg.Connection) -> list[tuple[str, int]]:
    """(id, stars) of each, the first first."""
    rows = await postgres.fetch("SELECT id, rating FROM reviews WHERE deleted_at IS NULL ORDER BY id")
    return [(global_id("Review", row["id"]), row["rating"]) for row in rows]
