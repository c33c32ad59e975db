"""Sales reports: periods in the shop's time zone, each compared with the previous one."""

import datetime as dt
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from persistence import sales
from persistence.postgres.read_session import ReadSession
from persistence.sales import BestSellerRank, BestSellerRow

CENT = Decimal("0.01")


class SalesPeriod(StrEnum):
    """A period that ends now."""

    TODAY = "TODAY"
    THIS_WEEK = "THIS_WEEK"
    THIS_MONTH = "THIS_MONTH"


@dataclass(frozen=True, slots=True)
class Period:
    """The time from `begin`, inclusive, to `end`, exclusive."""

    begin: dt.datetime
    end: dt.datetime


@dataclass(frozen=True, slots=True)
class SalesFigures:
    """Totals of the orders in a period."""

    period: Period
    revenue: Decimal
    order_count: int

    @property
    def average_order_value(self) -> Decimal:
        """The average, rounded half up to cents; zero without orders."""
        return (self.revenue / self.order_count).quantize(CENT, ROUND_HALF_UP) if self.order_count else Decimal("0.00")


@dataclass(frozen=True, slots=True)
class SalesSummary:
    """The figures of a period and of the previous one."""

    current: SalesFigures
    previous: SalesFigures

    @property
    def revenue_change_percent(self) -> float | None:
        """The change in percent, to one decimal; `None` when the previous period had no revenue."""
        previous_revenue = self.previous.revenue
        if not previous_revenue:
            return None
        return float(round((self.current.revenue - previous_revenue) / previous_revenue * 100, 1))


def reporting_periods(period: SalesPeriod, now: dt.datetime, time_zone: str) -> tuple[Period, Period]:
    """Return the period up to now, and an equally long start of the previous period.

    For example, this morning is compared with yesterday morning. The previous period never reaches into the current one.
    """
    today = now.astimezone(ZoneInfo(time_zone)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match period:
        case SalesPeriod.TODAY:
            begin, previous_begin = today, today - dt.timedelta(days=1)
        case SalesPeriod.THIS_WEEK:
            begin = today - dt.timedelta(days=today.weekday())
            previous_begin = begin - dt.timedelta(days=7)
        case SalesPeriod.THIS_MONTH:
            begin = today.replace(day=1)
            previous_begin = (begin - dt.timedelta(days=1)).replace(day=1)
    current = Period(begin.astimezone(dt.UTC), now.astimezone(dt.UTC))
    previous_begin = previous_begin.astimezone(dt.UTC)
    return current, Period(previous_begin, min(previous_begin + (current.end - current.begin), current.begin))


async def summarize_sales(reading: ReadSession, period: SalesPeriod, now: dt.datetime, time_zone: str) -> SalesSummary:
    """Return the sales of a period. Unpaid and cancelled orders are not counted."""
    current, previous = [
        SalesFigures(reporting_period, totals.revenue, totals.order_count)
        for reporting_period in reporting_periods(period, now, time_zone)
        for totals in [await sales.sum_sales(reading, reporting_period.begin, reporting_period.end)]
    ]
    return SalesSummary(current, previous)


async def list_best_sellers(
    reading: ReadSession, period: SalesPeriod, rank: BestSellerRank, now: dt.datetime, time_zone: str, first: int
) -> list[BestSellerRow]:
    """Return the `first` best-selling books of a period, best first."""
    current, _ = reporting_periods(period, now, time_zone)
    return await sales.list_best_sellers(reading, current.begin, current.end, rank, first)
