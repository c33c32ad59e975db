"""Declares what only administrators can read: users, orders, reviews, stock and sales."""

import datetime as dt
import uuid
from dataclasses import dataclass
from typing import Annotated

import strawberry
from strawberry import UNSET

from domain import sales
from domain.orders import normalize_order_number
from domain.sales import SalesFigures as SalesFiguresSource
from domain.sales import SalesPeriod
from domain.sales import SalesSummary as SalesSummarySource
from domain.stock import MAX_STOCK
from graph.accounts import User
from graph.book_list import BookConnection, parse_search, resolve_books
from graph.catalog import Book
from graph.context import Info
from graph.kit.declare import (
    argument,
    attribute,
    enum_type,
    field,
    input_type,
    none_if_unset,
    object_type,
    optional,
    query,
)
from graph.kit.ids import parse_key
from graph.kit.money import Money
from graph.kit.pagination import (
    After,
    Before,
    Connection,
    CursorCodec,
    First,
    Last,
    Offset,
    connection_type,
    parse_page,
)
from graph.kit.permissions import UserRole, admin_only
from graph.orders import OrderConnection
from graph.request_errors import BadUserInput
from graph.reviews import ReviewConnection, ReviewSortArgument, resolve_reviews
from persistence import admin as rows
from persistence.accounts import UserRow
from persistence.admin import OrderQuery, UserQuery
from persistence.browse.book_query import AdminBookSort, BookQuery
from persistence.catalog import BookRow
from persistence.orders import OrderRow, OrderStatus
from persistence.reviews import ReviewQuery, ReviewRow, ReviewSort
from persistence.sales import BestSellerRank, BestSellerRow

MAX_BEST_SELLERS = 100

enum_type(
    SalesPeriod,
    "A period up to now, in the store's time zone.",
    TODAY="Since midnight.",
    THIS_WEEK="Since Monday.",
    THIS_MONTH="Since the first of the month.",
)
enum_type(BestSellerRank, "What to rank best sellers by.", REVENUE="Their revenue.", UNITS="The number of copies sold.")
PeriodArgument = Annotated[SalesPeriod, argument("The period.")]

UserConnection = connection_type("User", User, "users")


# ── Filters ───────────────────────────────────────────────────────────────────────────────


@input_type()
class UserFilter:
    """Filters a list of users. A field left out does not filter."""

    role: UserRole | None = optional("With this role.")
    is_active: bool | None = optional("Only accounts that may sign in, or only those that may not.")
    search: str | None = optional("Any part of the email address or the display name.")

    def to_query(self) -> UserQuery:
        """Return the query of the database."""
        role = none_if_unset(self.role)
        return UserQuery(role.name if role else None, none_if_unset(self.is_active), parse_search(self.search))


@input_type()
class OrderFilter:
    """Filters a list of orders. A field left out does not filter."""

    statuses: list[OrderStatus] | None = optional("With one of these statuses.")
    user_id: strawberry.ID | None = optional("Placed by this user.")
    search: str | None = optional("An order number, or any part of the customer's email address.")
    placed_from: dt.datetime | None = optional("Placed at this time or later.")
    placed_before: dt.datetime | None = optional("Placed before this time.")

    def to_query(self) -> OrderQuery:
        """Return the query of the database.

        Raises:
            BadUserInput: The times are in the wrong order, or `user_id` is not the ID of a user.
        """
        statuses, search = none_if_unset(self.statuses), parse_search(self.search)
        begin, end = none_if_unset(self.placed_from), none_if_unset(self.placed_before)
        if begin and end and begin > end:
            raise BadUserInput("`placedFrom` is after `placedBefore`.")
        return OrderQuery(
            statuses=None if statuses is None else tuple(sorted(set(statuses))),
            user_id=_parse_optional_key("User", self.user_id),
            number=normalize_order_number(search) if search else None,
            email=search,
            placed_from=begin,
            placed_before=end,
        )


@input_type()
class ReviewFilter:
    """Filters a list of reviews. A field left out does not filter."""

    book_id: strawberry.ID | None = optional("Of this book.")
    user_id: strawberry.ID | None = optional("By this user.")
    min_rating: int | None = optional("With at least this many stars.")
    max_rating: int | None = optional("With at most this many stars.")

    def to_query(self, sort: ReviewSort) -> ReviewQuery:
        """Return the query of the database.

        Raises:
            BadUserInput: An ID is malformed or of another type.
        """
        return ReviewQuery(
            sort,
            book_id=_parse_optional_key("Book", self.book_id),
            user_id=_parse_optional_key("User", self.user_id),
            min_rating=none_if_unset(self.min_rating),
            max_rating=none_if_unset(self.max_rating),
        )


def _parse_optional_key(type_name: str, id_: strawberry.ID | None) -> uuid.UUID | None:
    id_ = none_if_unset(id_)
    return None if id_ is None else parse_key(type_name, id_)


# ── Sales ─────────────────────────────────────────────────────────────────────────────────


