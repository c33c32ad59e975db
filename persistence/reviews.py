"""Reviews, and the ratings of each book that are counted from them."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple, TypedDict, Unpack

from sqlalchemy import (
    ColumnElement,
    Double,
    Integer,
    Select,
    Uuid,
    any_,
    bindparam,
    cast,
    column,
    func,
    select,
    true,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.accounts import UserRow
from persistence.orders import IS_EFFECTIVE
from persistence.postgres.database import Transaction
from persistence.postgres.keyset import (
    KeyedRow,
    PageRequest,
    PageResult,
    PageShape,
    Sort,
    build_count_query,
    fetch_page,
    order_by,
    paginate,
)
from persistence.postgres.pairs import PAIRS, UserBookPair, build_pair_parameters, matches_pair
from persistence.postgres.read_session import ReadSession
from persistence.postgres.row_factory import ColumnNames, NestedRow, exclude_id, get_columns, make_row_factory
from persistence.postgres.statements import OPTIMIZATION_FENCE, Command, Query


class ReviewSort(StrEnum):
    """The sort orders of a list of reviews."""

    NEWEST = "NEWEST"
    HIGHEST_RATED = "HIGHEST_RATED"
    LOWEST_RATED = "LOWEST_RATED"


@dataclass(slots=True)
class ReviewRow:
    """A review that has not been deleted."""

    id: uuid.UUID
    book_id: uuid.UUID
    user_id: uuid.UUID
    rating: int
    text: str | None
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def user_book_pair(self) -> UserBookPair:
        """The reviewer and the book."""
        return self.user_id, self.book_id


class ReviewProjection(NamedTuple):
    """The columns to select of reviews, and of their users; `None` leaves the users out."""

    review: ColumnNames = ReviewRow.__slots__
    user: ColumnNames | None = None

    @property
    def own_columns(self) -> ColumnNames:
        """The selected columns of the review except its id, which is always selected."""
        return exclude_id(self.review)


class ReviewWithUser(ReviewRow):
    """A review with its user, if the projection selects the user."""

    __slots__ = ("user",)
    user: UserRow | None


@dataclass(slots=True)
class BookRatingRow:
    """How many reviews of a book gave each number of stars; `average` is rounded half up to one decimal, 0 without reviews."""

    id: uuid.UUID
    one: int
    two: int
    three: int
    four: int
    five: int
    count: int
    average: float


class ReviewChanges(TypedDict, total=False):
    """The columns of a review that can change."""

    rating: int
    text: str | None


ALL_COLUMNS = ReviewProjection()

_review = tables.Review
REVIEW_COLUMNS = tuple(getattr(_review, name) for name in ReviewRow.__slots__)
_rating = tables.BookRating


def select_rating_columns(column_names: ColumnNames) -> list[Any]:
    """Return these columns of `book_ratings`, with the average as a float."""
    overrides = {"average": cast(_rating.average, Double).label("average")}
    return [overrides.get(column.key, column) for column in get_columns(_rating, column_names)]


_is_not_deleted = _review.deleted_at.is_(None)
_id = bindparam("id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))
_BY_ID = Query(select(*REVIEW_COLUMNS).where(_review.id == _id, _is_not_deleted), ReviewRow)
_BY_IDS = Query(select(*REVIEW_COLUMNS).where(_review.id == any_(_ids), _is_not_deleted), ReviewRow)
_BY_PAIRS = Query(select(*REVIEW_COLUMNS).join(PAIRS, matches_pair(_review)).where(_is_not_deleted), ReviewRow)
# OFFSET 0 makes PostgreSQL search the user's orders for each pair, never all sales of a popular book.
_items_of_book = (
    select(tables.OrderItem.id)
    .where(tables.OrderItem.order_id == tables.Order.id, tables.OrderItem.book_id == PAIRS.c.book_id)
    .correlate(tables.Order, PAIRS)
    .offset(OPTIMIZATION_FENCE)
)
_purchases = (
    select(tables.Order.id)
    .where(tables.Order.user_id == PAIRS.c.user_id, IS_EFFECTIVE, _items_of_book.exists())
    .correlate(PAIRS)
    .offset(OPTIMIZATION_FENCE)
)
_PURCHASED_PAIRS: Query[UserBookPair] = Query(
    select(PAIRS.c.user_id, PAIRS.c.book_id).where(_purchases.exists()),
    lambda user_id, book_id: (user_id, book_id),
)
_RATINGS = Query(
    select(*select_rating_columns(BookRatingRow.__slots__)).where(_rating.book_id == any_(_ids)), BookRatingRow
)


# ── Reads ─────────────────────────────────────────────────────────────────────────────────


async def find_review(db: ReadSession | Transaction, review_id: uuid.UUID) -> ReviewRow | None:
    """Return the review, or `None` when there is none or it has been deleted."""
    return await db.first(_BY_ID, id=review_id)


async def list_reviews_by_id(db: ReadSession, ids: Iterable[uuid.UUID]) -> list[ReviewRow]:
    """Return the reviews in no particular order; missing and deleted ones are left out."""
    return await db.all(_BY_IDS, ids=list(ids))


async def list_reviews_by_pair(db: ReadSession | Transaction, pairs: Sequence[UserBookPair]) -> list[ReviewRow]:
    """Return the reviews of those (user, book) pairs that have one."""
    return await db.all(_BY_PAIRS, **build_pair_parameters(pairs))


async def list_purchased_pairs(db: ReadSession | Transaction, pairs: Sequence[UserBookPair]) -> list[UserBookPair]:
    """Return those of the (user, book) pairs where the user has a confirmed or shipped order of the book."""
    return await db.all(_PURCHASED_PAIRS, **build_pair_parameters(pairs))


async def list_ratings(db: ReadSession, book_ids: Iterable[uuid.UUID]) -> list[BookRatingRow]:
    """Return the ratings of several books."""
    return await db.all(_RATINGS, ids=list(book_ids))


@dataclass(frozen=True, slots=True)
class ReviewQuery:
    """The sort order and the filters of a list of reviews; `None` means no filter."""

    sort: ReviewSort = ReviewSort.NEWEST
    book_id: uuid.UUID | None = None
    user_id: uuid.UUID | None = None
    ratings: tuple[int, ...] | None = None
    min_rating: int | None = None
    max_rating: int | None = None

    @property
    def shape(self) -> "ReviewQueryShape":
        """The sort order, and which filters are set."""
        return ReviewQueryShape(self.sort, *(getattr(self, name) is not None for name in ReviewQueryShape._fields[1:]))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the statement."""
        return {name: getattr(self, name) for name in ReviewQueryShape._fields[1:]}


