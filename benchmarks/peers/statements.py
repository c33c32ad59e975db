"""The SQL that our server sends for each workload, taken from the functions that send it."""

import datetime as dt
import uuid
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeVar, cast

from persistence import accounts, cart, catalog, companions, listing, orders, reviews
from persistence.companions import BookKey, Columns
from persistence.database import Reading
from persistence.listing import BookList, BookSort
from persistence.pages import Page, Position
from persistence.query import Query
from persistence.reviews import ReviewColumns, ReviewList

T = TypeVar("T")

NOBODY = uuid.UUID(int=0)
SOMETIME = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)


class _Recorder(Reading):
    """Notes what it is asked, and finds nothing."""

    def __init__(self) -> None:
        self.query: Query[Any] | None = None

    async def all(self, query: Query[T], **_: Any) -> list[T]:
        self.query = query
        return []

    async def first(self, query: Query[T], **_: Any) -> T | None:
        self.query = query
        return None


def _recorded(ask: Callable[[Reading], Awaitable[Any]]) -> Query[Any]:
    recorder = _Recorder()
    asked = ask(recorder).__await__()
    try:
        next(asked)
    except StopIteration:  # it had nothing to wait for
        assert recorder.query is not None
        return recorder.query
    raise AssertionError("a reading waits for its statement alone")


RATING = ("count", "average")
LISTED = Columns(("id", "title", "isbn", "price", "stock_quantity"), ("name",), ("name",), RATING)
FOUND = Columns(("id", "title", "price", "stock_quantity"), ("name",), None, RATING)
SHOWN = Columns(("id", "title", "isbn", "description", "price", "stock_quantity"), ("name",), ("name",), RATING)
REVIEWED = ReviewColumns(("id", "rating", "text", "created_at"), ("display_name",))
"""What the documents of W1, W2 and W3 ask of books and reviews, 20 and 10 of them."""


def _books(wanted: BookList, columns: Columns, page: Page | None = None) -> Query[Any]:
    return _recorded(lambda reading: listing.list_books(reading, wanted, page or Page(), columns))


STATEMENTS: dict[str, Query[Any]] = {
    "newest": _books(BookList(), LISTED),
    "newestAfter": _books(BookList(), LISTED, Page(after=Position(SOMETIME, NOBODY))),
    "countBooks": _recorded(lambda reading: listing.count_books(reading, BookList())),
    "search": _books(BookList(BookSort.RELEVANCE, search="two words"), FOUND),
    "book": _recorded(lambda reading: companions.find_accompanied(reading, BookKey.ID, NOBODY, SHOWN)),
    "books": _recorded(lambda reading: catalog.list_books_by_id(reading, [])),
    "reviews": _recorded(lambda reading: reviews.list_reviews(reading, ReviewList(book_id=NOBODY), Page(10), REVIEWED)),
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
        name: Exported(query.sql, cast(list[str], query.bind(_Names())), query._fixed, query.skewed)
        for name, query in STATEMENTS.items()
    }
