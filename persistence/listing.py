"""Lists of books: search, filters and sorts. One statement for each shape of list, compiled once."""

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

from persistence.companions import WHOLE, Accompanied, Columns, accompanied, accompanied_rows, read
from persistence.database import Reading
from persistence.models import Book as books
from persistence.models import BookAuthor as book_authors
from persistence.models import BookRating as ratings
from persistence.models import BookSales as sales
from persistence.models import Genre as genres
from persistence.models import Prebooking as prebookings
from persistence.pages import (
    COUNT_LIMIT,
    Item,
    Page,
    PageShape,
    Slice,
    Sort,
    ordered,
    paged,
    take,
)
from persistence.prebookings import PrebookingStatus
from persistence.query import Query
from persistence.relevance import BY_RANK, GUESSED_LIMIT, matching, may_be_ranked, misspelt, ranked, was_ranked

GUESSED_WORDS = 4


class BookSort(StrEnum):
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


class StockroomSort(StrEnum):
    """Orders that only the stockroom asks for."""

    SCARCEST = "SCARCEST"


class Match(StrEnum):
    """How a search looks for its words."""

    WORDS = "WORDS"
    SPELLING = "SPELLING"


@dataclass(frozen=True, slots=True)
class BookList:
    """Which books, in which order. What is `None` does not narrow."""

    sort: BookSort | StockroomSort = BookSort.NEWEST
    search: str | None = None
    match: Match = Match.WORDS
    isbn: str | None = None
    genre_slugs: tuple[str, ...] | None = None
    author: str | None = None
    formats: tuple[str, ...] | None = None
    price_min: decimal.Decimal | None = None
    price_max: decimal.Decimal | None = None
    min_rating: decimal.Decimal | None = None
    most_copies: int | None = None
    in_stock: bool | None = None
    genre_id: uuid.UUID | None = None
    author_id: uuid.UUID | None = None

    @property
    def narrowed(self) -> bool:
        return self.in_stock is not None or any(self.shape[2:])

    @property
    def misspelt(self) -> list[str]:
        """The words to look for among misspelt ones; short ones have too few trigrams to tell."""
        return [word for word in (self.search or "").split() if len(word) > 2][:GUESSED_WORDS]

    @property
    def shape(self) -> "ListShape":
        words = len(self.misspelt) if self.match is Match.SPELLING else 0
        return ListShape(
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
            self.most_copies is not None,
            self.in_stock,
            self.genre_id is not None,
            self.author_id is not None,
        )

    @property
    def parameters(self) -> dict[str, Any]:
        return {
            "search": self.search,
            "isbn": self.isbn,
            "genre_slugs": self.genre_slugs,
            "author": self.author,
            "formats": self.formats,
            "price_min": self.price_min,
            "price_max": self.price_max,
            "min_rating": self.min_rating,
            "most_copies": self.most_copies,
            "genre_id": self.genre_id,
            "author_id": self.author_id,
            **{f"word_{i}": word for i, word in enumerate(self.misspelt)},
        }


class ListShape(NamedTuple):
    """All of a list that its SQL depends on."""

    sort: BookSort | StockroomSort
    misspelt_words: int
    search: bool
    isbn: bool
    genre_slugs: bool
    author: bool
    formats: bool
    price_min: bool
    price_max: bool
    min_rating: bool
    most_copies: bool
    in_stock: bool | None
    genre_id: bool
    author_id: bool

    @property
    def skewed(self) -> bool:
        """Whether the values decide which index is the best."""
        return any(self[1:-2])

    @property
    def ranked(self) -> bool:
        return self.sort is BookSort.RELEVANCE and self.search


FOREVER = literal_column("'infinity'::date", Date())
NEVER = literal_column("'-infinity'::date", Date())

