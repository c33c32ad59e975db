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

from persistence import models
from persistence.accounts import User
from persistence.database import Reading, Transaction
from persistence.orders import STANDS
from persistence.pages import COUNT_LIMIT, Item, Page, PageShape, Slice, Sort, ordered, paged, take
from persistence.pairs import PAIRS, Pair, paired, parameters
from persistence.parts import Names, columns_of, without_id
from persistence.query import FENCE, Command, Query
from persistence.unpacking import Part, unpacking


class ReviewSort(StrEnum):
    NEWEST = "NEWEST"
    HIGHEST_RATED = "HIGHEST_RATED"
    LOWEST_RATED = "LOWEST_RATED"


@dataclass(slots=True)
class Review:
    id: uuid.UUID
    book_id: uuid.UUID
    user_id: uuid.UUID
    rating: int
    text: str | None
    created_at: dt.datetime
    updated_at: dt.datetime

    @property
    def purchase(self) -> Pair:
        return self.user_id, self.book_id


class ReviewColumns(NamedTuple):
    """Those that are read of reviews, and of who wrote them, who stays behind where it is `None`."""

    review: Names = Review.__slots__
    user: Names | None = None

    @property
    def own(self) -> Names:
        return without_id(self.review)


class Reviewed(Review):
    """A review with who wrote it, where that was asked for."""

    __slots__ = ("user",)
    user: User | None


@dataclass(slots=True)
class BookRating:
    """How many readers gave each number of stars; `average` to one decimal, half up, and 0 while there are none."""

    id: uuid.UUID
    one: int
    two: int
    three: int
    four: int
    five: int
    count: int
    average: float


WHOLE = ReviewColumns()

_review = models.Review
REVIEW = tuple(getattr(_review, name) for name in Review.__slots__)
_rating = models.BookRating


def rating_columns(names: Names) -> list[Any]:
    """Of ratings, with the average as what it is shown as."""
    shown = {"average": cast(_rating.average, Double).label("average")}
    return [shown.get(column.key, column) for column in columns_of(_rating, names)]


