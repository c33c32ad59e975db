"""Declares reviews and the mutations that write and delete them."""

import datetime as dt
from functools import lru_cache
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import reviews
from domain.errors import DuplicateReview, InvalidInput, NotFound, PurchaseRequired
from domain.reviews import NotReviewAuthor
from graph.context import Info
from graph.kit.batch_fields import batch_field, require_row
from graph.kit.declare import (
    SECOND,
    argument,
    attribute,
    enum_type,
    field,
    input_type,
    object_type,
    optional,
    query,
)
from graph.kit.ids import global_id_field, parse_key, to_global_id
from graph.kit.mutations import mutation
from graph.kit.nodes import Node, node_resolver
from graph.kit.pagination import Connection, CursorCodec, connection_type, parse_page
from graph.kit.permissions import admin_only, public, signed_in
from graph.loaders import BOOK, USER, batch_loader
from graph.projections import review_projection
from graph.request_errors import Forbidden
from persistence import reviews as rows
from persistence.accounts import UserRow
from persistence.catalog import BookRow
from persistence.reviews import KEY_TYPES, ReviewQuery, ReviewRow, ReviewSort

Book: Any = Annotated["Book", strawberry.lazy("graph.catalog")]
User: Any = Annotated["User", strawberry.lazy("graph.accounts")]

enum_type(
    ReviewSort,
    "How a list of reviews can be sorted.",
    NEWEST="The latest first.",
    HIGHEST_RATED="The most stars first.",
    LOWEST_RATED="The fewest stars first.",
)
ReviewSortArgument = Annotated[ReviewSort, argument("How to sort the reviews.")]
RatingsArgument = Annotated[list[int] | None, argument("Only reviews with one of these numbers of stars.")]

ReviewConnection = connection_type(
    "Review", Annotated["Review", strawberry.lazy("graph.reviews")], "reviews", max_age=SECOND
)


@object_type(max_age=SECOND)
class RatingBucket:
    """A number of stars, and how many reviews gave it."""

    stars: int = attribute("The number of stars, 1 to 5.")
    count: int = attribute("The number of reviews.")


@object_type(max_age=SECOND)
class Reviewer:
    """The author of a review, as everyone may see them."""

    display_name: str = attribute("The name they chose to show.")

    @field(User | None, permission=admin_only)
    def account(self: UserRow) -> UserRow:
        """The account behind the name."""
        return self


@object_type(source_type=ReviewRow, max_age=SECOND)
class Review(Node):
    """A customer's review of a book they bought."""

    id: strawberry.ID = global_id_field("Review", "The review's global ID.")
    rating: int = attribute("The number of stars, 1 to 5.")
    text: str | None = attribute("The text, if they wrote any.")
    created_at: dt.datetime = attribute("When it was written.")
    updated_at: dt.datetime = attribute("When it was last changed.")

    @batch_field(BOOK, Book, max_age=SECOND)
    def book(book: BookRow | None) -> BookRow:
        """The book."""
        return require_row(book)

    @batch_field(USER, Reviewer, max_age=SECOND)
    def reviewer(user: UserRow | None) -> UserRow | None:
        """Who wrote it."""
        return user

    @batch_field(batch_loader(lambda loaders: loaders.has_purchased, "user_book_pair"), max_age=SECOND)
    def is_verified_purchase(has_purchased: bool) -> bool:
        """Whether the author bought the book in an order that was not cancelled."""
        return has_purchased

    @field()
    async def viewer_can_update(self: ReviewRow, info: Info) -> bool:
        """Whether the caller may change it."""
        viewer = await info.context.get_viewer()
        return viewer is not None and reviews.can_update(self, viewer.user)

    @field()
    async def viewer_can_delete(self: ReviewRow, info: Info) -> bool:
        """Whether the caller may delete it."""
        viewer = await info.context.get_viewer()
        return viewer is not None and reviews.can_delete(self, viewer.user)


node_resolver("Review")(lambda info, key: info.context.loaders.review.load(key))


@lru_cache(maxsize=1000)
def _cursor_codec(review_query: ReviewQuery) -> CursorCodec:
    return CursorCodec(f"reviews {review_query!r}", KEY_TYPES[review_query.sort])


async def resolve_reviews(
    info: Info,
    review_query: ReviewQuery,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    offset: int | None = UNSET,
) -> Connection[ReviewRow]:
    """Resolve a page of reviews.

    Raises:
        BadUserInput: An argument is not valid.
    """
    codec = _cursor_codec(review_query)
    page = parse_page(codec, first, after, last, before, offset)
    page_result = await rows.list_reviews(info.context.read_session, review_query, page, review_projection(info))

    return Connection(
        codec, page_result, lambda: rows.count_reviews(info.context.read_session, review_query), review_query
    )


