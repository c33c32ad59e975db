"""Reviews: what readers think of the books they bought."""

import datetime as dt
from functools import lru_cache
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import reviews
from domain.reviews import NotYours
from graph.companions import review_columns
from graph.context import Info
from graph.errors import DuplicateReview, InvalidInput, NotFound, PurchaseRequired
from graph.faults import Forbidden
from graph.fields import SECOND, column, field, input_shape, mutation, outcomes, query, shape, vocabulary
from graph.gates import administrator, public, signed_in
from graph.ids import global_id, key_of, own_id
from graph.nodes import Node, refetched
from graph.pagination import Connection, ListKind, argument, connection_type, page_of
from graph.questions import BOOK, USER, Question, loaded, there
from persistence import reviews as rows
from persistence.accounts import User as UserRow
from persistence.catalog import Book as BookRow
from persistence.reviews import KEY_TYPES, ReviewList
from persistence.reviews import Review as ReviewRow
from persistence.reviews import ReviewSort as Sorts

Book: Any = Annotated["Book", strawberry.lazy("graph.catalog")]
User: Any = Annotated["User", strawberry.lazy("graph.accounts")]

ReviewSort = vocabulary(
    Sorts,
    "The orders a list of reviews can be put in.",
    NEWEST="The latest first.",
    HIGHEST_RATED="The most stars first.",
    LOWEST_RATED="The fewest stars first.",
)
ReviewSortArgument = Annotated[Sorts, argument("How to order the reviews.")]
RatingsArgument = Annotated[list[int] | None, argument("Only reviews with one of these numbers of stars.")]

ReviewConnection = connection_type(
    "Review", Annotated["Review", strawberry.lazy("graph.reviews")], "reviews", fresh_for=SECOND
)


@shape(fresh_for=SECOND)
class RatingBucket:
    """How many readers gave a number of stars."""

    stars: int = column("The number of stars, 1 to 5.")
    count: int = column("The number of readers.")


@shape(fresh_for=SECOND)
class Reviewer:
    """What everyone may know of the writer of a review."""

    display_name: str = column("The name they chose to show.")

    @field(User | None, gate=administrator)
    def account(self: UserRow) -> UserRow:
        """The account behind the name."""
        return self


@shape(of=ReviewRow, fresh_for=SECOND)
class Review(Node):
    """What a reader thinks of a book they bought."""

    id: strawberry.ID = own_id("Review", "The review's global ID.")
    rating: int = column("The number of stars, 1 to 5.")
    text: str | None = column("The words, if they left any.")
    created_at: dt.datetime = column("When it was written.")
    updated_at: dt.datetime = column("When it was last changed.")

    @loaded(BOOK, Book, fresh_for=SECOND)
    def book(book: BookRow | None) -> BookRow:
        """The book."""
        return there(book)

    @loaded(USER, Reviewer, fresh_for=SECOND)
    def reviewer(user: UserRow | None) -> UserRow | None:
        """Who wrote it."""
        return user

    @loaded(Question(lambda loaders: loaders.purchase, "purchase"), fresh_for=SECOND)
    def is_verified_purchase(is_bought: bool) -> bool:
        """Whether the purchase stands; a cancelled order takes it away."""
        return is_bought

    @field()
    async def viewer_can_update(self: ReviewRow, info: Info) -> bool:
        """Whether the caller may change it."""
        viewer = await info.context.viewer()
        return viewer is not None and reviews.may_update(self, viewer.user)

    @field()
    async def viewer_can_delete(self: ReviewRow, info: Info) -> bool:
        """Whether the caller may delete it."""
        viewer = await info.context.viewer()
        return viewer is not None and reviews.may_delete(self, viewer.user)


refetched("Review")(lambda info, key: info.context.loaders.review.load(key))


@lru_cache(maxsize=1000)
def _kind(wanted: ReviewList) -> ListKind:
    return ListKind(f"reviews {wanted!r}", KEY_TYPES[wanted.sort])


async def reviews_of(
    info: Info,
    wanted: ReviewList,
    first: int | None,
    after: str | None,
    last: int | None,
    before: str | None,
    offset: int | None = UNSET,
) -> Connection[ReviewRow]:
    kind = _kind(wanted)
    page = page_of(kind, first, after, last, before, offset)
    slice_ = await rows.list_reviews(info.context.reading, wanted, page, review_columns(info))

    return Connection(kind, slice_, lambda: rows.count_reviews(info.context.reading, wanted), wanted)