_waiting = (
    select(prebookings.book_id, func.count().label("count"))
    .where(prebookings.status == PrebookingStatus.WAITING)
    .group_by(prebookings.book_id)
    .subquery("waiting")
)
_scarcity = books.stock_quantity * literal(10**9, BigInteger()) - func.coalesce(_waiting.c.count, 0)

SORTS: dict[BookSort | StockroomSort, Sort] = {
    BookSort.NEWEST: Sort(books.added_at.expression, descending=True),
    BookSort.BESTSELLING: Sort(sales.copies.expression, descending=True),
    BookSort.TOP_RATED: Sort(ratings.average.expression, descending=True),
    StockroomSort.SCARCEST: Sort(cast(_scarcity, Numeric), descending=False),
    BookSort.TITLE_ASC: Sort(books.sort_title.expression, descending=False),
    BookSort.TITLE_DESC: Sort(books.sort_title.expression, descending=True),
    BookSort.PRICE_ASC: Sort(books.price.expression, descending=False),
    BookSort.PRICE_DESC: Sort(books.price.expression, descending=True),
    BookSort.PUBLISHED_ASC: Sort(func.coalesce(books.published_on, FOREVER), descending=False),
    BookSort.PUBLISHED_DESC: Sort(func.coalesce(books.published_on, NEVER), descending=True),
}

FIGURES: dict[BookSort | StockroomSort, type[sales | ratings]] = {
    BookSort.BESTSELLING: sales,
    BookSort.TOP_RATED: ratings,
}
"""The table that an order's key is kept in, where that is not the books'."""

KEY_TYPES: dict[BookSort | StockroomSort, type] = {
    BookSort.RELEVANCE: float,
    BookSort.NEWEST: dt.datetime,
    BookSort.BESTSELLING: int,
    BookSort.TOP_RATED: decimal.Decimal,
    StockroomSort.SCARCEST: decimal.Decimal,
    BookSort.TITLE_ASC: str,
    BookSort.TITLE_DESC: str,
    BookSort.PRICE_ASC: decimal.Decimal,
    BookSort.PRICE_DESC: decimal.Decimal,
    BookSort.PUBLISHED_ASC: dt.date,
    BookSort.PUBLISHED_DESC: dt.date,
}
"""What a position in a list of this order is told by."""


def _bound(name: str, type_: Any) -> ColumnElement[Any]:
    return bindparam(name, type_=type_)


def _containing(name: str) -> ColumnElement[str]:
    """A LIKE pattern for the folded text anywhere; its own wildcards are taken literally."""
    pattern: ColumnElement[str] = func.fold(_bound(name, String()))
    for character in ("\\", "%", "_"):
        pattern = func.replace(
            pattern,
            literal_column(f"'{character}'"),
            literal_column(f"'\\{character}'"),
        )
    return literal_column("'%'").concat(pattern).concat(literal_column("'%'"))


def conditions(shape: ListShape) -> list[ColumnElement[bool]]:
    wanted: list[ColumnElement[bool]] = []
    if shape.misspelt_words:
        wanted += [word.bool_op("<%")(books.spelling) for word in misspelt(shape.misspelt_words)]
    elif shape.search:
        wanted.append(books.search.bool_op("@@")(matching()))
    if shape.isbn:
        wanted.append(books.isbn == _bound("isbn", String()))
    if shape.genre_slugs:
        shelves = select(genres.id).where(genres.slug == any_(_bound("genre_slugs", ARRAY(String()))))
        wanted.append(books.genre_id == any_(func.array(shelves.scalar_subquery())))
    if shape.author:
        wanted.append(books.author_key.like(_containing("author")))
    if shape.formats:
        wanted.append(books.format == any_(_bound("formats", ARRAY(String()))))
    if shape.price_min:
        wanted.append(books.price >= _bound("price_min", Numeric()))
    if shape.price_max:
        wanted.append(books.price <= _bound("price_max", Numeric()))
    if shape.min_rating:
        good = select(ratings.book_id).where(ratings.average >= _bound("min_rating", Numeric()))
        wanted.append(books.id.in_(good))
    if shape.most_copies:
        wanted.append(books.stock_quantity <= _bound("most_copies", Integer()))
    if shape.in_stock is not None:
        wanted.append(books.stock_quantity > 0 if shape.in_stock else books.stock_quantity == 0)
    if shape.genre_id:
        wanted.append(books.genre_id == _bound("genre_id", Uuid()))
    if shape.author_id:
        written = select(book_authors.book_id).where(book_authors.author_id == _bound("author_id", Uuid()))
        wanted.append(books.id.in_(written))
    return wanted


