"""Lists of books: search, filters and sort orders. Each shape of list has one statement, which is compiled once."""

import datetime as dt
import decimal
import uuid
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    Date,
    Integer,
    Numeric,
    Select,
    String,
    Uuid,
    any_,
    bindparam,
    cast,
    func,
    literal,
    literal_column,
    select,
)
from sqlalchemy.dialects.postgresql import ARRAY

from persistence import tables
from persistence.browse.book_projection import (
    ALL_COLUMNS,
    BookProjection,
    BookWithRelations,
    join_relations,
    make_book_row_factory,
    select_book_columns,
)
from persistence.browse.relevance import (
    BY_RANK,
    MAX_SPELLING_MATCHES,
    build_search_query,
    fold_words,
    is_complete,
    may_be_within_ranked,
    rank_matches,
)
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
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query, build_like_pattern
from persistence.prebookings import PrebookingStatus

MAX_SPELLING_WORDS = 4


class BookSort(StrEnum):
    """The sort orders of a list of books."""

    RELEVANCE = "RELEVANCE"
    NEWEST = "NEWEST"
    BESTSELLING = "BESTSELLING"
    TOP_RATED = "TOP_RATED"
    TITLE_ASC = "TITLE_ASC"
    TITLE_DESC = "TITLE_DESC"
    PRICE_ASC = "PRICE_ASC"
    PRICE_DESC = "PRICE_DESC"
    PUBLISHED_ASC = "PUBLISHED_ASC"
    PUBLISHED_DESC = "PUBLISHED_DESC"


class AdminBookSort(StrEnum):
    """Sort orders for administrators only."""

    LOWEST_STOCK = "LOWEST_STOCK"


class MatchMode(StrEnum):
    """How a search matches its words: exactly, or with misspellings."""

    WORDS = "WORDS"
    SPELLING = "SPELLING"


