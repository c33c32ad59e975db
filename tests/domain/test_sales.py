"""Sales of a period: where days, weeks and months begin in the shop's time zone, and what counts within them."""

import datetime as dt
from decimal import Decimal
from zoneinfo import ZoneInfo

import asyncpg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain import sales
from domain.sales import SalesPeriod, Span, spans
from domain.shop import Shop
from persistence.sales import BestSellerRank
from tests.factories import add_book, add_member
from tests.purchases import bought

ZONES = (
    "UTC",
    "Europe/Berlin",
    "America/Sao_Paulo",  # clocks changed at midnight
    "Africa/Cairo",  # some midnights there have never been
    "America/Havana",  # and some have been twice
    "Asia/Kathmandu",
    "Australia/Lord_Howe",
    "Pacific/Kiritimati",
)
INSTANT = dt.timedelta(microseconds=1)
NOW = dt.datetime(2026, 5, 13, 10, 0, tzinfo=dt.UTC)  # a Wednesday, noon in Berlin
BERLIN = "Europe/Berlin"


def at(text: str) -> dt.datetime:
    """In Berlin."""
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo(BERLIN))


def first_day(period: SalesPeriod, day: dt.date) -> dt.date:
    if period is SalesPeriod.THIS_MONTH:
        return day.replace(day=1)
    return day - dt.timedelta(days=day.weekday()) if period is SalesPeriod.THIS_WEEK else day


def is_the_first_instant_of(day: dt.date, instant: dt.datetime, zone: ZoneInfo) -> bool:
    return (instant - INSTANT).astimezone(zone).date() < day == instant.astimezone(zone).date()


@given(
    period=st.sampled_from(SalesPeriod),
    zone=st.sampled_from(ZONES),
    now=st.datetimes(
        dt.datetime(2000, 1, 1), dt.datetime(2037, 1, 1), timezones=st.just(dt.UTC)
    ),  # `timezones` gives them one
)
@example(period=SalesPeriod.TODAY, zone="Africa/Cairo", now=dt.datetime(2024, 4, 26, 3, tzinfo=dt.UTC))
@example(period=SalesPeriod.TODAY, zone="America/Havana", now=dt.datetime(2024, 11, 3, 5, 30, tzinfo=dt.UTC))
@example(period=SalesPeriod.TODAY, zone="America/Sao_Paulo", now=dt.datetime(2018, 2, 18, 2, 30, tzinfo=dt.UTC))
@example(period=SalesPeriod.THIS_MONTH, zone="UTC", now=dt.datetime(2024, 3, 31, 23, 59, 59, tzinfo=dt.UTC))
@example(period=SalesPeriod.THIS_MONTH, zone="UTC", now=dt.datetime(2025, 1, 1, tzinfo=dt.UTC))
def test_periods_begin_with_a_day_and_never_overlap(period: SalesPeriod, zone: str, now: dt.datetime) -> None:
    current, previous = spans(period, now, zone)
    there = ZoneInfo(zone)
    begun = first_day(period, now.astimezone(there).date())
    before = first_day(period, begun - dt.timedelta(days=1))

    assert current.end == now
    assert current.begin <= current.end
    assert is_the_first_instant_of(begun, current.begin, there)
    assert is_the_first_instant_of(before, previous.begin, there)
    assert previous.begin <= previous.end <= current.begin
    elapsed, elapsed_before = current.end - current.begin, previous.end - previous.begin
    assert elapsed_before == elapsed or (previous.end == current.begin and elapsed_before < elapsed)


@pytest.mark.parametrize(
    ("period", "now", "begin", "before", "until"),
    [
        (SalesPeriod.TODAY, "2026-05-13 00:00", "2026-05-13", "2026-05-12", "2026-05-12"),
        (SalesPeriod.TODAY, "2026-05-13 12:00", "2026-05-13", "2026-05-12", "2026-05-12 12:00"),
        # the clock has jumped an hour this morning: eleven hours until noon
        (SalesPeriod.TODAY, "2026-03-29 12:00", "2026-03-29", "2026-03-28", "2026-03-28 11:00"),
        (SalesPeriod.TODAY, "2026-10-25 23:30", "2026-10-25", "2026-10-24", "2026-10-25"),
        (SalesPeriod.THIS_WEEK, "2026-05-11 00:00", "2026-05-11", "2026-05-04", "2026-05-04"),
        (SalesPeriod.THIS_WEEK, "2026-05-17 23:59", "2026-05-11", "2026-05-04", "2026-05-10 23:59"),
        (SalesPeriod.THIS_MONTH, "2026-01-15 00:00", "2026-01-01", "2025-12-01", "2025-12-15"),
        (SalesPeriod.THIS_MONTH, "2026-03-31 00:00", "2026-03-01", "2026-02-01", "2026-03-01"),
    ],
)
def test_borders_in_berlin(period: SalesPeriod, now: str, begin: str, before: str, until: str) -> None:
    assert spans(period, at(now), BERLIN) == (Span(at(begin), at(now)), Span(at(before), at(until)))