@lru_cache(maxsize=1000)
def _page_query(shape: ListShape, page: PageShape, columns: Columns, *, whole: bool = True) -> Query[Item[Accompanied]]:
    """Of what is ranked, the `whole` list or the ranked part of it."""
    sort = BY_RANK if shape.ranked else SORTS[BookSort.NEWEST if shape.sort is BookSort.RELEVANCE else shape.sort]
    if shape.ranked:
        inner = ranked(conditions(shape), shape.misspelt_words, page, columns, whole=whole)
    else:
        inner = _sorted(shape, page, sort, columns)
    statement = accompanied(inner, columns)
    if statement is not inner:
        key, id_, *_ = statement.selected_columns
        statement = statement.order_by(*ordered(key, id_, sort, page))
    return Query(
        statement,
        accompanied_rows(columns, keyed=True),
        skewed=shape.ranked or shape.skewed or page.skewed,
    )


def _sorted(shape: ListShape, page: PageShape, sort: Sort, columns: Columns) -> Select[Any]:
    figures = FIGURES.get(shape.sort)
    id_ = figures.book_id if figures else books.id  # the one that stands beside the key in its index
    statement = (
        select(sort.key.label("sort_key"), id_.label("id"), *read(columns)).select_from(books).where(*conditions(shape))
    )
    if figures:
        statement = statement.join(figures, figures.book_id == books.id)
    if shape.sort is StockroomSort.SCARCEST:
        statement = statement.outerjoin(_waiting, _waiting.c.book_id == books.id)
    return paged(statement, sort, id_.expression, page)


@lru_cache(maxsize=1000)
def _count_query(shape: ListShape, narrowed: bool) -> Query[int]:
    if not narrowed:
        return Query(select(func.count()).select_from(books), int)
    limit = GUESSED_LIMIT if shape.misspelt_words and shape.ranked else COUNT_LIMIT
    some: Select[Any] = (
        select(literal_column("1")).select_from(books).where(*conditions(shape)).limit(literal_column(str(limit)))
    )
    return Query(select(func.count()).select_from(some.subquery()), int, skewed=shape.skewed)


_ANY_MATCH: Query[int] = Query(
    select(
        select(books.id).where(books.search.bool_op("@@")(matching())).limit(literal_column("1")).exists().cast(Integer)
    ),
    int,
    skewed=True,
)


async def list_books(reading: Reading, wanted: BookList, page: Page, columns: Columns = WHOLE) -> Slice[Accompanied]:
    shape = wanted.shape
    if shape.ranked and not shape.misspelt_words and may_be_ranked(page):
        query = _page_query(shape, page.shape, columns, whole=False)
        found = await take(reading, query, page, **wanted.parameters)
        if was_ranked(page, found):
            return found
    return await take(reading, _page_query(shape, page.shape, columns), page, **wanted.parameters)


async def count_books(reading: Reading, wanted: BookList) -> int:
    """Exact for the whole catalogue, and up to `COUNT_LIMIT` for a part of it."""
    return await reading.first(_count_query(wanted.shape, wanted.narrowed), **wanted.parameters) or 0


async def any_book_has(reading: Reading, search: str) -> bool:
    """Whether the words of a search lead anywhere in the catalogue."""
    found = await reading.first(_ANY_MATCH, search=search)
    return found == 1
