"""Sales reports: where days, weeks and months begin in the shop's time zone, and which orders count."""

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain import sales
from domain.sales import Period, SalesPeriod, reporting_periods
from domain.shop import Shop
from persistence.sales import BestSellerRank
from tests.support.shop.factories import add_book, add_user
from tests.support.shop.past_orders import add_past_order

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",  # clocks changed at midnight
    "Africa/Cairo",  # some days have no midnight
    "America/Havana",  # some days have two midnights
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
)
INSTANT = dt.timedelta(microseconds=1)
NOW = dt.datetime(2026, 5, 13, 10, 0, tzinfo=dt.UTC)  # a Wednesday, noon in Berlin
BERLIN = "Europe/Berlin"


def local_datetime(text: str) -> dt.datetime:
    """Return a time in Berlin."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN))


def first_day(period: SalesPeriod, day: dt.date) -> dt.date:
    if period is SalesPeriod.THIS_MONTH:
        return day.replace(day=1)
    return day - dt.timedelta(days=day.weekday()) if period is SalesPeriod.THIS_WEEK else day


def is_start_of(day: dt.date, instant: dt.datetime, zone: ZoneInfo) -> bool:
    return (instant - INSTANT).astimezone(zone).date() < day == instant.astimezone(zone).date()


@given(
    period=st.sampled_from(SalesPeriod),
    zone=st.sampled_from(ZONES),
    now=st.datetimes(
        dt.datetime(2000, 1, 1), dt.datetime(2037, 1, 1), timezones=st.just(dt.UTC)
    ),  # `timezones` makes them aware
)
@example(period=SalesPeriod.TODAY, zone="Africa/Cairo", now=dt.datetime(2024, 4, 26, 3, tzinfo=dt.UTC))
@example(period=SalesPeriod.TODAY, zone="America/Havana", now=dt.datetime(2024, 11, 3, 5, 30, tzinfo=dt.UTC))
@example(period=SalesPeriod.TODAY, zone="America/Sao_Paulo", now=dt.datetime(2018, 2, 18, 2, 30, tzinfo=dt.UTC))
@example(period=SalesPeriod.THIS_MONTH, zone="UTC", now=dt.datetime(2024, 3, 31, 23, 59, 59, tzinfo=dt.UTC))
@example(period=SalesPeriod.THIS_MONTH, zone="UTC", now=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
def test_periods_start_at_midnight_and_never_overlap(period: SalesPeriod, zone: str, now: dt.datetime) -> None:
    current, previous = reporting_periods(period, now, zone)
    zone_info = ZoneInfo(zone)
    first = first_day(period, now.astimezone(zone_info).date())
    previous_first = first_day(period, first - dt.timedelta(days=1))

    assert current.end == now
    assert current.begin <= current.end
    assert is_start_of(first, current.begin, zone_info)
    assert is_start_of(previous_first, previous.begin, zone_info)
    assert previous.begin <= previous.end <= current.begin
    elapsed, previously_elapsed = current.end - current.begin, previous.end - previous.begin
    assert previously_elapsed == elapsed or (previous.end == current.begin and previously_elapsed < elapsed)


@pytest.mark.parametrize(
    ("period", "now", "begin", "previous_begin", "previous_end"),
    [
        (SalesPeriod.TODAY, "2026-05-13 00:00", "2026-05-13", "2026-05-12", "2026-05-12"),
        (SalesPeriod.TODAY, "2026-05-13 12:00", "2026-05-13", "2026-05-12", "2026-05-12 12:00"),
        # the clock skips an hour this morning, so noon is eleven hours after midnight
        (SalesPeriod.TODAY, "2026-03-29 12:00", "2026-03-29", "2026-03-28", "2026-03-28 11:00"),
        (SalesPeriod.TODAY, "2026-10-25 23:30", "2026-10-25", "2026-10-24", "2026-10-25"),
        (SalesPeriod.THIS_WEEK, "2026-05-11 00:00", "2026-05-11", "2026-05-04", "2026-05-04"),
        (SalesPeriod.THIS_WEEK, "2026-05-17 23:59", "2026-05-11", "2026-05-04", "2026-05-10 23:59"),
        (SalesPeriod.THIS_MONTH, "2026-01-15 00:00", "2026-01-01", "2025-12-01", "2025-12-15"),
        (SalesPeriod.THIS_MONTH, "2026-03-31 00:00", "2026-03-01", "2026-02-01", "2026-03-01"),
    ],
)
def test_period_boundaries_in_berlin(
    period: SalesPeriod, now: str, begin: str, previous_begin: str, previous_end: str
) -> None:
    assert reporting_periods(period, local_datetime(now), BERLIN) == (
        Period(local_datetime(begin), local_datetime(now)),
        Period(local_datetime(previous_begin), local_datetime(previous_end)),
    )


async def test_only_effective_orders_in_the_period_are_counted(shop: Shop, postgres: asyncpg.Connection) -> None:
    user, book = await add_user(shop), await add_book(shop, price="10.00")
    begin, previous_begin = local_datetime("2026-05-13"), local_datetime("2026-05-12")
    for status, copies, placed_at in (
        ("CONFIRMED", 1, begin),
        ("SHIPPED", 2, NOW - INSTANT),
        ("CANCELLED", 4, begin),
        ("PAYMENT_FAILED", 4, begin),
        ("PENDING", 4, begin),
        ("CONFIRMED", 4, NOW),
        ("CONFIRMED", 4, begin - INSTANT),
        ("CONFIRMED", 2, previous_begin),
        ("CONFIRMED", 4, previous_begin - INSTANT),
        ("CONFIRMED", 4, previous_begin + (NOW - begin)),
    ):
        await add_past_order(postgres, user, (book, copies), status=status, at=placed_at)
    summary = await sales.summarize_sales(shop.database.read_session, SalesPeriod.TODAY, NOW, BERLIN)
    assert (summary.current.revenue, summary.current.order_count) == (Decimal("30.00"), 2)
    assert (summary.previous.revenue, summary.previous.order_count) == (Decimal("20.00"), 1)
    assert summary.current.average_order_value == Decimal("15.00")
    assert summary.revenue_change_percent == 50.0


async def test_average_without_sales_is_null(shop: Shop, postgres: asyncpg.Connection) -> None:
    summary = await sales.summarize_sales(shop.database.read_session, SalesPeriod.THIS_MONTH, NOW, BERLIN)
    assert str(summary.current.revenue) == str(summary.current.average_order_value) == "0.00"
    assert summary.revenue_change_percent is None
    await add_past_order(postgres, await add_user(shop), (await add_book(shop), 1), at=local_datetime("2026-04-02"))
    summary = await sales.summarize_sales(shop.database.read_session, SalesPeriod.THIS_MONTH, NOW, BERLIN)
    assert summary.revenue_change_percent == -100.0


async def test_average_is_rounded_half_up_to_two_decimals(shop: Shop, postgres: asyncpg.Connection) -> None:
    user = await add_user(shop)
    for price in ("0.01", "0.02"):
        await add_past_order(postgres, user, (await add_book(shop, price=price), 1), at=NOW - INSTANT)
    summary = await sales.summarize_sales(shop.database.read_session, SalesPeriod.TODAY, NOW, BERLIN)
    assert str(summary.current.average_order_value) == "0.02"


async def test_best_sellers_by_quantity_and_revenue(shop: Shop, postgres: asyncpg.Connection) -> None:
    user = await add_user(shop)
    cheap, expensive = await add_book(shop, "Cheap", price="1.00"), await add_book(shop, "Expensive", price="50.00")
    deleted = await add_book(shop, "Deleted")
    await add_past_order(postgres, user, (cheap, 5), (expensive, 1), (deleted, 9), at=local_datetime("2026-05-11"))
    await add_past_order(postgres, user, (cheap, 3), at=NOW - INSTANT, status="SHIPPED")
    await add_past_order(postgres, user, (expensive, 9), at=NOW - INSTANT, status="CANCELLED")
    await add_past_order(postgres, user, (expensive, 9), at=local_datetime("2026-05-11") - INSTANT)
    await postgres.execute("DELETE FROM books WHERE id = $1", deleted.id)

    async def list_best(rank: BestSellerRank, first: int = 10) -> list[tuple[str, int, str]]:
        week = SalesPeriod.THIS_WEEK
        rows = await sales.list_best_sellers(shop.database.read_session, week, rank, NOW, BERLIN, first)
        return [(row.book.title, row.units_sold, str(row.revenue)) for row in rows]

    cheap_sold, expensive_sold = ("Cheap", 8, "8.00"), ("Expensive", 1, "50.00")
    assert await list_best(BestSellerRank.UNITS) == [cheap_sold, expensive_sold]
    assert await list_best(BestSellerRank.REVENUE) == [expensive_sold, cheap_sold]
    assert await list_best(BestSellerRank.REVENUE, 1) == [expensive_sold]
    assert await list_best(BestSellerRank.UNITS, 0) == []
