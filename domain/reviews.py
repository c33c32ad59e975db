"""Reviews of books by customers who bought them."""

import uuid
from collections import defaultdict
from collections.abc import Sequence
from typing import Any, NoReturn

from domain.accounts import is_owner_or_admin
from domain.errors import Constraint, DuplicateReview, NotFound, PurchaseRequired
from domain.shop import Shop
from domain.validation import Validator, validating
from persistence import catalog, locks, reviews
from persistence.accounts import UserRow
from persistence.catalog import BookRow
from persistence.postgres.database import Transaction
from persistence.postgres.errors import Conflict, retry_on_conflict
from persistence.reviews import ReviewRow

MAX_TEXT_LENGTH = 2_000
MIN_RATING, MAX_RATING = 1, 5
MAX_BULK_DELETE = 100


class NotReviewAuthor(Exception):
    """The caller may not change the review.

    It is not a user error: `viewerCanUpdate` and `viewerCanDelete` tell clients not to offer the change.
    """


def can_update(review: ReviewRow, viewer: UserRow) -> bool:
    """Return whether the viewer wrote the review."""
    return review.user_id == viewer.id


def can_delete(review: ReviewRow, viewer: UserRow) -> bool:
    """Return whether the viewer wrote the review or is an administrator."""
    return is_owner_or_admin(viewer, review.user_id)


@retry_on_conflict
async def create_review(shop: Shop, user: UserRow, book_id: uuid.UUID, rating: int, text: str | None) -> ReviewRow:
    """Add the user's review of a book. `rating` is the number of stars.

    Raises:
        InvalidInput: The rating or the text is invalid.
        NotFound: The book does not exist.
        DuplicateReview: The user has already reviewed the book.
        PurchaseRequired: The user has not bought the book.
    """
    with validating() as validator:
        validator.number(("rating",), rating, MIN_RATING, MAX_RATING)
        text = validator.optional_text(("text",), text, MAX_TEXT_LENGTH, multiline=True)
    async with shop.database.transaction() as tx:
        if not await locks.lock_book_for_key_share(tx, book_id):
            raise NotFound("Book", book_id)
        pair = (user.id, book_id)
        has_bought = await reviews.list_purchased_pairs(tx, [pair])
        review_id = await reviews.add_review(tx, user.id, book_id, rating, text) if has_bought else None
        if review_id is None:
            await _raise_rejection(tx, user.id, book_id, has_bought=bool(has_bought))
        await reviews.adjust_ratings(tx, {book_id: _rating_delta(rating, 1)})
        return await _get_review(tx, review_id)


async def _raise_rejection(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, *, has_bought: bool) -> NoReturn:
    existing = await reviews.list_reviews_by_pair(tx, [(user_id, book_id)])
    if existing:
        raise DuplicateReview(existing[0])
    if not has_bought:
        raise PurchaseRequired(await _get_book(tx, book_id))
    raise Conflict  # another transaction deleted the existing review


@retry_on_conflict
async def update_review(shop: Shop, viewer: UserRow, review_id: uuid.UUID, changes: dict[str, Any]) -> ReviewRow:
    """Change the `rating`, the `text` or both; a `text` of `None` removes the text.

    Raises:
        InvalidInput: The rating or the text is invalid.
        NotFound: The review does not exist.
        NotReviewAuthor: The viewer did not write the review.
    """
    with validating() as validator:
        validated = _validate_changes(validator, changes)
    async with shop.database.transaction() as tx:
        review = await _lock_review(tx, review_id)
        if not can_update(review, viewer):
            raise NotReviewAuthor
        if validated:
            await reviews.update_review(tx, review_id, **validated)
        if validated.get("rating", review.rating) != review.rating:
            await reviews.adjust_ratings(tx, {review.book_id: _rating_change(review.rating, validated["rating"])})
        return await _get_review(tx, review_id)


@retry_on_conflict
async def delete_review(shop: Shop, viewer: UserRow, review_id: uuid.UUID) -> BookRow:
    """Delete a review, and return its book.

    Raises:
        NotFound: The review does not exist.
        NotReviewAuthor: The viewer neither wrote the review nor is an administrator.
    """
    async with shop.database.transaction() as tx:
        review = await _lock_review(tx, review_id)
        if not can_delete(review, viewer):
            raise NotReviewAuthor
        await _delete(tx, [review])
        return await _get_book(tx, review.book_id)


@retry_on_conflict
async def delete_reviews(shop: Shop, review_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Delete several reviews, and return the ids of those that existed.

    Raises:
        InvalidInput: There are more than `MAX_BULK_DELETE` ids.
    """
    with validating() as validator:
        if len(review_ids) > MAX_BULK_DELETE:
            validator.add_error(
                ("reviewIds",), Constraint.TOO_LONG, f"At most {MAX_BULK_DELETE} reviews can be deleted at once."
            )
    async with shop.database.transaction() as tx:
        locked_reviews = await locks.lock_reviews(tx, review_ids)
        await _delete(tx, locked_reviews)
    deleted_ids = {review.id for review in locked_reviews}
    return [review_id for review_id in dict.fromkeys(review_ids) if review_id in deleted_ids]


async def _delete(tx: Transaction, deleted_reviews: Sequence[ReviewRow]) -> None:
    changes: defaultdict[uuid.UUID, list[int]] = defaultdict(lambda: [0] * MAX_RATING)
    for review in deleted_reviews:
        changes[review.book_id][review.rating - 1] -= 1
    if changes:
        await reviews.delete_reviews(tx, [review.id for review in deleted_reviews])
        await reviews.adjust_ratings(tx, changes)


async def _lock_review(tx: Transaction, review_id: uuid.UUID) -> ReviewRow:
    locked_reviews = await locks.lock_reviews(tx, [review_id])
    if not locked_reviews:
        raise NotFound("Review", review_id)
    return locked_reviews[0]


def _rating_delta(rating: int, count: int) -> list[int]:
    return [count if stars == rating else 0 for stars in range(MIN_RATING, MAX_RATING + 1)]


def _rating_change(before: int, after: int) -> list[int]:
    return [gain + loss for gain, loss in zip(_rating_delta(after, 1), _rating_delta(before, -1), strict=True)]


def _validate_changes(validator: Validator, changes: dict[str, Any]) -> dict[str, Any]:
    validated = dict(changes)
    if "rating" in validated:
        if validated["rating"] is None:
            validator.add_error(("rating",), Constraint.REQUIRED, "rating cannot be null.")
        else:
            validator.number(("rating",), validated["rating"], MIN_RATING, MAX_RATING)
    if "text" in validated:
        validated["text"] = validator.optional_text(("text",), validated["text"], MAX_TEXT_LENGTH, multiline=True)
    return validated


async def _get_review(tx: Transaction, review_id: uuid.UUID) -> ReviewRow:
    review = await reviews.find_review(tx, review_id)
    assert review is not None
    return review


async def _get_book(tx: Transaction, book_id: uuid.UUID) -> BookRow:
    book = await catalog.find_book(tx, book_id)
    assert book is not None
    return book
