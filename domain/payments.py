"""The interface of payment providers, and a mock provider that stores its payments in the database."""

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from persistence import payments
from persistence.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Approved:
    """The provider charged the amount."""


@dataclass(frozen=True, slots=True)
class Declined:
    """The provider declined the charge; no charge with this idempotency key will succeed."""

    reason: str | None = None


PaymentOutcome = Approved | Declined


class PaymentProvider(Protocol):
    """A payment provider. Calls may be slow, fail or be repeated; the idempotency key makes repetition safe."""

    async def charge(
        self, idempotency_key: str, amount: Decimal, currency: str, payment_token: str | None
    ) -> PaymentOutcome:
        """Charge the amount at most once; the same key returns the same outcome."""

    async def find(self, idempotency_key: str) -> PaymentOutcome | None:
        """Return the outcome of a charge, or `None` when the provider does not know the key."""

    async def refund(self, idempotency_key: str) -> None:
        """Refund the charge at most once, or void the key so that no later charge with it succeeds."""


class MockPaymentProvider:
    """A mock provider: approves `mock-approve`, declines `mock-decline`, and otherwise approves nine keys in ten."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(
        self, idempotency_key: str, amount: Decimal, currency: str, payment_token: str | None
    ) -> PaymentOutcome:
        """Record the outcome for the key and return it; a recorded outcome does not change."""
        reason = None if _is_approved(idempotency_key, payment_token) else "The card was declined."
        status = "APPROVED" if reason is None else "DECLINED"
        async with self._database.transaction() as tx:
            await payments.add_payment(tx, idempotency_key, status, amount, currency, reason)
            payment = await payments.find_payment(tx, idempotency_key)
        assert payment is not None
        return _build_outcome(payment)

    async def find(self, idempotency_key: str) -> PaymentOutcome | None:
        """Return the recorded outcome, or `None` for an unknown key."""
        payment = await payments.find_payment(self._database.read_session, idempotency_key)
        return None if payment is None else _build_outcome(payment)

    async def refund(self, idempotency_key: str) -> None:
        """Mark an approved payment as refunded, or void an unknown key."""
        async with self._database.transaction() as tx:
            await payments.add_payment(tx, idempotency_key, "VOIDED", None, None, "The order was cancelled.")
            await payments.mark_refunded(tx, idempotency_key)


def _is_approved(idempotency_key: str, payment_token: str | None) -> bool:
    if payment_token in ("mock-approve", "mock-decline"):
        return payment_token == "mock-approve"
    return hashlib.sha256(idempotency_key.encode()).digest()[0] % 10 != 0


def _build_outcome(payment: payments.MockPaymentRow) -> PaymentOutcome:
    return Approved() if payment.status == "APPROVED" else Declined(payment.reason)