@query(public, Review | None, fresh_for=SECOND)
async def review(info: Info, id: Annotated[strawberry.ID, argument("The ID of the review.")]) -> ReviewRow | None:
    """One review. `null` once it has been deleted."""
    return await info.context.loaders.review.load(key_of("Review", id))


# ── Inputs and outcomes ───────────────────────────────────────────────────────────────────


@input_shape()
class CreateReviewInput:
    """A new review."""

    book_id: strawberry.ID = column("The ID of the book.")
    rating: int = column("The number of stars, 1 to 5.")
    text: str | None = strawberry.field(
        default=UNSET, description="The words, 2,000 characters at most; stars alone will do."
    )


@input_shape()
class UpdateReviewInput:
    """Changes to a review. A field left out stays as it is."""

    review_id: strawberry.ID = column("The ID of the review.")
    rating: int | None = strawberry.field(default=UNSET, description="The number of stars, 1 to 5.")
    text: str | None = strawberry.field(
        default=UNSET, description="The words, 2,000 characters at most; `null` takes them away."
    )


@input_shape()
class DeleteReviewInput:
    """A review to delete."""

    review_id: strawberry.ID = column("The ID of the review.")


@input_shape()
class DeleteReviewsInput:
    """Reviews to delete."""

    review_ids: list[strawberry.ID] = column("The IDs of the reviews, 100 at most.")


@shape()
class ReviewSaved:
    """The review is up."""

    review: ReviewRow = column("The review; through its book, the new rating.", Review)


@shape()
class ReviewDeleted:
    """The review is gone."""

    review_id: strawberry.ID = column("The ID of the review.")
    book: BookRow = column("The book, with its new rating.", Book)


@shape()
class ReviewsDeleted:
    """The reviews are gone."""

    review_ids: list[strawberry.ID] = column("The IDs of those that were deleted.")


CreateReviewResult = Annotated[
    ReviewSaved | PurchaseRequired | DuplicateReview | NotFound | InvalidInput,
    outcomes("CreateReviewResult", "createReview"),
]
UpdateReviewResult = Annotated[ReviewSaved | NotFound | InvalidInput, outcomes("UpdateReviewResult", "updateReview")]
DeleteReviewResult = Annotated[ReviewDeleted | NotFound, outcomes("DeleteReviewResult", "deleteReview")]
DeleteReviewsResult = Annotated[ReviewsDeleted | InvalidInput, outcomes("DeleteReviewsResult", "deleteReviews")]


# ── Mutations ─────────────────────────────────────────────────────────────────────────────


@mutation(signed_in)
async def create_review(
    info: Info, input: Annotated[CreateReviewInput, argument("The review.")]
) -> CreateReviewResult | None:
    """Reviews a book the caller has bought. One review per book."""
    viewer = await info.context.signed_in()
    book_id, text = key_of("Book", input.book_id), input.text or None
    return ReviewSaved(review=await reviews.create_review(info.context.shop, viewer.user, book_id, input.rating, text))


@mutation(signed_in)
async def update_review(
    info: Info, input: Annotated[UpdateReviewInput, argument("The fields to change.")]
) -> UpdateReviewResult | None:
    """Changes the caller's own review."""
    viewer = await info.context.signed_in()
    given = {"rating": input.rating, "text": input.text}
    changes = {name: value for name, value in given.items() if value is not UNSET}
    review_id = key_of("Review", input.review_id)
    try:
        changed = await reviews.update_review(info.context.shop, viewer.user, review_id, changes)
    except NotYours as error:
        raise Forbidden("Only who wrote a review may change it.") from error
    return ReviewSaved(review=changed)


@mutation(signed_in)
async def delete_review(
    info: Info, input: Annotated[DeleteReviewInput, argument("The review.")]
) -> DeleteReviewResult | None:
    """Deletes a review. Its writer and administrators may."""
    viewer = await info.context.signed_in()
    review_id = key_of("Review", input.review_id)
    try:
        book = await reviews.delete_review(info.context.shop, viewer.user, review_id)
    except NotYours as error:
        raise Forbidden("Only who wrote a review and administrators may delete it.") from error
    return ReviewDeleted(review_id=global_id("Review", review_id), book=book)


@mutation(administrator)
async def delete_reviews(
    info: Info, input: Annotated[DeleteReviewsInput, argument("The reviews.")]
) -> DeleteReviewsResult | None:
    """Deletes reviews in bulk. Those already gone are passed over."""
    review_ids = [key_of("Review", review_id) for review_id in input.review_ids]
    deleted = await reviews.delete_reviews(info.context.shop, review_ids)
    return ReviewsDeleted(review_ids=[global_id("Review", review_id) for review_id in deleted])
