"""Mutations of reviews, and the ratings that result from them."""

from typing import Any

import asyncpg

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from persistence.invariants import INVARIANTS
from tests.support.http.client import ApiClient, GraphQLResponse
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import book_id

REVIEW_FRAGMENT = """
fragment ReviewFields on Review {
  id rating text isVerifiedPurchase viewerCanUpdate viewerCanDelete
  book { id averageRating reviewCount } reviewer { displayName }
}
"""
CREATE_REVIEW = (
    REVIEW_FRAGMENT
    + """
mutation ($input: CreateReviewInput!) {
  createReview(input: $input) {
    __typename
    ... on UserError { code message }
    ... on ReviewSaved { review { ...ReviewFields } }
    ... on DuplicateReview { existingReview { ...ReviewFields } }
    ... on PurchaseRequired { book { id } }
    ... on NotFound { id }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
)
UPDATE_REVIEW = (
    REVIEW_FRAGMENT
    + """
mutation ($input: UpdateReviewInput!) {
  updateReview(input: $input) {
    __typename
    ... on UserError { code message }
    ... on ReviewSaved { review { ...ReviewFields } }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
)
DELETE_REVIEW = """
mutation ($id: ID!) {
  deleteReview(input: {reviewId: $id}) {
    __typename
    ... on UserError { code }
    ... on ReviewDeleted { reviewId book { averageRating reviewCount } }
  }
}
"""
DELETE_REVIEWS = """
mutation ($ids: [ID!]!) {
  deleteReviews(input: {reviewIds: $ids}) {
    __typename
    ... on ReviewsDeleted { reviewIds }
    ... on InvalidInput { issues { path rule } }
  }
}
"""
RATINGS_QUERY = """
query ($id: ID!) {
  book(by: {id: $id}) { averageRating reviewCount ratingHistogram { stars count } }
}
"""


async def add_buyer(client: ApiClient, shop: Shop, *books: BookRow) -> Customer:
    """Add a customer who has bought these books."""
    buyer = await add_customer(client, shop, *((book, 1) for book in books))
    if books:
        assert (await buyer.checkout())["__typename"] == "OrderPlaced"
    return buyer


async def submit_review(buyer: Customer, book: BookRow, rating: int = 4, text: str | None = None) -> Any:
    """Return the result of `createReview`, any member of its union."""
    fields = {"bookId": book_id(book), "rating": rating, "text": text}
    return (await buyer.execute(CREATE_REVIEW, input=fields))["createReview"]


async def submit_review_update(buyer: Customer, review_id: str, **fields: Any) -> GraphQLResponse:
    """Return the response to `updateReview`."""
    return await buyer.execute(UPDATE_REVIEW, input={"reviewId": review_id, **fields})


async def submit_review_deletion(buyer: Customer, review_id: str) -> GraphQLResponse:
    """Return the response to `deleteReview`."""
    return await buyer.execute(DELETE_REVIEW, id=review_id)


async def submit_bulk_deletion(admin: Customer, review_ids: list[str]) -> Any:
    """Return the result of `deleteReviews`, any member of its union."""
    return (await admin.execute(DELETE_REVIEWS, ids=review_ids))["deleteReviews"]


async def get_ratings(client: ApiClient, book: BookRow) -> tuple[float | None, int, list[int]]:
    """Return the average, the number of reviews, and the counts of five stars, four stars, … one star."""
    rated_book = (await client.execute(RATINGS_QUERY, id=book_id(book)))["book"]
    assert [bucket["stars"] for bucket in rated_book["ratingHistogram"]] == [5, 4, 3, 2, 1]
    return (
        rated_book["averageRating"],
        rated_book["reviewCount"],
        [bucket["count"] for bucket in rated_book["ratingHistogram"]],
    )


async def are_ratings_exact(postgres: asyncpg.Connection) -> bool:
    """Return whether the ratings of every book are those of its reviews."""
    return not await postgres.fetch(INVARIANTS["ratings are the sums of the reviews"])


async def list_visible_reviews(postgres: asyncpg.Connection) -> list[tuple[str, int]]:
    """Return the reviews that are not deleted, oldest first, as (global id, stars)."""
    rows = await postgres.fetch("SELECT id, rating FROM reviews WHERE deleted_at IS NULL ORDER BY id")
    return [(to_global_id("Review", row["id"]), row["rating"]) for row in rows]