class ReviewQueryShape(NamedTuple):
    """Everything that the SQL of a list of reviews depends on."""

    sort: ReviewSort
    book_id: bool
    user_id: bool
    ratings: bool
    min_rating: bool
    max_rating: bool


SORTS: dict[ReviewSort, Sort] = {
    ReviewSort.NEWEST: Sort(_review.created_at.expression, descending=True),
    ReviewSort.HIGHEST_RATED: Sort(_review.rating.expression, descending=True),
    ReviewSort.LOWEST_RATED: Sort(_review.rating.expression, descending=False),
}
KEY_TYPES: dict[ReviewSort, type] = {
    ReviewSort.NEWEST: dt.datetime,
    ReviewSort.HIGHEST_RATED: int,
    ReviewSort.LOWEST_RATED: int,
}
"""The types of the sort keys, to parse the key in a cursor."""


def _build_conditions(shape: ReviewQueryShape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_is_not_deleted]
    if shape.book_id:
        conditions.append(_review.book_id == bindparam("book_id", type_=Uuid()))
    if shape.user_id:
        conditions.append(_review.user_id == bindparam("user_id", type_=Uuid()))
    if shape.ratings:
        conditions.append(_review.rating == any_(bindparam("ratings", type_=ARRAY(Integer()))))
    if shape.min_rating:
        conditions.append(_review.rating >= bindparam("min_rating", type_=Integer()))
    if shape.max_rating:
        conditions.append(_review.rating <= bindparam("max_rating", type_=Integer()))
    return conditions


