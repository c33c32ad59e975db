"""What is read together with books: their authors, genre and ratings, in the statement that reads the books."""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, literal_column, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.selectable import LateralFromClause, Subquery

from persistence import models
from persistence.catalog import AUTHOR, BOOK, GENRE, Author, Book, Genre
from persistence.database import Reading
from persistence.query import Query
from persistence.reviews import RATING, BookRating

BOOK_COLUMNS = len(Book.__slots__)


class Along(NamedTuple):
    """Which of them."""

    authors: bool = False
    genre: bool = False
    rating: bool = False


ALONE = Along()


@dataclass(slots=True)
class Accompanied:
    """A book, and what was asked along with it; the rest is `None`."""

    book: Book
    authors: list[Author] | None = None
    genre: Genre | None = None
    rating: BookRating | None = None


# Fenced by OFFSET 0: each is looked up for each book of a page, however many books the planner expects there.
_fence: ColumnElement[int] = literal_column("0")


def _authors(page: Subquery) -> LateralFromClause:
    title_page = models.BookAuthor
    columns = [func.array_agg(aggregate_order_by(column, title_page.position)).label(column.key) for column in AUTHOR]
    return (
        select(*columns)
        .join_from(title_page, models.Author, models.Author.id == title_page.author_id)
        .where(title_page.book_id == page.c.id)
        .lateral("writers")
    )


def _genre(page: Subquery) -> LateralFromClause:
    return select(*GENRE).where(models.Genre.id == page.c.genre_id).offset(_fence).lateral("shelf")


def _rating(page: Subquery) -> LateralFromClause:
    return select(*RATING).where(models.BookRating.book_id == page.c.id).offset(_fence).lateral("stars")


def accompanied(statement: Select[Any], along: Along) -> Select[Any]:
    """A statement whose last columns are books, with the columns of their companions after them. The order is for the caller to say."""
    page = statement.subquery("page")
    whole = select(*page.c).select_from(page)
    for wanted, companion in zip(along, (_authors, _genre, _rating), strict=True):
        if wanted:
            lateral = companion(page)
            whole = whole.add_columns(*lateral.c).join(lateral, true(), isouter=True)
    return whole


class BookKey(StrEnum):
    """What one book can be looked up by."""

    ID = "id"
    SLUG = "slug"
    ISBN = "isbn"


@cache
def _book_query(key: BookKey, along: Along) -> Query[Accompanied]:
    column = getattr(models.Book, key)
    statement: Select[Any] = select(*BOOK).where(column == bindparam("value", type_=column.type))
    return Query(accompanied(statement, along), unpacking(along, before=0))


async def find_accompanied(reading: Reading, key: BookKey, value: Any, along: Along) -> Accompanied | None:
    return await reading.first(_book_query(key, along), value=value)


def unpacking(along: Along, before: int) -> Callable[..., Accompanied]:
    """Makes rows of the columns; `before` of them come before the book's."""
    first = before + BOOK_COLUMNS
    genre_at = first + len(AUTHOR) * along.authors
    rating_at = genre_at + len(GENRE) * along.genre

    def unpack(*columns: Any) -> Accompanied:
        row = Accompanied(Book(*columns[before:first]))
        if along.authors:
            row.authors = list(map(Author, *columns[first:genre_at])) if columns[first] else []
        if along.genre and columns[genre_at]:
            row.genre = Genre(*columns[genre_at:rating_at])
        if along.rating and columns[rating_at]:
            row.rating = BookRating(*columns[rating_at:])
        return row

    return unpack
