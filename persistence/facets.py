"""What a list of books could be narrowed to: each facet is counted as if its own filter were not set."""

import decimal
import uuid
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from sqlalchemy import Select, func, select

from persistence.database import Reading
from persistence.listing import BookList, ListShape, conditions
from persistence.models import Book as books
from persistence.query import Query


@dataclass(slots=True)
class GenreCount:
    genre_id: uuid.UUID
    count: int


@dataclass(slots=True)
class FormatCount:
    format: str
    count: int


@dataclass(slots=True)
class PriceRange:
    """`None` where the list is empty."""

    least: decimal.Decimal | None
    most: decimal.Decimal | None


def _narrowed(statement: Select[*tuple[Any, ...]], shape: ListShape) -> Select[*tuple[Any, ...]]:
    return statement.select_from(books).where(*conditions(shape))


@lru_cache(maxsize=300)
def _genres(shape: ListShape) -> Query[GenreCount]:
    statement = _narrowed(select(books.genre_id, func.count()), shape).where(books.genre_id.is_not(None))
    fullest = statement.group_by(books.genre_id).order_by(func.count().desc(), books.genre_id)
    return Query(fullest, GenreCount, skewed=shape.skewed)


@lru_cache(maxsize=300)
def _formats(shape: ListShape) -> Query[FormatCount]:
    statement = _narrowed(select(books.format, func.count()), shape).where(books.format.is_not(None))
    fullest = statement.group_by(books.format).order_by(func.count().desc(), books.format)
    return Query(fullest, FormatCount, skewed=shape.skewed)


@lru_cache(maxsize=300)
def _prices(shape: ListShape) -> Query[PriceRange]:
    return Query(
        _narrowed(select(func.min(books.price), func.max(books.price)), shape), PriceRange, skewed=shape.skewed
    )


@lru_cache(maxsize=300)
def _count(shape: ListShape) -> Query[int]:
    return Query(_narrowed(select(func.count()), shape), int, skewed=shape.skewed)


async def count_genres(reading: Reading, wanted: BookList) -> list[GenreCount]:
    """The fullest first."""
    wanted = replace(wanted, genre_slugs=None)
    return await reading.all(_genres(wanted.shape), **wanted.parameters)


async def count_formats(reading: Reading, wanted: BookList) -> list[FormatCount]:
    """The fullest first."""
    wanted = replace(wanted, formats=None)
    return await reading.all(_formats(wanted.shape), **wanted.parameters)


async def find_price_range(reading: Reading, wanted: BookList) -> PriceRange:
    wanted = replace(wanted, price_min=None, price_max=None)
    found = await reading.first(_prices(wanted.shape), **wanted.parameters)
    assert found is not None
    return found


async def count_in_stock(reading: Reading, wanted: BookList) -> int:
    wanted = replace(wanted, in_stock=True)
    return await reading.first(_count(wanted.shape), **wanted.parameters) or 0