_living = _review.deleted_at.is_(None)
_id = bindparam("id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))
_BY_ID = Query(select(*REVIEW).where(_review.id == _id, _living), Review)
_LOCKED = Query(select(*REVIEW).where(_review.id == any_(_ids), _living).order_by(_review.id).with_for_update(), Review)
_BY_IDS = Query(select(*REVIEW).where(_review.id == any_(_ids), _living), Review)
_BY_PAIRS = Query(select(*REVIEW).join(PAIRS, paired(_review)).where(_living), Review)
# Fenced by OFFSET 0: each pair goes through the orders of its user, never through all sales of a book that sells well.
_with_the_book = (
    select(models.OrderItem.id)
    .where(models.OrderItem.order_id == models.Order.id, models.OrderItem.book_id == PAIRS.c.book_id)
    .correlate(models.Order, PAIRS)
    .offset(FENCE)
)
_purchases = (
    select(models.Order.id)
    .where(models.Order.user_id == PAIRS.c.user_id, STANDS, _with_the_book.exists())
    .correlate(PAIRS)
    .offset(FENCE)
)
_BOUGHT: Query[Pair] = Query(
    select(PAIRS.c.user_id, PAIRS.c.book_id).where(_purchases.exists()),
    lambda user_id, book_id: (user_id, book_id),
)
_RATINGS = Query(select(*rating_columns(BookRating.__slots__)).where(_rating.book_id == any_(_ids)), BookRating)


# ── Reads ─────────────────────────────────────────────────────────────────────────────────


async def find_review(db: Reading | Transaction, review_id: uuid.UUID) -> Review | None:
    """`None` once it has been deleted."""
    return await db.first(_BY_ID, id=review_id)


async def list_reviews_by_id(reading: Reading, ids: Iterable[uuid.UUID]) -> list[Review]:
    return await reading.all(_BY_IDS, ids=list(ids))


async def list_reviews_of_pairs(db: Reading | Transaction, pairs: Sequence[Pair]) -> list[Review]:
    """The living review of each user and book that has one."""
    return await db.all(_BY_PAIRS, **parameters(pairs))


async def list_bought(db: Reading | Transaction, pairs: Sequence[Pair]) -> list[Pair]:
    """Those of the pairs where the user has a confirmed or shipped order with the book."""
    return await db.all(_BOUGHT, **parameters(pairs))


async def list_ratings(reading: Reading, book_ids: Iterable[uuid.UUID]) -> list[BookRating]:
    return await reading.all(_RATINGS, ids=list(book_ids))


@dataclass(frozen=True, slots=True)
class ReviewList:
    """Which reviews, in which order. What is `None` does not narrow."""

    sort: ReviewSort = ReviewSort.NEWEST
    book_id: uuid.UUID | None = None
    user_id: uuid.UUID | None = None
    ratings: tuple[int, ...] | None = None
    min_rating: int | None = None
    max_rating: int | None = None

    @property
    def shape(self) -> "ListShape":
        return ListShape(self.sort, *(getattr(self, name) is not None for name in ListShape._fields[1:]))

    @property
    def parameters(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in ListShape._fields[1:]}


class ListShape(NamedTuple):
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


def _conditions(shape: ListShape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_living]
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
def _page_query(shape: ListShape, page: PageShape, columns: ReviewColumns) -> Query[Item[Reviewed]]:
    sort = SORTS[shape.sort]
    inner = dict.fromkeys([*columns.own, *(["user_id"] if columns.user else [])])
    statement: Select[Any] = paged(
        select(sort.key.label("sort_key"), _review.id, *columns_of(_review, list(inner))).where(*_conditions(shape)),
        sort,
        _review.id.expression,
        page,
    )
    if columns.user:
        reviews = statement.subquery("page")
        reader = (
            select(*columns_of(models.User, columns.user))
            .where(models.User.id == reviews.c.user_id)
            .offset(FENCE)
            .lateral("reader")
        )
        order = ordered(reviews.c.sort_key, reviews.c.id, sort, page)
        told = (reviews.c.sort_key, reviews.c.id, *(reviews.c[name] for name in columns.own))
        statement = select(*told, *reader.c).join_from(reviews, reader, true()).order_by(*order)
    along = [Part("user", User, columns.user, certain=True)] if columns.user else []
    return Query(statement, unpacking(Reviewed, ("id", *columns.own), along, keyed=True), skewed=page.skewed)


@lru_cache(maxsize=100)
def _count_query(shape: ListShape) -> Query[int]:
    some = select(_review.id).where(*_conditions(shape)).limit(COUNT_LIMIT).subquery()
    return Query(select(func.count()).select_from(some), int)


async def list_reviews(
    reading: Reading, wanted: ReviewList, page: Page, columns: ReviewColumns = WHOLE
) -> Slice[Reviewed]:
    return await take(reading, _page_query(wanted.shape, page.shape, columns), page, **wanted.parameters)


async def count_reviews(reading: Reading, wanted: ReviewList) -> int:
    """Up to `COUNT_LIMIT`."""
    return await reading.first(_count_query(wanted.shape), **wanted.parameters) or 0


# ── Writes ────────────────────────────────────────────────────────────────────────────────


_ADD = Command(
    upsert(_review)
    .on_conflict_do_nothing(index_elements=["user_id", "book_id"], index_where=_living)
    .returning(_review.id)
)
_SET = Command(update(_review).where(_review.id == bindparam("review", type_=Uuid())).values(updated_at=func.now()))
_DELETE = Command(update(_review).where(_review.id == any_(_ids)).values(deleted_at=func.now()))


async def add_review(
    tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, rating: int, text: str | None
) -> uuid.UUID | None:
    """`None` when the user has a living review of the book; waits for one that is being written."""
    review_id: uuid.UUID | None = await tx.scalar(_ADD, user_id=user_id, book_id=book_id, rating=rating, text=text)
    return review_id


async def lock_reviews(tx: Transaction, review_ids: Iterable[uuid.UUID]) -> list[Review]:
    """The living among them, locked in ascending id order."""
    return await tx.all(_LOCKED, ids=list(review_ids))


async def set_review(tx: Transaction, review_id: uuid.UUID, **details: Any) -> None:
    await tx.run(_SET, review=review_id, **details)


async def delete_reviews(tx: Transaction, review_ids: Iterable[uuid.UUID]) -> None:
    await tx.run(_DELETE, ids=list(review_ids))


_stars = tuple(getattr(_rating, name) for name in models.STARS)
_changes = (
    func.unnest(
        bindparam("ids", type_=ARRAY(Uuid())),
        *(bindparam(f"change_{name}", type_=ARRAY(Integer())) for name in models.STARS),
    )
    .table_valued(column("book_id", Uuid()), *(column(name, Integer()) for name in models.STARS))
    .render_derived(name="changes")
)
_locked = select(_rating.book_id).where(_rating.book_id == any_(_ids)).order_by(_rating.book_id).with_for_update().cte()
_CHANGE_RATINGS = Command(
    update(_rating)
    .where(_rating.book_id == _locked.c.book_id, _rating.book_id == _changes.c.book_id)
    .values({name: getattr(_rating, name) + _changes.c[name] for name in models.STARS})
)


async def change_ratings(tx: Transaction, changes: Mapping[uuid.UUID, Sequence[int]]) -> None:
    """Adds to the number of readers who gave one to five stars, book by book in ascending id order."""
    columns = zip(*changes.values(), strict=True)
    told = {f"change_{name}": list(numbers) for name, numbers in zip(models.STARS, columns, strict=True)}
    await tx.run(_CHANGE_RATINGS, ids=list(changes), **told)


_counted = [
    func.count().filter(_review.rating == stars, _living).label(name) for stars, name in enumerate(models.STARS, 1)
]
_DISCREPANCIES: Query[uuid.UUID] = Query(
    select(_rating.book_id)
    .outerjoin(_review, _review.book_id == _rating.book_id)
    .group_by(_rating.book_id)
    .having(func.row(*_stars) != func.row(*_counted)),
    lambda book_id: book_id,
)


async def list_discrepancies(reading: Reading) -> list[uuid.UUID]:
    """Books whose ratings are not those of their reviews. Always empty, or something is broken."""
    return await reading.all(_DISCREPANCIES)
