"""Payment providers that do as a test tells them, and shops that are paid through them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from domain.payments import Approved, PaymentOutcome, PaymentProvider
from server.app import create_app
from server.settings import Settings
from tests.support.http.client import ApiClient


@dataclass(slots=True)
class SlowPayments:
    """Charges are taken up at once and decided when the test lets them go on."""

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


@asynccontextmanager
async def running_app_with_payments(payments: PaymentProvider, settings: Settings) -> AsyncIterator[ApiClient]:
    """A server of its own for the same database."""
    app = create_app(settings, payments)
    async with app.router.lifespan_context(app):
        yield ApiClient(app)


@dataclass(slots=True)
class UnreachablePayments:
    """Cannot be reached, for this reason, until it comes back with something else to say."""

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
