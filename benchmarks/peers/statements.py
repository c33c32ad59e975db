"""The SQL that our server sends for each workload, taken from the functions that send it."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from persistence import accounts, cart, catalog, orders, reviews
from persistence.browse import book_projection, book_query
from persistence.browse.book_projection import BookKey, BookProjection
from persistence.browse.book_query import BookQuery, BookSort
from persistence.postgres.database import ReadSession
from persistence.postgres.keyset import PageRequest, Position
from persistence.postgres.statements import Query
from persistence.reviews import ReviewProjection, ReviewQuery

T = TypeVar("T")

NOBODY = uuid.UUID(int=0)
SOMETIME = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class _Recorder(ReadSession):
    """Notes what it is asked, and finds nothing."""

    def __init__(self) -> None:
        self.query: Query[Any] | None = None

    async def all(self, query: Query[T], **_: Any) -> list[T]:
        self.query = query
        return []

    async def first(self, query: Query[T], **_: Any) -> T | None:
        self.query = query
        return None


def _recorded(ask: Callable[[ReadSession], Awaitable[Any]]) -> Query[Any]:
    recorder = _Recorder()
    asked = ask(recorder).__await__()
    try:
        next(asked)
    except StopIteration:  # it had nothing to wait for
        assert recorder.query is not None
        return recorder.query
    raise AssertionError("a reading waits for its statement alone")


RATING = ("count", "average")
LISTED = BookProjection(("id", "title", "isbn", "price", "stock_quantity"), ("name",), ("name",), RATING)
FOUND = BookProjection(("id", "title", "price", "stock_quantity"), ("name",), None, RATING)
SHOWN = BookProjection(("id", "title", "isbn", "description", "price", "stock_quantity"), ("name",), ("name",), RATING)
REVIEWED = ReviewProjection(("id", "rating", "text", "created_at"), ("display_name",))
"""What the documents of W1, W2 and W3 ask of books and reviews, 20 and 10 of them."""


def _books(wanted: BookQuery, columns: BookProjection, page: PageRequest | None = None) -> Query[Any]:
    return _recorded(lambda reading: book_query.list_books(reading, wanted, page or PageRequest(), columns))


STATEMENTS: dict[str, Query[Any]] = {
    "newest": _books(BookQuery(), LISTED),
    "newestAfter": _books(BookQuery(), LISTED, PageRequest(after=Position(SOMETIME, NOBODY))),
    "countBooks": _recorded(lambda reading: book_query.count_books(reading, BookQuery())),
    "search": _books(BookQuery(BookSort.RELEVANCE, search="two words"), FOUND),
    "book": _recorded(lambda reading: book_projection.find_projected_book(reading, BookKey.ID, NOBODY, SHOWN)),
    "books": _recorded(lambda reading: catalog.list_books_by_id(reading, [])),
    "reviews": _recorded(
        lambda reading: reviews.list_reviews(reading, ReviewQuery(book_id=NOBODY), PageRequest(10), REVIEWED)
    ),
    "viewer": _recorded(lambda reading: accounts.find_viewer(reading, NOBODY)),
    "cartItems": _recorded(lambda reading: cart.list_cart_items(reading, [])),
    "orderItems": _recorded(lambda reading: orders.list_order_items(reading, [])),
}


@dataclass(frozen=True, slots=True)
class Exported:
    """For programs in other languages: the text, the names of its parameters in their order, and those that are fixed."""

    sql: str
    parameters: list[str]
    fixed: dict[str, Any]
    skewed: bool


class _Names(dict[str, str]):
    """Every parameter's value is its name."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return name


def exported() -> dict[str, Exported]:
    return {
        name: Exported(query.sql, cast(list[str], query.bind(_Names())), query._constants, query.needs_custom_plan)
        for name, query in STATEMENTS.items()
    }
