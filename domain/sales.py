"""How sales go: periods in the shop's time zone, each beside the one before it."""

import datetime as dt
from dataclasses import dataclass
from decimal import ROUND_HALF_UP, Decimal
from enum import StrEnum
from zoneinfo import ZoneInfo

from persistence import sales
from persistence.database import Reading
from persistence.sales import BestSeller, BestSellerRank

CENT = Decimal("0.01")


class SalesPeriod(StrEnum):
    TODAY = "TODAY"
    THIS_WEEK = "THIS_WEEK"
    THIS_MONTH = "THIS_MONTH"


@dataclass(frozen=True, slots=True)
class Span:
    """From `begin` to before `end`."""

    begin: dt.datetime
    end: dt.datetime


@dataclass(frozen=True, slots=True)
class SalesFigures:
    span: Span
    revenue: Decimal
    order_count: int

    @property
    def average_order_value(self) -> Decimal:
        """Zero without orders."""
        return (self.revenue / self.order_count).quantize(CENT, ROUND_HALF_UP) if self.order_count else Decimal("0.00")


@dataclass(frozen=True, slots=True)
class SalesSummary:
    current: SalesFigures
    previous: SalesFigures

    @property
    def revenue_change_percent(self) -> float | None:
        """To one decimal; `None` when there was no revenue before."""
        before = self.previous.revenue
        return float(round((self.current.revenue - before) / before * 100, 1)) if before else None


def spans(period: SalesPeriod, now: dt.datetime, time_zone: str) -> tuple[Span, Span]:
    """The period up to now, and as much of the one before it: this morning beside yesterday morning."""
    today = now.astimezone(ZoneInfo(time_zone)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    match period:
        case SalesPeriod.TODAY:
            begin, before = today, today - dt.timedelta(days=1)
        case SalesPeriod.THIS_WEEK:
            begin = today - dt.timedelta(days=today.weekday())
            before = begin - dt.timedelta(days=7)
        case SalesPeriod.THIS_MONTH:
            begin = today.replace(day=1)
            before = (begin - dt.timedelta(days=1)).replace(day=1)
    current = Span(begin.astimezone(dt.UTC), now.astimezone(dt.UTC))
    before = before.astimezone(dt.UTC)
    return current, Span(before, min(before + (current.end - current.begin), current.begin))


async def summarise(reading: Reading, period: SalesPeriod, now: dt.datetime, time_zone: str) -> SalesSummary:
    """Orders that stand are counted: neither unpaid nor cancelled."""
    current, previous = [
        SalesFigures(span, figures.revenue, figures.order_count)
        for span in spans(period, now, time_zone)
        for figures in [await sales.sum_sales(reading, span.begin, span.end)]
    ]
    return SalesSummary(current, previous)


async def best_sellers(
    reading: Reading, period: SalesPeriod, rank: BestSellerRank, now: dt.datetime, time_zone: str, first: int
) -> list[BestSeller]:
    current, _ = spans(period, now, time_zone)
    return await sales.list_best_sellers(reading, current.begin, current.end, rank, first)
