"""The back office: what only administrators can read."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Annotated, Any

import strawberry
from strawberry import UNSET

from domain import sales
from domain.orders import as_order_number
from domain.sales import SalesFigures as FiguresRow
from domain.sales import SalesPeriod as Periods
from domain.sales import SalesSummary as SummaryRow
from domain.stock import MOST
from graph.accounts import User
from graph.catalog import Book
from graph.context import Info
from graph.faults import BadUserInput
from graph.fields import column, field, input_shape, query, shape, vocabulary
from graph.gates import UserRole, administrator
from graph.ids import key_of
from graph.listing import BookConnection, books_of, clean
from graph.money import Money
from graph.orders import OrderConnection
from graph.pagination import (
    After,
    Before,
    Connection,
    First,
    Last,
    ListKind,
    Offset,
    argument,
    connection_type,
    page_of,
)
from graph.reviews import ReviewConnection, ReviewSortArgument, reviews_of
from persistence import back_office as rows
from persistence.accounts import User as UserRow
from persistence.back_office import OrderList, UserList
from persistence.catalog import Book as BookRow
from persistence.listing import BookList, StockroomSort
from persistence.orders import Order as OrderRow
from persistence.orders import OrderStatus
from persistence.reviews import Review as ReviewRow
from persistence.reviews import ReviewList, ReviewSort
from persistence.sales import BestSeller as BestSellerRow
from persistence.sales import BestSellerRank as Ranks

MOST_BEST_SELLERS = 100

SalesPeriod = vocabulary(
    Periods,
    "A period up to now, in the store's time zone.",
    TODAY="Since midnight.",
    THIS_WEEK="Since Monday.",
    THIS_MONTH="Since the first of the month.",
)
BestSellerRank = vocabulary(
    Ranks, "What to rank best sellers by.", REVENUE="What they brought in.", UNITS="The number of copies sold."
)
PeriodArgument = Annotated[Periods, argument("The period.")]

UserConnection = connection_type("User", User, "users")


# ── Filters ───────────────────────────────────────────────────────────────────────────────


def _narrowing(description: str) -> Any:
    return strawberry.field(default=UNSET, description=description)


def _given(value: Any) -> Any:
    return None if value is UNSET else value


@input_shape()
class UserFilter:
    """Narrows a list of users. A field left out does not narrow."""

    role: UserRole | None = _narrowing("With this role.")
    is_active: bool | None = _narrowing("Only accounts that may sign in, or only those that may not.")
    search: str | None = _narrowing("Any part of the email address or the display name.")

    def wanted(self) -> UserList:
        role = _given(self.role)
        return UserList(role.value if role else None, _given(self.is_active), _search(self.search))


@input_shape()
class OrderFilter:
    """Narrows a list of orders. A field left out does not narrow."""

    statuses: list[OrderStatus] | None = _narrowing("With one of these statuses.")
    user_id: strawberry.ID | None = _narrowing("Placed by this user.")
    search: str | None = _narrowing("An order number, or any part of the customer's email address.")
    placed_from: dt.datetime | None = _narrowing("Placed at this time or later.")
    placed_before: dt.datetime | None = _narrowing("Placed before this time.")

    def wanted(self) -> OrderList:
        statuses, search = _given(self.statuses), _search(self.search)
        begin, end = _given(self.placed_from), _given(self.placed_before)
        if begin and end and begin > end:
            raise BadUserInput("`placedFrom` is after `placedBefore`.")
        return OrderList(
            statuses=None if statuses is None else tuple(sorted(set(statuses))),
            user_id=_key("User", self.user_id),
            number=as_order_number(search) if search else None,
            email=search,
            placed_from=begin,
            placed_before=end,
        )


@input_shape()
class ReviewFilter:
    """Narrows a list of reviews. A field left out does not narrow."""

    book_id: strawberry.ID | None = _narrowing("Of this book.")
    user_id: strawberry.ID | None = _narrowing("By this user.")
    min_rating: int | None = _narrowing("With at least this many stars.")
    max_rating: int | None = _narrowing("With at most this many stars.")

    def wanted(self, sort: ReviewSort) -> ReviewList:
        return ReviewList(
            sort,
            book_id=_key("Book", self.book_id),
            user_id=_key("User", self.user_id),
            min_rating=_given(self.min_rating),
            max_rating=_given(self.max_rating),
        )


def _key(kind: str, id_: strawberry.ID | None) -> uuid.UUID | None:
    return None if id_ is None or id_ is UNSET else key_of(kind, id_)


def _search(text: str | None) -> str | None:
    return clean("search", text) or None if text not in (None, UNSET) else None


# ── Sales ─────────────────────────────────────────────────────────────────────────────────


@shape(of=FiguresRow)
class SalesFigures:
    """The sales of a period."""

    order_count: int = column("The number of orders.")

    @field(name="from")
    def begin(self: FiguresRow) -> dt.datetime:
        """When the period began."""
        return self.span.begin

    @field(name="to")
    def end(self: FiguresRow) -> dt.datetime:
        """When the period ended, or now."""
        return self.span.end

    @field()
    def revenue(self: FiguresRow, info: Info) -> Money:
        """What was taken in."""
        return Money(amount=self.revenue, currency=info.context.shop.policy.currency)

    @field()
    def average_order_value(self: FiguresRow, info: Info) -> Money:
        """Revenue per order; zero without orders."""
        return Money(amount=self.average_order_value, currency=info.context.shop.policy.currency)


@shape(of=SummaryRow)
class SalesSummary:
    """How sales went. Orders that stand are counted: neither unpaid nor cancelled."""

    current: FiguresRow = column("The period that was asked for.", SalesFigures)
    previous: FiguresRow = column("The period of the same length before it.", SalesFigures)
    revenue_change_percent: float | None = column(
        "By how many percent revenue rose or fell. `null` when there was none before."
    )


@shape(of=BestSellerRow)
class BestSeller:
    """A book and how well it sold."""

    book: BookRow = column("The book.", Book)
    units_sold: int = column("The number of copies sold.")

    @field()
    def revenue(self: BestSellerRow, info: Info) -> Money:
        """What they brought in."""
        return Money(amount=self.revenue, currency=info.context.shop.policy.currency)


# ── The office ────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class Office:
    """Nothing is kept of it: whoever is let in asks on."""


@shape(of=Office)
class Admin:
    """The back office: what only administrators can read."""

    @field(UserConnection)
    async def users(
        self: Office,
        info: Info,
        filter: Annotated[UserFilter | None, argument("Narrows the list.")] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[UserRow]:
        """All accounts, the latest first."""
        wanted = filter.wanted() if filter else UserList()
        kind, reading = ListKind(f"users {wanted!r}", dt.datetime), info.context.reading
        slice_ = await rows.list_users(reading, wanted, page_of(kind, first, after, last, before, offset))
        return Connection(kind, slice_, lambda: rows.count_users(reading, wanted))

    @field(OrderConnection)
    async def orders(
        self: Office,
        info: Info,
        filter: Annotated[OrderFilter | None, argument("Narrows the list.")] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[OrderRow]:
        """All orders, the latest first."""
        wanted = filter.wanted() if filter else OrderList()
        kind, reading = ListKind(f"all orders {wanted!r}", dt.datetime), info.context.reading
        slice_ = await rows.list_all_orders(reading, wanted, page_of(kind, first, after, last, before, offset))
        return Connection(kind, slice_, lambda: rows.count_all_orders(reading, wanted))

    @field(ReviewConnection)
    async def reviews(
        self: Office,
        info: Info,
        filter: Annotated[ReviewFilter | None, argument("Narrows the list.")] = UNSET,
        sort: ReviewSortArgument = ReviewSort.NEWEST,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[ReviewRow]:
        """All reviews, for moderation."""
        wanted = filter.wanted(sort) if filter else ReviewList(sort)
        return await reviews_of(info, wanted, first, after, last, before, offset)

    @field(BookConnection)
    async def low_stock_books(
        self: Office,
        info: Info,
        threshold: Annotated[int, argument("The most copies a book may have left to be listed.")] = 5,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[BookRow]:
        """The books to reorder: those with few copies left, the fewest first, then the most waited for."""
        if not 0 <= threshold <= MOST:
            raise BadUserInput(f"`threshold` must be from 0 to {MOST:,}.")
        wanted = BookList(StockroomSort.SCARCEST, most_copies=threshold)
        return await books_of(info, wanted, first, after, last, before, offset)

    @field(SalesSummary)
    async def sales_summary(self: Office, info: Info, period: PeriodArgument) -> SummaryRow:
        """How sales went, against the period before."""
        zone = info.context.shop.policy.time_zone
        return await sales.summarise(info.context.reading, period, dt.datetime.now(dt.UTC), zone)

    @field(list[BestSeller])
    async def best_sellers(
        self: Office,
        info: Info,
        period: PeriodArgument,
        rank_by: Annotated[Ranks, argument("What counts as best.")] = Ranks.REVENUE,
        first: Annotated[int, argument("How many books, 100 at most.")] = 10,
    ) -> list[BestSellerRow]:
        """The books that sold best."""
        if not 0 <= first <= MOST_BEST_SELLERS:
            raise BadUserInput(f"`first` must be from 0 to {MOST_BEST_SELLERS}.")
        zone = info.context.shop.policy.time_zone
        return await sales.best_sellers(info.context.reading, period, rank_by, dt.datetime.now(dt.UTC), zone, first)


@query(administrator, Admin | None)
async def admin() -> Office:
    """The back office."""
    return Office()