@object_type(source_type=SalesFiguresSource)
class SalesFigures:
    """The sales of a period."""

    order_count: int = attribute("The number of orders.")

    @field(name="from")
    def begin(self: SalesFiguresSource) -> dt.datetime:
        """When the period began."""
        return self.period.begin

    @field(name="to")
    def end(self: SalesFiguresSource) -> dt.datetime:
        """When the period ended, or now."""
        return self.period.end

    @field()
    def revenue(self: SalesFiguresSource, info: Info) -> Money:
        """The revenue."""
        return Money(amount=self.revenue, currency=info.context.shop.policy.currency)

    @field()
    def average_order_value(self: SalesFiguresSource, info: Info) -> Money:
        """Revenue per order; zero without orders."""
        return Money(amount=self.average_order_value, currency=info.context.shop.policy.currency)


@object_type(source_type=SalesSummarySource)
class SalesSummary:
    """The sales of a period and of the one before. Unpaid and cancelled orders are not counted."""

    current: SalesFiguresSource = attribute("The selected period.", SalesFigures)
    previous: SalesFiguresSource = attribute("The period of the same length before it.", SalesFigures)
    revenue_change_percent: float | None = attribute(
        "The change of revenue in percent, negative when it fell. `null` when there was none before."
    )


@object_type(source_type=BestSellerRow)
class BestSeller:
    """A book and how well it sold."""

    book: BookRow = attribute("The book.", Book)
    units_sold: int = attribute("The number of copies sold.")

    @field()
    def revenue(self: BestSellerRow, info: Info) -> Money:
        """The revenue from it."""
        return Money(amount=self.revenue, currency=info.context.shop.policy.currency)


# ── Root ──────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class AdminRoot:
    """The source of `admin`, which has no data of its own."""


@object_type(source_type=AdminRoot)
class Admin:
    """What only administrators can read."""

    @field(UserConnection)
    async def users(
        self: AdminRoot,
        info: Info,
        filter: Annotated[UserFilter | None, argument("Filters the list.")] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[UserRow]:
        """All accounts, the latest first."""
        user_query = filter.to_query() if filter else UserQuery()
        codec, db = CursorCodec(f"users {user_query!r}", dt.datetime), info.context.read_session
        page_result = await rows.list_users(db, user_query, parse_page(codec, first, after, last, before, offset))
        return Connection(codec, page_result, lambda: rows.count_users(db, user_query))

    @field(OrderConnection)
    async def orders(
        self: AdminRoot,
        info: Info,
        filter: Annotated[OrderFilter | None, argument("Filters the list.")] = UNSET,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[OrderRow]:
        """All orders, the latest first."""
        order_query = filter.to_query() if filter else OrderQuery()
        codec, db = CursorCodec(f"all orders {order_query!r}", dt.datetime), info.context.read_session
        page_result = await rows.list_all_orders(db, order_query, parse_page(codec, first, after, last, before, offset))
        return Connection(codec, page_result, lambda: rows.count_all_orders(db, order_query))

    @field(ReviewConnection)
    async def reviews(
        self: AdminRoot,
        info: Info,
        filter: Annotated[ReviewFilter | None, argument("Filters the list.")] = UNSET,
        sort: ReviewSortArgument = ReviewSort.NEWEST,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[ReviewRow]:
        """All reviews, for moderation."""
        review_query = filter.to_query(sort) if filter else ReviewQuery(sort)
        return await resolve_reviews(info, review_query, first, after, last, before, offset)

    @field(BookConnection)
    async def low_stock_books(
        self: AdminRoot,
        info: Info,
        threshold: Annotated[int, argument("The most copies a book may have left to be listed.")] = 5,
        first: First = UNSET,
        after: After = UNSET,
        last: Last = UNSET,
        before: Before = UNSET,
        offset: Offset = UNSET,
    ) -> Connection[BookRow]:
        """The books to reorder: those with few copies left, the fewest first, then those with the most waiting customers."""
        if not 0 <= threshold <= MAX_STOCK:
            raise BadUserInput(f"`threshold` must be from 0 to {MAX_STOCK:,}.")
        book_query = BookQuery(AdminBookSort.LOWEST_STOCK, max_stock=threshold)
        return await resolve_books(info, book_query, first, after, last, before, offset)

    @field(SalesSummary)
    async def sales_summary(self: AdminRoot, info: Info, period: PeriodArgument) -> SalesSummarySource:
        """The sales of a period, compared with the period before."""
        zone = info.context.shop.policy.time_zone
        return await sales.summarize_sales(info.context.read_session, period, dt.datetime.now(dt.UTC), zone)

    @field(list[BestSeller])
    async def best_sellers(
        self: AdminRoot,
        info: Info,
        period: PeriodArgument,
        rank_by: Annotated[BestSellerRank, argument("What to rank by.")] = BestSellerRank.REVENUE,
        first: Annotated[int, argument("How many books, 100 at most.")] = 10,
    ) -> list[BestSellerRow]:
        """The books that sold best."""
        if not 0 <= first <= MAX_BEST_SELLERS:
            raise BadUserInput(f"`first` must be from 0 to {MAX_BEST_SELLERS}.")
        zone = info.context.shop.policy.time_zone
        return await sales.list_best_sellers(
            info.context.read_session, period, rank_by, dt.datetime.now(dt.UTC), zone, first
        )


@query(admin_only, Admin | None)
async def admin() -> AdminRoot:
    """What only administrators can read."""
    return AdminRoot()
