"""What has to be read of books and reviews for what is asked of them, where the executor tells what that is."""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from graph.context import Info
from graph.engine import ANYTHING, NOTHING, Asked
from graph.questions import AUTHORS, GENRE, RATING, USER, Question
from persistence.accounts import User
from persistence.catalog import Author, Book, Genre
from persistence.companions import Columns
from persistence.parts import Names, names_of
from persistence.reviews import BookRating, Review, ReviewColumns


def book_columns(info: Info) -> Columns:
    return _book_columns(_asked(info, "Book"))


def review_columns(info: Info) -> ReviewColumns:
    return _review_columns(_asked(info, "Review"))


def _asked(info: Info, kind: str) -> Asked:
    asked = getattr(info, "asked", None)
    return ANYTHING if asked is None else asked.get(kind, NOTHING)


@lru_cache(maxsize=1000)
def _book_columns(asked: Asked) -> Columns:
    companions = ((AUTHORS, Author), (GENRE, Genre), (RATING, BookRating))
    own = _names(Book, asked, [question for question, _ in companions])
    return Columns(own, *(_along(row, asked.loaded.get(question)) for question, row in companions))


@lru_cache(maxsize=1000)
def _review_columns(asked: Asked) -> ReviewColumns:
    return ReviewColumns(_names(Review, asked, [USER]), _along(User, asked.loaded.get(USER)))


def _names(row: Any, asked: Asked, along: Collection[Question[Any, Any]] = ()) -> Names:
    if asked.attributes is None:
        return names_of(row, None)
    keys = (question.reads for question in asked.loaded if question not in along)
    return names_of(row, asked.attributes.union(*keys))


def _along(row: Any, asked: Asked | None) -> Names | None:
    return None if asked is None else _names(row, asked) or ("id",)