@lru_cache(maxsize=500)
def _build_page_query(
    shape: ReviewQueryShape, page: PageShape, projection: ReviewProjection
) -> Query[KeyedRow[ReviewWithUser]]:
    sort = SORTS[shape.sort]
    inner_columns = dict.fromkeys([*projection.own_columns, *(["user_id"] if projection.user else [])])
    statement: Select[Any] = paginate(
        select(sort.key.label("sort_key"), _review.id, *get_columns(_review, list(inner_columns))).where(
            *_build_conditions(shape)
        ),
        sort,
        _review.id.expression,
        page,
    )
    if projection.user:
        reviews = statement.subquery("page")
        author = (
            select(*get_columns(tables.User, projection.user))
            .where(tables.User.id == reviews.c.user_id)
            .offset(OPTIMIZATION_FENCE)
            .lateral("author")
        )
        order = order_by(reviews.c.sort_key, reviews.c.id, sort, page)
        selected_columns = (reviews.c.sort_key, reviews.c.id, *(reviews.c[name] for name in projection.own_columns))
        statement = select(*selected_columns, *author.c).join_from(reviews, author, true()).order_by(*order)
    nested_rows = [NestedRow("user", UserRow, projection.user, is_required=True)] if projection.user else []
    return Query(
        statement,
        make_row_factory(ReviewWithUser, ("id", *projection.own_columns), nested_rows, has_sort_key=True),
        needs_custom_plan=page.needs_custom_plan,
    )


@lru_cache(maxsize=100)
def _build_count_query(shape: ReviewQueryShape) -> Query[int]:
    return build_count_query(_review.id.expression, _build_conditions(shape))


async def list_reviews(
    db: ReadSession, review_query: ReviewQuery, page: PageRequest, projection: ReviewProjection = ALL_COLUMNS
) -> PageResult[ReviewWithUser]:
    """Return a page of the reviews."""
    return await fetch_page(
        db, _build_page_query(review_query.shape, page.shape, projection), page, **review_query.parameters
    )


async def count_reviews(db: ReadSession, review_query: ReviewQuery) -> int:
    """Count the reviews up to `COUNT_LIMIT`."""
    return await db.first(_build_count_query(review_query.shape), **review_query.parameters) or 0


# ── Writes ────────────────────────────────────────────────────────────────────────────────


_ADD = Command(
    upsert(_review)
    .on_conflict_do_nothing(index_elements=["user_id", "book_id"], index_where=_is_not_deleted)
    .returning(_review.id)
)
_UPDATE = Command(update(_review).where(_review.id == bindparam("review", type_=Uuid())).values(updated_at=func.now()))
_DELETE = Command(update(_review).where(_review.id == any_(_ids)).values(deleted_at=func.now()))


async def add_review(
    tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, rating: int, text: str | None
) -> uuid.UUID | None:
    """Add a review and return its id, or `None` when the user has a review of the book.

    Waits for a concurrent transaction that is adding the same.
    """
    review_id: uuid.UUID | None = await tx.scalar(_ADD, user_id=user_id, book_id=book_id, rating=rating, text=text)
    return review_id


async def update_review(tx: Transaction, review_id: uuid.UUID, **changes: Unpack[ReviewChanges]) -> None:
    """Change some columns of a review."""
    await tx.execute(_UPDATE, review=review_id, **changes)


async def delete_reviews(tx: Transaction, review_ids: Iterable[uuid.UUID]) -> None:
    """Mark reviews as deleted."""
    await tx.execute(_DELETE, ids=list(review_ids))


_changes = (
    func.unnest(
        bindparam("ids", type_=ARRAY(Uuid())),
        *(bindparam(f"change_{name}", type_=ARRAY(Integer())) for name in tables.STAR_COLUMNS),
    )
    .table_valued(column("book_id", Uuid()), *(column(name, Integer()) for name in tables.STAR_COLUMNS))
    .render_derived(name="changes")
)
_locked = select(_rating.book_id).where(_rating.book_id == any_(_ids)).order_by(_rating.book_id).with_for_update().cte()
_ADJUST_RATINGS = Command(
    update(_rating)
    .where(_rating.book_id == _locked.c.book_id, _rating.book_id == _changes.c.book_id)
    .values({name: getattr(_rating, name) + _changes.c[name] for name in tables.STAR_COLUMNS})
)


async def adjust_ratings(tx: Transaction, changes: Mapping[uuid.UUID, Sequence[int]]) -> None:
    """Add to the number of reviews with one to five stars of each book.

    Locks the rows of `book_ratings` by ascending book id.
    """
    columns = zip(*changes.values(), strict=True)
    parameters_by_star = {
        f"change_{name}": list(numbers) for name, numbers in zip(tables.STAR_COLUMNS, columns, strict=True)
    }
    await tx.execute(_ADJUST_RATINGS, ids=list(changes), **parameters_by_star)
