"""What clients were told, and when."""

import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from itertools import pairwise


class Kind(StrEnum):
    READ = "read"
    WRITE = "write"


@dataclass(frozen=True, slots=True)
class Answer:
    kind: Kind
    at: float
    """Seconds on a clock that never steps."""
    failure: str | None = None


@dataclass(frozen=True, slots=True)
class Told:
    """An order that a customer was told is placed: it must be found for ever after."""

    key: str
    number: str
    at: float


@dataclass(frozen=True, slots=True)
class Span:
    """From the fault until everything was whole again."""

    name: str
    what: str
    began: float
    ended: float
    whole_after: float
    """Seconds; 0 where nothing was broken."""

    def holds(self, at: float) -> bool:
        return self.began <= at < self.ended


@dataclass(slots=True)
class Journal:
    answers: list[Answer] = field(default_factory=list)
    orders: list[Told] = field(default_factory=list)
    refusals: Counter[str] = field(default_factory=Counter)
    """Answers of the shop's that are neither a purchase nor a failure."""
    last_write: float = 0.0
    """When one was acknowledged."""
    given_up: int = 0
    """Writes that did not succeed, however often they were tried."""

    def note(self, kind: Kind, failure: str | None = None) -> None:
        answer = Answer(kind, time.monotonic(), failure)
        self.answers.append(answer)
        if kind is Kind.WRITE and failure is None:
            self.last_write = answer.at

    def placed(self, key: str, number: str) -> None:
        self.orders.append(Told(key, number, time.monotonic()))

    def asked(self, span: Span, kind: Kind) -> int:
        return sum(answer.kind == kind and span.holds(answer.at) for answer in self.answers)

    def failed(self, span: Span, kind: Kind) -> int:
        return self.failures(span, kind).total()

    def failures(self, span: Span, kind: Kind) -> Counter[str]:
        """How often each reason was met."""
        return Counter(
            answer.failure
            for answer in self.answers
            if answer.kind == kind and answer.failure is not None and span.holds(answer.at)
        )

    def gap(self, span: Span, kind: Kind) -> float:
        """The longest time without a good answer, in seconds, of those that reach into the span."""
        times = sorted(self._acknowledged(kind))
        reaching = (later - sooner for sooner, later in pairwise(times) if later >= span.began and sooner < span.ended)
        return max(reaching, default=span.ended - span.began)

    def _acknowledged(self, kind: Kind) -> Iterator[float]:
        return (answer.at for answer in self.answers if answer.kind == kind and answer.failure is None)
