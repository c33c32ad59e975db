"""Books with only the selected columns, joined with their authors, genre and ratings in one statement."""

import uuid
from collections.abc import Callable
from enum import StrEnum
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Select, bindparam, func, select, true
from sqlalchemy.dialects.postgresql import aggregate_order_by
from sqlalchemy.sql.selectable import LateralFromClause, Subquery

from persistence import tables
from persistence.catalog import AuthorRow, BookRow, GenreRow
from persistence.postgres.read_session import ReadSession
from persistence.postgres.row_factory import ColumnNames, NestedRow, exclude_id, get_columns, make_row_factory
from persistence.postgres.statements import OPTIMIZATION_FENCE, Query
from persistence.reviews import BookRatingRow, select_rating_columns


class BookProjection(NamedTuple):
    """The columns to select of books and of their relations; `None` leaves a relation out.

    A book's id is always selected.
    """

    book: ColumnNames = BookRow.__slots__
    authors: ColumnNames | None = None
    genre: ColumnNames | None = None
    rating: ColumnNames | None = None

    @property
    def own_columns(self) -> ColumnNames:
        """The selected columns of the book except its id."""
        return exclude_id(self.book)

    @property
    def inner_columns(self) -> ColumnNames:
        """The columns that the inner statement selects of books: also `genre_id`, if the genre is joined."""
        return (
            self.own_columns
            if self.genre is None or "genre_id" in self.own_columns
            else (*self.own_columns, "genre_id")
        )

    @property
    def relations(self) -> tuple[ColumnNames | None, ...]:
        """The selected columns of authors, genre and rating, in the order of the joins."""
        return self.authors, self.genre, self.rating


ALL_COLUMNS = BookProjection()


class BookWithRelations(BookRow):
    """A book with its selected relations; the attributes of the others are unset."""

    __slots__ = ("authors", "genre", "rating")
    authors: list[AuthorRow]
    genre: GenreRow | None
    rating: BookRatingRow | None


def _join_authors(page: Subquery, column_names: ColumnNames) -> LateralFromClause:
    book_author = tables.BookAuthor
    columns = [
        func.array_agg(aggregate_order_by(column, book_author.position)).label(column.key)
        for column in get_columns(tables.Author, column_names)
    ]
    return (
        select(*columns)
        .join_from(book_author, tables.Author, tables.Author.id == book_author.author_id)
        .where(book_author.book_id == page.c.id)
        .lateral("authors")
    )


def _join_genre(page: Subquery, column_names: ColumnNames) -> LateralFromClause:
    columns = get_columns(tables.Genre, column_names)
    return select(*columns).where(tables.Genre.id == page.c.genre_id).offset(OPTIMIZATION_FENCE).lateral("genre")


def _join_rating(page: Subquery, column_names: ColumnNames) -> LateralFromClause:
    return (
        select(*select_rating_columns(column_names))
        .where(tables.BookRating.book_id == page.c.id)
        .offset(OPTIMIZATION_FENCE)
        .lateral("rating")
    )


def select_book_columns(projection: BookProjection) -> list[Any]:
    """Return the columns that a statement for `join_relations` selects of books, last and after the id."""
    return get_columns(tables.Book, projection.inner_columns)


def join_relations(statement: Select[Any], projection: BookProjection) -> Select[Any]:
    """Join the selected relations to a statement that selects books. The caller adds ORDER BY."""
    if not any(projection.relations):
        return statement
    page = statement.subquery("page")
    outer_columns = (
        column
        for column in page.c
        if column.key not in projection.inner_columns or column.key in projection.own_columns
    )
    joined = select(*outer_columns).select_from(page)
    for column_names, join_relation in zip(
        projection.relations, (_join_authors, _join_genre, _join_rating), strict=True
    ):
        if column_names:
            lateral = join_relation(page, column_names)
            joined = joined.add_columns(*lateral.c).join(lateral, true(), isouter=True)
    return joined


def make_book_row_factory(projection: BookProjection, *, has_sort_key: bool = False) -> Callable[..., Any]:
    """Return a function that makes a `BookWithRelations` from a row of the joined statement."""
    relations = (
        ("authors", AuthorRow, projection.authors, True),
        ("genre", GenreRow, projection.genre, False),
        ("rating", BookRatingRow, projection.rating, False),
    )
    nested_rows = [NestedRow(attribute, row, names, many) for attribute, row, names, many in relations if names]
    return make_row_factory(BookWithRelations, ("id", *projection.own_columns), nested_rows, has_sort_key=has_sort_key)


class BookKey(StrEnum):
    """The columns that identify one book."""

    ID = "id"
    SLUG = "slug"
    ISBN = "isbn"


@lru_cache(maxsize=1000)
def _build_book_query(key: BookKey, projection: BookProjection) -> Query[BookWithRelations]:
    column = getattr(tables.Book, key)
    books: Select[Any] = select(tables.Book.id, *select_book_columns(projection)).where(
        column == bindparam("value", type_=column.type)
    )
    return Query(join_relations(books, projection), make_book_row_factory(projection))


async def find_projected_book(
    db: ReadSession, key: BookKey, value: uuid.UUID | str, projection: BookProjection
) -> BookWithRelations | None:
    """Return one book with what the projection selects, or `None` when there is no such book."""
    return await db.first(_build_book_query(key, projection), value=value)
