"""What clients sent, which responses they received, and when. All times are seconds of a monotonic clock."""

import time
from collections import Counter
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise


class Kind(StrEnum):
    """What a request does."""

    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A request that succeeded, or failed for a reason."""

    kind: Kind
    at: float
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """An order that the server has acknowledged: it must not be lost."""

    key: str
    number: str
    at: float


@dataclass(frozen=True, slots=True)
class Span:
    """The time from a fault to full recovery, which came after `recovery` seconds; 0 without a fault."""

    name: str
    detail: str
    start: float
    end: float
    recovery: float

    def contains(self, at: float) -> bool:
        """Tell whether a time is in the span."""
        return self.start <= at < self.end


@dataclass(slots=True)
class Journal:
    """All attempts and orders. `user_errors` counts checkouts without an order, `abandoned` writes that never succeeded."""

    attempts: list[Attempt] = field(default_factory=list)
    orders: list[PlacedOrder] = field(default_factory=list)
    user_errors: Counter[str] = field(default_factory=Counter)
    last_write: float = 0.0
    """When the last write succeeded."""
    abandoned: int = 0

    def record(self, kind: Kind, failure: str | None = None) -> None:
        """Add an attempt."""
        attempt = Attempt(kind, time.monotonic(), failure)
        self.attempts.append(attempt)
        if kind is Kind.WRITE and failure is None:
            self.last_write = attempt.at

    def record_order(self, key: str, number: str) -> None:
        """Add an order."""
        self.orders.append(PlacedOrder(key, number, time.monotonic()))

    def count(self, span: Span, kind: Kind) -> int:
        """Return the number of attempts in a span."""
        return sum(attempt.kind == kind and span.contains(attempt.at) for attempt in self.attempts)

    def count_failures(self, span: Span, kind: Kind) -> Counter[str]:
        """Return how often each reason occurred in a span."""
        return Counter(
            attempt.failure
            for attempt in self.attempts
            if attempt.kind == kind and attempt.failure is not None and span.contains(attempt.at)
        )

    def longest_gap(self, span: Span, kind: Kind) -> float:
        """Return the longest time without a success, of the gaps that overlap the span."""
        times = sorted(attempt.at for attempt in self.attempts if attempt.kind == kind and attempt.failure is None)
        gaps = (later - sooner for sooner, later in pairwise(times) if later >= span.start and sooner < span.end)
        return max(gaps, default=span.end - span.start)