@dataclass(frozen=True, slots=True)
class BookQuery:
    """The sort order and the filters of a list of books; `None` means no filter."""

    sort: BookSort | AdminBookSort = BookSort.NEWEST
    search: str | None = None
    match: MatchMode = MatchMode.WORDS
    isbn: str | None = None
    genre_slugs: tuple[str, ...] | None = None
    author: str | None = None
    formats: tuple[str, ...] | None = None
    price_min: decimal.Decimal | None = None
    price_max: decimal.Decimal | None = None
    min_rating: decimal.Decimal | None = None
    max_stock: int | None = None
    in_stock: bool | None = None
    genre_id: uuid.UUID | None = None
    author_id: uuid.UUID | None = None

    @property
    def is_filtered(self) -> bool:
        """Whether the list is only a part of the catalog."""
        return self.in_stock is not None or any(self.shape[2:])

    @property
    def spelling_words(self) -> list[str]:
        """The words that are matched by similarity; shorter words have too few trigrams."""
        return [word for word in (self.search or "").split() if len(word) > 2][:MAX_SPELLING_WORDS]

    @property
    def shape(self) -> "BookQueryShape":
        """The sort order, and which filters are set."""
        words = len(self.spelling_words) if self.match is MatchMode.SPELLING else 0
        return BookQueryShape(
            self.sort,
            words,
            self.search is not None,
            self.isbn is not None,
            self.genre_slugs is not None,
            self.author is not None,
            self.formats is not None,
            self.price_min is not None,
            self.price_max is not None,
            self.min_rating is not None,
            self.max_stock is not None,
            self.in_stock,
            self.genre_id is not None,
            self.author_id is not None,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the statement."""
        return {
            "search": self.search,
            "isbn": self.isbn,
            "genre_slugs": self.genre_slugs,
            "author": self.author,
            "formats": self.formats,
            "price_min": self.price_min,
            "price_max": self.price_max,
            "min_rating": self.min_rating,
            "max_stock": self.max_stock,
            "genre_id": self.genre_id,
            "author_id": self.author_id,
            **{f"word_{i}": word for i, word in enumerate(self.spelling_words)},
        }


class BookQueryShape(NamedTuple):
    """Everything that the SQL of a list of books depends on."""

    sort: BookSort | AdminBookSort
    spelling_word_count: int
    search: bool
    isbn: bool
    genre_slugs: bool
    author: bool
    formats: bool
    price_min: bool
    price_max: bool
    min_rating: bool
    max_stock: bool
    in_stock: bool | None
    genre_id: bool
    author_id: bool

    @property
    def needs_custom_plan(self) -> bool:
        """Whether the best plan depends on the values of the filters."""
        return any(self[1:-2])

    @property
    def is_ranked(self) -> bool:
        """Whether the list is sorted by relevance to a search."""
        return self.sort is BookSort.RELEVANCE and self.search


DATE_INFINITY = literal_column("'infinity'::date", Date())
DATE_MINUS_INFINITY = literal_column("'-infinity'::date", Date())

_waiting_counts = (
    select(tables.Prebooking.book_id, func.count().label("count"))
    .where(tables.Prebooking.status == PrebookingStatus.WAITING)
    .group_by(tables.Prebooking.book_id)
    .subquery("waiting")
)
_stock_rank = tables.Book.stock_quantity * literal(10**9, BigInteger()) - func.coalesce(_waiting_counts.c.count, 0)

SORTS: dict[BookSort | AdminBookSort, Sort] = {
    BookSort.NEWEST: Sort(tables.Book.added_at.expression, descending=True),
    BookSort.BESTSELLING: Sort(tables.BookSales.copies.expression, descending=True),
    BookSort.TOP_RATED: Sort(tables.BookRating.average.expression, descending=True),
    AdminBookSort.LOWEST_STOCK: Sort(cast(_stock_rank, Numeric), descending=False),
    BookSort.TITLE_ASC: Sort(tables.Book.sort_title.expression, descending=False),
    BookSort.TITLE_DESC: Sort(tables.Book.sort_title.expression, descending=True),
    BookSort.PRICE_ASC: Sort(tables.Book.price.expression, descending=False),
    BookSort.PRICE_DESC: Sort(tables.Book.price.expression, descending=True),
    BookSort.PUBLISHED_ASC: Sort(func.coalesce(tables.Book.published_on, DATE_INFINITY), descending=False),
    BookSort.PUBLISHED_DESC: Sort(func.coalesce(tables.Book.published_on, DATE_MINUS_INFINITY), descending=True),
}

SORT_TABLES: dict[BookSort | AdminBookSort, type[tables.BookSales | tables.BookRating]] = {
    BookSort.BESTSELLING: tables.BookSales,
    BookSort.TOP_RATED: tables.BookRating,
}
"""The tables of those sort keys that are not columns of `books`."""

KEY_TYPES: dict[BookSort | AdminBookSort, type] = {
    BookSort.RELEVANCE: float,
    BookSort.NEWEST: dt.datetime,
    BookSort.BESTSELLING: int,
    BookSort.TOP_RATED: decimal.Decimal,
    AdminBookSort.LOWEST_STOCK: decimal.Decimal,
    BookSort.TITLE_ASC: str,
    BookSort.TITLE_DESC: str,
    BookSort.PRICE_ASC: decimal.Decimal,
    BookSort.PRICE_DESC: decimal.Decimal,
    BookSort.PUBLISHED_ASC: dt.date,
    BookSort.PUBLISHED_DESC: dt.date,
}
"""The types of the sort keys, to parse the key in a cursor."""


def _bind(name: str, type_: Any) -> ColumnElement[Any]:
    return bindparam(name, type_=type_)


def build_conditions(shape: BookQueryShape) -> list[ColumnElement[bool]]:
    """Return the WHERE conditions of a list of books."""
    filters: list[ColumnElement[bool]] = []
    if shape.spelling_word_count:
        filters += [word.bool_op("<%")(tables.Book.spelling) for word in fold_words(shape.spelling_word_count)]
    elif shape.search:
        filters.append(tables.Book.search.bool_op("@@")(build_search_query()))
    if shape.isbn:
        filters.append(tables.Book.isbn == _bind("isbn", String()))
    if shape.genre_slugs:
        genre_ids = select(tables.Genre.id).where(tables.Genre.slug == any_(_bind("genre_slugs", ARRAY(String()))))
        filters.append(tables.Book.genre_id == any_(func.array(genre_ids.scalar_subquery())))
    if shape.author:
        filters.append(tables.Book.author_key.like(build_like_pattern(func.fold(_bind("author", String())))))
    if shape.formats:
        filters.append(tables.Book.format == any_(_bind("formats", ARRAY(String()))))
    if shape.price_min:
        filters.append(tables.Book.price >= _bind("price_min", Numeric()))
    if shape.price_max:
        filters.append(tables.Book.price <= _bind("price_max", Numeric()))
    if shape.min_rating:
        rated_book_ids = select(tables.BookRating.book_id).where(
            tables.BookRating.average >= _bind("min_rating", Numeric())
        )
        filters.append(tables.Book.id.in_(rated_book_ids))
    if shape.max_stock:
        filters.append(tables.Book.stock_quantity <= _bind("max_stock", Integer()))
    if shape.in_stock is not None:
        filters.append(tables.Book.stock_quantity > 0 if shape.in_stock else tables.Book.stock_quantity == 0)
    if shape.genre_id:
        filters.append(tables.Book.genre_id == _bind("genre_id", Uuid()))
    if shape.author_id:
        authored_book_ids = select(tables.BookAuthor.book_id).where(
            tables.BookAuthor.author_id == _bind("author_id", Uuid())
        )
        filters.append(tables.Book.id.in_(authored_book_ids))
    return filters


@lru_cache(maxsize=1000)
def _build_page_query(
    shape: BookQueryShape, page: PageShape, projection: BookProjection, *, include_unranked: bool = True
) -> Query[KeyedRow[BookWithRelations]]:
    """Build the query for a page; without `include_unranked`, a ranked list ends after its ranked matches."""
    sort = BY_RANK if shape.is_ranked else SORTS[BookSort.NEWEST if shape.sort is BookSort.RELEVANCE else shape.sort]
    if shape.is_ranked:
        inner = rank_matches(
            build_conditions(shape), shape.spelling_word_count, page, projection, include_unranked=include_unranked
        )
    else:
        inner = _build_sorted_select(shape, page, sort, projection)
    statement = join_relations(inner, projection)
    if statement is not inner:
        key, id_, *_ = statement.selected_columns
        statement = statement.order_by(*order_by(key, id_, sort, page))
    return Query(
        statement,
        make_book_row_factory(projection, has_sort_key=True),
        needs_custom_plan=shape.is_ranked or shape.needs_custom_plan or page.needs_custom_plan,
    )


def _build_sorted_select(shape: BookQueryShape, page: PageShape, sort: Sort, projection: BookProjection) -> Select[Any]:
    sort_table = SORT_TABLES.get(shape.sort)
    id_ = sort_table.book_id if sort_table else tables.Book.id  # the id in the index of the sort key
    statement = (
        select(sort.key.label("sort_key"), id_.label("id"), *select_book_columns(projection))
        .select_from(tables.Book)
        .where(*build_conditions(shape))
    )
    if sort_table:
        statement = statement.join(sort_table, sort_table.book_id == tables.Book.id)
    if shape.sort is AdminBookSort.LOWEST_STOCK:
        statement = statement.outerjoin(_waiting_counts, _waiting_counts.c.book_id == tables.Book.id)
    return paginate(statement, sort, id_.expression, page)


@lru_cache(maxsize=1000)
def _build_count_query(shape: BookQueryShape, is_filtered: bool) -> Query[int]:
    if not is_filtered:
        return Query(select(func.count()).select_from(tables.Book), int)
    limit = MAX_SPELLING_MATCHES if shape.spelling_word_count and shape.is_ranked else COUNT_LIMIT
    limited: Select[Any] = (
        select(literal_column("1"))
        .select_from(tables.Book)
        .where(*build_conditions(shape))
        .limit(literal_column(str(limit)))
    )
    return Query(select(func.count()).select_from(limited.subquery()), int, needs_custom_plan=shape.needs_custom_plan)


_ANY_MATCH: Query[int] = Query(
    select(
        select(tables.Book.id)
        .where(tables.Book.search.bool_op("@@")(build_search_query()))
        .limit(literal_column("1"))
        .exists()
        .cast(Integer)
    ),
    int,
    needs_custom_plan=True,
)


async def list_books(
    db: ReadSession, book_query: BookQuery, page: PageRequest, projection: BookProjection = ALL_COLUMNS
) -> PageResult[BookWithRelations]:
    """Return a page of the books with what the projection selects.

    A page of a ranked search is first looked for among the ranked matches alone, which is faster.
    """
    shape = book_query.shape
    if shape.is_ranked and not shape.spelling_word_count and may_be_within_ranked(page):
        query = _build_page_query(shape, page.shape, projection, include_unranked=False)
        result = await fetch_page(db, query, page, **book_query.parameters)
        if is_complete(page, result):
            return result
    return await fetch_page(db, _build_page_query(shape, page.shape, projection), page, **book_query.parameters)


async def count_books(db: ReadSession, book_query: BookQuery) -> int:
    """Count the books: the whole catalog exactly, a filtered list up to `COUNT_LIMIT`."""
    return await db.first(_build_count_query(book_query.shape, book_query.is_filtered), **book_query.parameters) or 0


async def matches_any(db: ReadSession, search: str) -> bool:
    """Return whether any book matches the words of a search."""
    has_match = await db.first(_ANY_MATCH, search=search)
    return has_match == 1