async def test_what_counts_is_what_stands_within_the_borders(shop: Shop, postgres: asyncpg.Connection) -> None:
    member, book = await add_member(shop), await add_book(shop, price="10.00")
    begin, before = at("2026-05-13"), at("2026-05-12")
    for status, copies, placed in (
        ("CONFIRMED", 1, begin),
        ("SHIPPED", 2, NOW - INSTANT),
        ("CANCELLED", 4, begin),
        ("PAYMENT_FAILED", 4, begin),
        ("PENDING", 4, begin),
        ("CONFIRMED", 4, NOW),
        ("CONFIRMED", 4, begin - INSTANT),
        ("CONFIRMED", 2, before),
        ("CONFIRMED", 4, before - INSTANT),
        ("CONFIRMED", 4, before + (NOW - begin)),
    ):
        await bought(postgres, member, (book, copies), status=status, at=placed)
    summary = await sales.summarise(shop.database.reading, SalesPeriod.TODAY, NOW, BERLIN)
    assert (summary.current.revenue, summary.current.order_count) == (Decimal("30.00"), 2)
    assert (summary.previous.revenue, summary.previous.order_count) == (Decimal("20.00"), 1)
    assert summary.current.average_order_value == Decimal("15.00")
    assert summary.revenue_change_percent == 50.0


async def test_without_sales_there_is_nothing_to_divide_by(shop: Shop, postgres: asyncpg.Connection) -> None:
    summary = await sales.summarise(shop.database.reading, SalesPeriod.THIS_MONTH, NOW, BERLIN)
    assert str(summary.current.revenue) == str(summary.current.average_order_value) == "0.00"
    assert summary.revenue_change_percent is None
    await bought(postgres, await add_member(shop), (await add_book(shop), 1), at=at("2026-04-02"))
    summary = await sales.summarise(shop.database.reading, SalesPeriod.THIS_MONTH, NOW, BERLIN)
    assert summary.revenue_change_percent == -100.0


async def test_an_average_has_two_decimals_and_halves_go_up(shop: Shop, postgres: asyncpg.Connection) -> None:
    member = await add_member(shop)
    for price in ("0.01", "0.02"):
        await bought(postgres, member, (await add_book(shop, price=price), 1), at=NOW - INSTANT)
    summary = await sales.summarise(shop.database.reading, SalesPeriod.TODAY, NOW, BERLIN)
    assert str(summary.current.average_order_value) == "0.02"


async def test_best_sellers_by_copies_and_by_what_they_brought_in(shop: Shop, postgres: asyncpg.Connection) -> None:
    member = await add_member(shop)
    cheap, dear = await add_book(shop, "Cheap", price="1.00"), await add_book(shop, "Dear", price="50.00")
    gone = await add_book(shop, "Gone")
    await bought(postgres, member, (cheap, 5), (dear, 1), (gone, 9), at=at("2026-05-11"))
    await bought(postgres, member, (cheap, 3), at=NOW - INSTANT, status="SHIPPED")
    await bought(postgres, member, (dear, 9), at=NOW - INSTANT, status="CANCELLED")
    await bought(postgres, member, (dear, 9), at=at("2026-05-11") - INSTANT)
    await postgres.execute("DELETE FROM books WHERE id = $1", gone.id)

    async def best(rank: BestSellerRank, first: int = 10) -> list[tuple[str, int, str]]:
        week = SalesPeriod.THIS_WEEK
        found = await sales.best_sellers(shop.database.reading, week, rank, NOW, BERLIN, first)
        return [(each.book.title, each.units_sold, str(each.revenue)) for each in found]

    cheap_sold, dear_sold = ("Cheap", 8, "8.00"), ("Dear", 1, "50.00")
    assert await best(BestSellerRank.UNITS) == [cheap_sold, dear_sold]
    assert await best(BestSellerRank.REVENUE) == [dear_sold, cheap_sold]
    assert await best(BestSellerRank.REVENUE, 1) == [dear_sold]
    assert await best(BestSellerRank.UNITS, 0) == []
