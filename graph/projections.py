"""Computes which columns and relations of books and reviews a selection needs.

The executor provides the selection as a lookahead; without one, everything is read.
"""

from collections.abc import Collection
from functools import lru_cache
from typing import Any

from graph.context import Info
from graph.executor import ALL_ATTRIBUTES, NO_ATTRIBUTES, Lookahead
from graph.kit.batch_fields import BatchLoader
from graph.loaders import AUTHORS, GENRE, RATING, USER
from persistence.accounts import UserRow
from persistence.browse.book_projection import BookProjection
from persistence.catalog import AuthorRow, BookRow, GenreRow
from persistence.postgres.row_factory import ColumnNames, select_column_names
from persistence.reviews import BookRatingRow, ReviewProjection, ReviewRow


def book_projection(info: Info) -> BookProjection:
    """Return what the field's selection needs of books."""
    return _book_projection(_get_lookahead(info, "Book"))


def review_projection(info: Info) -> ReviewProjection:
    """Return what the field's selection needs of reviews."""
    return _review_projection(_get_lookahead(info, "Review"))


def _get_lookahead(info: Info, type_name: str) -> Lookahead:
    lookahead = getattr(info, "lookahead", None)
    return ALL_ATTRIBUTES if lookahead is None else lookahead.get(type_name, NO_ATTRIBUTES)


@lru_cache(maxsize=1000)
def _book_projection(lookahead: Lookahead) -> BookProjection:
    relations = ((AUTHORS, AuthorRow), (GENRE, GenreRow), (RATING, BookRatingRow))
    own_columns = _select_columns(BookRow, lookahead, [loader for loader, _ in relations])
    return BookProjection(
        own_columns, *(_select_joined_columns(row, lookahead.by_loader.get(loader)) for loader, row in relations)
    )


@lru_cache(maxsize=1000)
def _review_projection(lookahead: Lookahead) -> ReviewProjection:
    return ReviewProjection(
        _select_columns(ReviewRow, lookahead, [USER]), _select_joined_columns(UserRow, lookahead.by_loader.get(USER))
    )


def _select_columns(row: Any, lookahead: Lookahead, joined: Collection[BatchLoader[Any, Any]] = ()) -> ColumnNames:
    if lookahead.attributes is None:
        return select_column_names(row, None)
    loader_keys = (loader.requires for loader in lookahead.by_loader if loader not in joined)
    return select_column_names(row, lookahead.attributes.union(*loader_keys))


def _select_joined_columns(row: Any, lookahead: Lookahead | None) -> ColumnNames | None:
    return None if lookahead is None else _select_columns(row, lookahead) or ("id",)
