"""Payment providers that do as a test tells them, and shops that are paid through them."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from decimal import Decimal

from domain.payments import Approved, Outcome, Payments
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor


@dataclass(slots=True)
class SlowPayments:
    """Charges are taken up at once and decided when the test lets them go on."""

    outcome: Outcome = field(default_factory=Approved)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)
    decided: dict[str, Outcome] = field(default_factory=dict)
    charged: list[str] = field(default_factory=list)
    refunded: list[str] = field(default_factory=list)

    async def charge(self, key: str, amount: Decimal, currency: str, token: str | None) -> Outcome:
        self.charged.append(key)
        self.asked.set()
        await self.go_on.wait()
        return self.decided.setdefault(key, self.outcome)

    async def find(self, key: str) -> Outcome | None:
        return self.decided.get(key)

    async def refund(self, key: str) -> None:
        self.refunded.append(key)


@asynccontextmanager
async def paid_through(payments: Payments, settings: Settings) -> AsyncIterator[Visitor]:
    """A server of its own for the same database."""
    app = create_app(settings, payments)
    async with app.router.lifespan_context(app):
        yield Visitor(app)


@dataclass(slots=True)
class SilentPayments:
    """Cannot be reached, for this reason, until it comes back with something else to say."""

    error: Exception | None
    outcome: Outcome | None = None
    asked: int = 0
    refunded: list[str] = field(default_factory=list)

    def _answer(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error

    async def charge(self, key: str, amount: Decimal, currency: str, token: str | None) -> Outcome:
        self._answer()
        return self.outcome or Approved()

    async def find(self, key: str) -> Outcome | None:
        self._answer()
        return self.outcome

    async def refund(self, key: str) -> None:
        self._answer()
        self.refunded.append(key)
