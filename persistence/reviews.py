"""Reviews, and each book's ratings that they add up to."""

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

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
from persistence.postgres.columns import ColumnNames, exclude_id, get_columns
from persistence.postgres.database import ReadSession, Transaction
from persistence.postgres.keyset import (
    COUNT_LIMIT,
    KeyedRow,
    PageRequest,
    PageResult,
    PageShape,
    Sort,
    fetch_page,
    order_by,
    paginate,
)
from persistence.postgres.pairs import PAIRS, UserBookPair, build_pair_parameters, matches_pair
from persistence.postgres.row_factory import NestedRow, make_row_factory
from persistence.postgres.statements import OPTIMIZATION_FENCE, Command, Query


class ReviewSort(StrEnum):
    NEWEST = "NEWEST"
    HIGHEST_RATED = "HIGHEST_RATED"
    LOWEST_RATED = "LOWEST_RATED"


@dataclass(slots=True)
class ReviewRow:
    id: uuid.UUID
    book_id: uuid.UUID
    user_id: uuid.UUID
    rating: int
    text: str | None
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def user_book_pair(self) -> UserBookPair:
        return self.user_id, self.book_id


class ReviewProjection(NamedTuple):
    """Those that are read of reviews, and of who wrote them, who stays behind where it is `None`."""

    review: ColumnNames = ReviewRow.__slots__
    user: ColumnNames | None = None

    @property
    def own_columns(self) -> ColumnNames:
        return exclude_id(self.review)


class ReviewWithUser(ReviewRow):
    """A review with who wrote it, where that was asked for."""

    __slots__ = ("user",)
    user: UserRow | None


@dataclass(slots=True)
class BookRatingRow:
    """How many readers gave each number of stars; `average` to one decimal, half up, and 0 while there are none."""

    id: uuid.UUID
    one: int
    two: int
    three: int
    four: int
    five: int
    count: int
    average: float


ALL_COLUMNS = ReviewProjection()

_review = tables.Review
REVIEW_COLUMNS = tuple(getattr(_review, name) for name in ReviewRow.__slots__)
_rating = tables.BookRating


def select_rating_columns(column_names: ColumnNames) -> list[Any]:
    """Of ratings, with the average as what it is shown as."""
    overrides = {"average": cast(_rating.average, Double).label("average")}
    return [overrides.get(column.key, column) for column in get_columns(_rating, column_names)]


_is_not_deleted = _review.deleted_at.is_(None)
_id = bindparam("id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))
_BY_ID = Query(select(*REVIEW_COLUMNS).where(_review.id == _id, _is_not_deleted), ReviewRow)
_LOCKED = Query(
    select(*REVIEW_COLUMNS).where(_review.id == any_(_ids), _is_not_deleted).order_by(_review.id).with_for_update(),
    ReviewRow,
)
_BY_IDS = Query(select(*REVIEW_COLUMNS).where(_review.id == any_(_ids), _is_not_deleted), ReviewRow)
_BY_PAIRS = Query(select(*REVIEW_COLUMNS).join(PAIRS, matches_pair(_review)).where(_is_not_deleted), ReviewRow)
# Fenced by OFFSET 0: each pair goes through the orders of its user, never through all sales of a book that sells well.
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
    """`None` once it has been deleted."""
    return await db.first(_BY_ID, id=review_id)


async def list_reviews_by_id(db: ReadSession, ids: Iterable[uuid.UUID]) -> list[ReviewRow]:
    return await db.all(_BY_IDS, ids=list(ids))


async def list_reviews_by_pair(db: ReadSession | Transaction, pairs: Sequence[UserBookPair]) -> list[ReviewRow]:
    """The living review of each user and book that has one."""
    return await db.all(_BY_PAIRS, **build_pair_parameters(pairs))


async def list_purchased_pairs(db: ReadSession | Transaction, pairs: Sequence[UserBookPair]) -> list[UserBookPair]:
    """Those of the pairs where the user has a confirmed or shipped order with the book."""
    return await db.all(_PURCHASED_PAIRS, **build_pair_parameters(pairs))


async def list_ratings(db: ReadSession, book_ids: Iterable[uuid.UUID]) -> list[BookRatingRow]:
    return await db.all(_RATINGS, ids=list(book_ids))


@dataclass(frozen=True, slots=True)
class ReviewQuery:
    """Which reviews, in which order. What is `None` does not narrow."""

    sort: ReviewSort = ReviewSort.NEWEST
    book_id: uuid.UUID | None = None
    user_id: uuid.UUID | None = None
    ratings: tuple[int, ...] | None = None
    min_rating: int | None = None
    max_rating: int | None = None

    @property
    def shape(self) -> "ReviewQueryShape":
        return ReviewQueryShape(self.sort, *(getattr(self, name) is not None for name in ReviewQueryShape._fields[1:]))

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ReviewQueryShape._fields[1:]}


class ReviewQueryShape(NamedTuple):
    """All of a list that its SQL depends on."""

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
"""What a position in a list of this order is told by."""


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
            .lateral("reader")
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
    limited = select(_review.id).where(*_build_conditions(shape)).limit(COUNT_LIMIT).subquery()
    return Query(select(func.count()).select_from(limited), int)


async def list_reviews(
    db: ReadSession, review_query: ReviewQuery, page: PageRequest, projection: ReviewProjection = ALL_COLUMNS
) -> PageResult[ReviewWithUser]:
    return await fetch_page(
        db, _build_page_query(review_query.shape, page.shape, projection), page, **review_query.parameters
    )


async def count_reviews(db: ReadSession, review_query: ReviewQuery) -> int:
    """Up to `COUNT_LIMIT`."""
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
    """`None` when the user has a living review of the book; waits for one that is being written."""
    review_id: uuid.UUID | None = await tx.scalar(_ADD, user_id=user_id, book_id=book_id, rating=rating, text=text)
    return review_id


async def lock_reviews(tx: Transaction, review_ids: Iterable[uuid.UUID]) -> list[ReviewRow]:
    """The living among them, locked in ascending id order."""
    return await tx.all(_LOCKED, ids=list(review_ids))


async def update_review(tx: Transaction, review_id: uuid.UUID, **details: Any) -> None:
    await tx.execute(_UPDATE, review=review_id, **details)


async def delete_reviews(tx: Transaction, review_ids: Iterable[uuid.UUID]) -> None:
    await tx.execute(_DELETE, ids=list(review_ids))


_star_columns = tuple(getattr(_rating, name) for name in tables.STAR_COLUMNS)
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
    """Adds to the number of readers who gave one to five stars, book by book in ascending id order."""
    columns = zip(*changes.values(), strict=True)
    parameters_by_star = {
        f"change_{name}": list(numbers) for name, numbers in zip(tables.STAR_COLUMNS, columns, strict=True)
    }
    await tx.execute(_ADJUST_RATINGS, ids=list(changes), **parameters_by_star)


_star_counts = [
    func.count().filter(_review.rating == stars, _is_not_deleted).label(name)
    for stars, name in enumerate(tables.STAR_COLUMNS, 1)
]
_DISCREPANCIES: Query[uuid.UUID] = Query(
    select(_rating.book_id)
    .outerjoin(_review, _review.book_id == _rating.book_id)
    .group_by(_rating.book_id)
    .having(func.row(*_star_columns) != func.row(*_star_counts)),
    lambda book_id: book_id,
)


async def list_discrepancies(db: ReadSession) -> list[uuid.UUID]:
    """Books whose ratings are not those of their reviews. Always empty, or something is broken."""
    return await db.all(_DISCREPANCIES)
