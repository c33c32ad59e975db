"""Books with what is asked of them: some columns, and authors, genre and ratings in the statement that reads the books."""

from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.selectable import LateralFromClause, Subquery

from persistence import models
from persistence.catalog import Author, Book, Genre
from persistence.database import Reading
from persistence.parts import Names, columns_of, without_id
from persistence.query import FENCE, Query
from persistence.reviews import BookRating, rating_columns
from persistence.unpacking import Part, unpacking


class Columns(NamedTuple):
    """Those that are read of books, and of what comes along with them, which is nothing where it is `None`.

    The id is read in any case.
    """

    book: Names = Book.__slots__
    authors: Names | None = None
    genre: Names | None = None
    rating: Names | None = None

    @property
    def own(self) -> Names:
        return without_id(self.book)

    @property
    def inner(self) -> Names:
        """What is looked at of a book itself; by its `genre_id` its genre is found."""
        return self.own if self.genre is None or "genre_id" in self.own else (*self.own, "genre_id")

    @property
    def companions(self) -> tuple[Names | None, ...]:
        return self.authors, self.genre, self.rating


WHOLE = Columns()


class Accompanied(Book):
    """A book with what was asked along with it; the rest is not there."""

    __slots__ = ("authors", "genre", "rating")
    authors: list[Author]
    genre: Genre | None
    rating: BookRating | None


def _authors(page: Subquery, names: Names) -> LateralFromClause:
    title_page = models.BookAuthor
    columns = [
        func.array_agg(aggregate_order_by(column, title_page.position)).label(column.key)
        for column in columns_of(models.Author, names)
    ]
    return (
        select(*columns)
        .join_from(title_page, models.Author, models.Author.id == title_page.author_id)
        .where(title_page.book_id == page.c.id)
        .lateral("writers")
    )


def _genre(page: Subquery, names: Names) -> LateralFromClause:
    columns = columns_of(models.Genre, names)
    return select(*columns).where(models.Genre.id == page.c.genre_id).offset(FENCE).lateral("shelf")


def _rating(page: Subquery, names: Names) -> LateralFromClause:
    return select(*rating_columns(names)).where(models.BookRating.book_id == page.c.id).offset(FENCE).lateral("stars")


def read(columns: Columns) -> list[Any]:
    """What a statement selects of books, for `accompanied` to go on with; last, and after the id."""
    return columns_of(models.Book, columns.inner)


def accompanied(statement: Select[Any], columns: Columns) -> Select[Any]:
    """A statement with the companions beside its books. The order is for the caller to say."""
    if not any(columns.companions):
        return statement
    page = statement.subquery("page")
    told = (column for column in page.c if column.key not in columns.inner or column.key in columns.own)
    whole = select(*told).select_from(page)
    for names, companion in zip(columns.companions, (_authors, _genre, _rating), strict=True):
        if names:
            lateral = companion(page, names)
            whole = whole.add_columns(*lateral.c).join(lateral, true(), isouter=True)
    return whole


def accompanied_rows(columns: Columns, *, keyed: bool = False) -> Callable[..., Any]:
    """Makes `Accompanied` books of what a statement selects."""
    parts = (
        ("authors", Author, columns.authors, True),
        ("genre", Genre, columns.genre, False),
        ("rating", BookRating, columns.rating, False),
    )
    along = [Part(attribute, row, names, many) for attribute, row, names, many in parts if names]
    return unpacking(Accompanied, ("id", *columns.own), along, keyed=keyed)


class BookKey(StrEnum):
    """What one book can be looked up by."""

    ID = "id"
    SLUG = "slug"
    ISBN = "isbn"


@lru_cache(maxsize=1000)
def _book_query(key: BookKey, columns: Columns) -> Query[Accompanied]:
    column = getattr(models.Book, key)
    found: Select[Any] = select(models.Book.id, *read(columns)).where(column == bindparam("value", type_=column.type))
    return Query(accompanied(found, columns), accompanied_rows(columns))


async def find_accompanied(reading: Reading, key: BookKey, value: Any, columns: Columns) -> Accompanied | None:
    return await reading.first(_book_query(key, columns), value=value)
