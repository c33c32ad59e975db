"""Facets of a list of books; each facet ignores its own filter, so that the other choices are counted too."""

import decimal
import uuid
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, func, select

from persistence import tables
from persistence.browse.book_query import BookQuery, BookQueryShape, build_conditions
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query


@dataclass(slots=True)
class GenreCount:
    """How many books of the list are in a genre."""

    genre_id: uuid.UUID
    count: int


@dataclass(slots=True)
class FormatCount:
    """How many books of the list have a format."""

    format: str
    count: int


@dataclass(slots=True)
class PriceRange:
    """The lowest and the highest price in the list; `None` when the list is empty."""

    min_price: decimal.Decimal | None
    max_price: decimal.Decimal | None


def _filter_books(statement: Select[*tuple[Any, ...]], shape: BookQueryShape) -> Select[*tuple[Any, ...]]:
    return statement.select_from(tables.Book).where(*build_conditions(shape))


@lru_cache(maxsize=300)
def _build_genre_counts_query(shape: BookQueryShape) -> Query[GenreCount]:
    statement = _filter_books(select(tables.Book.genre_id, func.count()), shape).where(
        tables.Book.genre_id.is_not(None)
    )
    ordered = statement.group_by(tables.Book.genre_id).order_by(func.count().desc(), tables.Book.genre_id)
    return Query(ordered, GenreCount, needs_custom_plan=shape.needs_custom_plan)


@lru_cache(maxsize=300)
def _build_format_counts_query(shape: BookQueryShape) -> Query[FormatCount]:
    statement = _filter_books(select(tables.Book.format, func.count()), shape).where(tables.Book.format.is_not(None))
    ordered = statement.group_by(tables.Book.format).order_by(func.count().desc(), tables.Book.format)
    return Query(ordered, FormatCount, needs_custom_plan=shape.needs_custom_plan)


@lru_cache(maxsize=300)
def _build_price_range_query(shape: BookQueryShape) -> Query[PriceRange]:
    return Query(
        _filter_books(select(func.min(tables.Book.price), func.max(tables.Book.price)), shape),
        PriceRange,
        needs_custom_plan=shape.needs_custom_plan,
    )


@lru_cache(maxsize=300)
def _build_count_query(shape: BookQueryShape) -> Query[int]:
    return Query(_filter_books(select(func.count()), shape), int, needs_custom_plan=shape.needs_custom_plan)


async def count_genres(db: ReadSession, book_query: BookQuery) -> list[GenreCount]:
    """Count the books of each genre, the largest count first."""
    book_query = replace(book_query, genre_slugs=None)
    return await db.all(_build_genre_counts_query(book_query.shape), **book_query.parameters)


async def count_formats(db: ReadSession, book_query: BookQuery) -> list[FormatCount]:
    """Count the books of each format, the largest count first."""
    book_query = replace(book_query, formats=None)
    return await db.all(_build_format_counts_query(book_query.shape), **book_query.parameters)


async def find_price_range(db: ReadSession, book_query: BookQuery) -> PriceRange:
    """Return the price range of the list."""
    book_query = replace(book_query, price_min=None, price_max=None)
    price_range = await db.first(_build_price_range_query(book_query.shape), **book_query.parameters)
    assert price_range is not None
    return price_range


async def count_in_stock(db: ReadSession, book_query: BookQuery) -> int:
    """Count the books of the list that are in stock."""
    book_query = replace(book_query, in_stock=True)
    return await db.first(_build_count_query(book_query.shape), **book_query.parameters) or 0
