"""Payment providers that wait or fail on demand."""

import asyncio
from dataclasses import dataclass, field
from decimal import Decimal

from domain.payments import Approved, PaymentOutcome


@dataclass(slots=True)
class SlowPayments:
    """Accepts each charge immediately and decides it when `may_continue` is set."""

    outcome: PaymentOutcome = field(default_factory=Approved)
    charge_started: asyncio.Event = field(default_factory=asyncio.Event)
    may_continue: asyncio.Event = field(default_factory=asyncio.Event)
    outcomes: dict[str, PaymentOutcome] = field(default_factory=dict)
    charged: list[str] = field(default_factory=list)
    refunded: list[str] = field(default_factory=list)

    async def charge(
        self, idempotency_key: str, amount: Decimal, currency: str, payment_token: str | None
    ) -> PaymentOutcome:
        self.charged.append(idempotency_key)
        self.charge_started.set()
        await self.may_continue.wait()
        return self.outcomes.setdefault(idempotency_key, self.outcome)

    async def find(self, idempotency_key: str) -> PaymentOutcome | None:
        return self.outcomes.get(idempotency_key)

    async def refund(self, idempotency_key: str) -> None:
        self.refunded.append(idempotency_key)


@dataclass(slots=True)
class UnreachablePayments:
    """Raises `error` at each call until a test removes it; then it returns `outcome`."""

    error: Exception | None
    outcome: PaymentOutcome | None = None
    call_count: int = 0
    refunded: list[str] = field(default_factory=list)

    def _record_call(self) -> None:
        self.call_count += 1
        if self.error is not None:
            raise self.error

    async def charge(
        self, idempotency_key: str, amount: Decimal, currency: str, payment_token: str | None
    ) -> PaymentOutcome:
        self._record_call()
        return self.outcome or Approved()

    async def find(self, idempotency_key: str) -> PaymentOutcome | None:
        self._record_call()
        return self.outcome

    async def refund(self, idempotency_key: str) -> None:
        self._record_call()
        self.refunded.append(idempotency_key)
