"""Books with what is asked of them, read in one statement where the executor tells what that is."""

from collections.abc import Sequence

from graph.context import Info
from graph.questions import AUTHORS, GENRE, RATING
from persistence.catalog import Book
from persistence.companions import Accompanied, Along
from persistence.pages import Slice


def along_with_books(info: Info) -> Along:
    return Along(AUTHORS.is_asked(info), GENRE.is_asked(info), RATING.is_asked(info))


def unaccompanied(info: Info, rows: Sequence[Accompanied], along: Along) -> list[Book]:
    """The books alone; what came along is remembered for the fields that ask."""
    if along.authors:
        AUTHORS.came_along(info, {row.book.id: row.authors or [] for row in rows})
    if along.genre:
        GENRE.came_along(info, {row.genre.id: row.genre for row in rows if row.genre})
    if along.rating:
        RATING.came_along(info, {row.book.id: row.rating for row in rows})
    return [row.book for row in rows]


def books_alone(info: Info, slice_: Slice[Accompanied], along: Along) -> Slice[Book]:
    books = unaccompanied(info, [row for _, row in slice_.items], along)
    return Slice(
        [(position, book) for (position, _), book in zip(slice_.items, books, strict=True)],
        slice_.has_next,
        slice_.has_previous,
    )