@query(public, Review | None, max_age=SECOND)
async def review(info: Info, id: Annotated[strawberry.ID, argument("The ID of the review.")]) -> ReviewRow | None:
    """One review. `null` once it has been deleted."""
    return await info.context.loaders.review.load(parse_key("Review", id))


# ── Inputs and results ────────────────────────────────────────────────────────────────────


@input_type()
class CreateReviewInput:
    """A new review."""

    book_id: strawberry.ID = attribute("The ID of the book.")
    rating: int = attribute("The number of stars, 1 to 5.")
    text: str | None = optional("The text, 2,000 characters at most; a rating alone is enough.")


@input_type()
class UpdateReviewInput:
    """Changes to a review. A field left out stays as it is."""

    review_id: strawberry.ID = attribute("The ID of the review.")
    rating: int | None = optional("The number of stars, 1 to 5.")
    text: str | None = optional("The text, 2,000 characters at most; `null` deletes it.")


@input_type()
class DeleteReviewInput:
    """A review to delete."""

    review_id: strawberry.ID = attribute("The ID of the review.")


@input_type()
class DeleteReviewsInput:
    """Reviews to delete."""

    review_ids: list[strawberry.ID] = attribute("The IDs of the reviews, 100 at most.")


@object_type()
class ReviewSaved:
    """The review is saved."""

    review: ReviewRow = attribute("The review, whose book has the new rating.", Review)


@object_type()
class ReviewDeleted:
    """The review is deleted."""

    review_id: strawberry.ID = attribute("The ID of the review.")
    book: BookRow = attribute("The book, with its new rating.", Book)


@object_type()
class ReviewsDeleted:
    """The reviews are deleted."""

    review_ids: list[strawberry.ID] = attribute("The IDs of those that were deleted.")


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@mutation(signed_in, ReviewSaved, errors=(PurchaseRequired, DuplicateReview, NotFound, InvalidInput))
async def create_review(info: Info, input: Annotated[CreateReviewInput, argument("The review.")]) -> ReviewSaved:
    """Reviews a book the caller has bought. One review per book."""
    viewer = await info.context.require_viewer()
    book_id, text = parse_key("Book", input.book_id), input.text or None
    return ReviewSaved(review=await reviews.create_review(info.context.shop, viewer.user, book_id, input.rating, text))


@mutation(signed_in, ReviewSaved, errors=(NotFound, InvalidInput))
async def update_review(
    info: Info, input: Annotated[UpdateReviewInput, argument("The fields to change.")]
) -> ReviewSaved:
    """Changes the caller's own review."""
    viewer = await info.context.require_viewer()
    fields = {"rating": input.rating, "text": input.text}
    changes = {name: value for name, value in fields.items() if value is not UNSET}
    review_id = parse_key("Review", input.review_id)
    try:
        updated_review = await reviews.update_review(info.context.shop, viewer.user, review_id, changes)
    except NotReviewAuthor as error:
        raise Forbidden("Only the author of a review may change it.") from error
    return ReviewSaved(review=updated_review)


@mutation(signed_in, ReviewDeleted, errors=(NotFound,))
async def delete_review(info: Info, input: Annotated[DeleteReviewInput, argument("The review.")]) -> ReviewDeleted:
    """Deletes a review. Only its author and administrators may."""
    viewer = await info.context.require_viewer()
    review_id = parse_key("Review", input.review_id)
    try:
        book = await reviews.delete_review(info.context.shop, viewer.user, review_id)
    except NotReviewAuthor as error:
        raise Forbidden("Only the author of a review or an administrator may delete it.") from error
    return ReviewDeleted(review_id=to_global_id("Review", review_id), book=book)


@mutation(admin_only, ReviewsDeleted, errors=(InvalidInput,))
async def delete_reviews(info: Info, input: Annotated[DeleteReviewsInput, argument("The reviews.")]) -> ReviewsDeleted:
    """Deletes several reviews. Those that do not exist any more are ignored."""
    review_ids = [parse_key("Review", review_id) for review_id in input.review_ids]
    deleted_ids = await reviews.delete_reviews(info.context.shop, review_ids)
    return ReviewsDeleted(review_ids=[to_global_id("Review", review_id) for review_id in deleted_ids])
