"""The SQL that our server sends for each workload, recorded from the functions that send it."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from persistence import accounts, cart, catalog, orders, reviews
from persistence.browse import book_projection, book_query
from persistence.browse.book_projection import BookKey, BookProjection
from persistence.browse.book_query import BookQuery, BookSort
from persistence.postgres.keyset import PageRequest, Position
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Query
from persistence.reviews import ReviewProjection, ReviewQuery

T = TypeVar("T")

ANY_ID = uuid.UUID(int=0)
ANY_TIME = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class _Recorder(ReadSession):
    """Records the query, and returns no rows."""

    def __init__(self) -> None:
        self.query: Query[Any] | None = None

    async def all(self, query: Query[T], **_: Any) -> list[T]:
        self.query = query
        return []

    async def first(self, query: Query[T], **_: Any) -> T | None:
        self.query = query
        return None


def _record(call: Callable[[ReadSession], Awaitable[Any]]) -> Query[Any]:
    recorder = _Recorder()
    steps = call(recorder).__await__()
    try:
        next(steps)
    except StopIteration:  # it did not wait
        assert recorder.query is not None
        return recorder.query
    raise AssertionError("a read function waits for something other than its query")


RATING = ("count", "average")
LIST_COLUMNS = BookProjection(("id", "title", "isbn", "price", "stock_quantity"), ("name",), ("name",), RATING)
SEARCH_COLUMNS = BookProjection(("id", "title", "price", "stock_quantity"), ("name",), None, RATING)
DETAIL_COLUMNS = BookProjection(
    ("id", "title", "isbn", "description", "price", "stock_quantity"), ("name",), ("name",), RATING
)
REVIEW_COLUMNS = ReviewProjection(("id", "rating", "text", "created_at"), ("display_name",))
"""The columns that the documents of W1, W2 and W3 select."""


def _list_books(book_list: BookQuery, columns: BookProjection, page: PageRequest | None = None) -> Query[Any]:
    return _record(lambda reading: book_query.list_books(reading, book_list, page or PageRequest(), columns))


STATEMENTS: dict[str, Query[Any]] = {
    "newest": _list_books(BookQuery(), LIST_COLUMNS),
    "newestAfter": _list_books(BookQuery(), LIST_COLUMNS, PageRequest(after=Position(ANY_TIME, ANY_ID))),
    "countBooks": _record(lambda reading: book_query.count_books(reading, BookQuery())),
    "search": _list_books(BookQuery(BookSort.RELEVANCE, search="two words"), SEARCH_COLUMNS),
    "book": _record(lambda reading: book_projection.find_projected_book(reading, BookKey.ID, ANY_ID, DETAIL_COLUMNS)),
    "books": _record(lambda reading: catalog.list_books_by_id(reading, [])),
    "reviews": _record(
        lambda reading: reviews.list_reviews(reading, ReviewQuery(book_id=ANY_ID), PageRequest(10), REVIEW_COLUMNS)
    ),
    "viewer": _record(lambda reading: accounts.find_viewer(reading, ANY_ID)),
    "cartItems": _record(lambda reading: cart.list_cart_items(reading, [])),
    "orderItems": _record(lambda reading: orders.list_order_items(reading, [])),
}


@dataclass(frozen=True, slots=True)
class ExportedStatement:
    """A statement for programs in other languages. `parameters` has the names in their order, `fixed` the values of some."""

    sql: str
    parameters: list[str]
    fixed: dict[str, Any]
    skewed: bool


class _Names(dict[str, str]):
    """A mapping of each name to itself."""

    def __contains__(self, _: object) -> bool:
        return True

    def __missing__(self, name: str) -> str:
        return name


def export_statements() -> dict[str, ExportedStatement]:
    """Return all statements by name."""
    return {
        name: ExportedStatement(
            query.sql, cast(list[str], query.bind(_Names())), query._constants, query.needs_custom_plan
        )
        for name, query in STATEMENTS.items()
    }
