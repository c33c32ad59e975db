"""Reviews: what readers think of the books they bought."""

import uuid
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

from domain.errors import DuplicateReview, NotFound, PurchaseRequired, Rule
from domain.shop import Shop
from domain.validation import Checker, checking
from persistence import catalog, reviews
from persistence.accounts import User
from persistence.catalog import Book
from persistence.database import Transaction
from persistence.faults import Conflict, retried
from persistence.reviews import Review

TEXT_LENGTH = 2_000
FEWEST_STARS, MOST_STARS = 1, 5
MOST_AT_ONCE = 100


class NotYours(Exception):
    """The review is somebody else's. The caller could have known: nobody is offered to change it."""


def may_update(review: Review, viewer: User) -> bool:
    return review.user_id == viewer.id


def may_delete(review: Review, viewer: User) -> bool:
    return review.user_id == viewer.id or viewer.role == "ADMIN"


@retried
async def create_review(shop: Shop, reader: User, book_id: uuid.UUID, rating: int, text: str | None) -> Review:
    """Raises `InvalidInput`, `NotFound`, `DuplicateReview` or `PurchaseRequired`."""
    with checking() as check:
        check.number(("rating",), rating, FEWEST_STARS, MOST_STARS)
        text = check.optional(("text",), text, TEXT_LENGTH, lines=True)
    async with shop.database.transaction() as tx:
        if not await catalog.hold_book(tx, book_id):
            raise NotFound("Book", book_id)
        pair = (reader.id, book_id)
        has_bought = await reviews.list_bought(tx, [pair])
        review_id = await reviews.add_review(tx, reader.id, book_id, rating, text) if has_bought else None
        if review_id is None:
            await _refuse(tx, reader.id, book_id, has_bought=bool(has_bought))
        await reviews.change_ratings(tx, {book_id: _stars(rating, 1)})
        return await _review(tx, review_id)


async def _refuse(tx: Transaction, reader_id: uuid.UUID, book_id: uuid.UUID, *, has_bought: bool) -> NoReturn:
    known = await reviews.list_reviews_of_pairs(tx, [(reader_id, book_id)])
    if known:
        raise DuplicateReview(known[0])
    if not has_bought:
        raise PurchaseRequired(await _book(tx, book_id))
    raise Conflict  # the review that stood in the way was deleted a moment ago


@retried
async def update_review(shop: Shop, viewer: User, review_id: uuid.UUID, changes: dict[str, Any]) -> Review:
    """`changes` holds `rating`, `text` or both; a text of `None` goes.

    Raises `InvalidInput`, `NotFound` or `NotYours`.
    """
    with checking() as check:
        kept = _checked(check, changes)
    async with shop.database.transaction() as tx:
        review = await _lock(tx, review_id)
        if not may_update(review, viewer):
            raise NotYours
        if kept:
            await reviews.set_review(tx, review_id, **kept)
        if kept.get("rating", review.rating) != review.rating:
            await reviews.change_ratings(tx, {review.book_id: _moved(review.rating, kept["rating"])})
        return await _review(tx, review_id)


@retried
async def delete_review(shop: Shop, viewer: User, review_id: uuid.UUID) -> Book:
    """The book that it was about. Raises `NotFound` or `NotYours`."""
    async with shop.database.transaction() as tx:
        review = await _lock(tx, review_id)
        if not may_delete(review, viewer):
            raise NotYours
        await _delete(tx, [review])
        return await _book(tx, review.book_id)


@retried
async def delete_reviews(shop: Shop, review_ids: Sequence[uuid.UUID]) -> list[uuid.UUID]:
    """Those that were deleted; those already gone are passed over. Raises `InvalidInput`."""
    with checking() as check:
        if len(review_ids) > MOST_AT_ONCE:
            check.refuse(("reviewIds",), Rule.TOO_LONG, f"At most {MOST_AT_ONCE} reviews can be deleted at once.")
    async with shop.database.transaction() as tx:
        found = await reviews.lock_reviews(tx, review_ids)
        await _delete(tx, found)
    deleted = {review.id for review in found}
    return [review_id for review_id in dict.fromkeys(review_ids) if review_id in deleted]


async def _delete(tx: Transaction, gone: Iterable[Review]) -> None:
    changes: defaultdict[uuid.UUID, list[int]] = defaultdict(lambda: [0] * MOST_STARS)
    for review in gone:
        changes[review.book_id][review.rating - 1] -= 1
    if changes:
        await reviews.delete_reviews(tx, [review.id for review in gone])
        await reviews.change_ratings(tx, changes)


async def _lock(tx: Transaction, review_id: uuid.UUID) -> Review:
    found = await reviews.lock_reviews(tx, [review_id])
    if not found:
        raise NotFound("Review", review_id)
    return found[0]


def _stars(rating: int, readers: int) -> list[int]:
    return [readers if stars == rating else 0 for stars in range(FEWEST_STARS, MOST_STARS + 1)]


def _moved(before: int, after: int) -> list[int]:
    return [gain + loss for gain, loss in zip(_stars(after, 1), _stars(before, -1), strict=True)]


def _checked(check: Checker, changes: dict[str, Any]) -> dict[str, Any]:
    kept = dict(changes)
    if "rating" in kept:
        if kept["rating"] is None:
            check.refuse(("rating",), Rule.REQUIRED, "A review cannot be without stars.")
        else:
            check.number(("rating",), kept["rating"], FEWEST_STARS, MOST_STARS)
    if "text" in kept:
        kept["text"] = check.optional(("text",), kept["text"], TEXT_LENGTH, lines=True)
    return kept


async def _review(tx: Transaction, review_id: uuid.UUID) -> Review:
    review = await reviews.find_review(tx, review_id)
    assert review is not None
    return review


async def _book(tx: Transaction, book_id: uuid.UUID) -> Book:
    book = await catalog.find_book(tx, book_id)
    assert book is not None
    return book
