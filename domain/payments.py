"""The payment provider as the shop sees it, and a mock one that remembers."""

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from persistence import payments
from persistence.postgres.database import Database


@dataclass(frozen=True, slots=True)
class Approved:
    """The money has been taken."""


@dataclass(frozen=True, slots=True)
class Declined:
    """It has not, and will not be under this key."""

    reason: str | None = None


PaymentOutcome = Approved | Declined


class PaymentProvider(Protocol):
    """Each call may take long, fail or be repeated; the key makes that safe."""

    async def charge(
        self, idempotency_key: str, amount: Decimal, currency: str, payment_token: str | None
    ) -> PaymentOutcome:
        """Takes the money once; the same key gets the same answer."""

    async def find(self, idempotency_key: str) -> PaymentOutcome | None:
        """What became of a charge; `None` when the provider has never heard of it."""

    async def refund(self, idempotency_key: str) -> None:
        """Gives the money back once, or sees to it that it will never be taken under this key."""


class MockPaymentProvider:
    """Approves `mock-approve`, declines `mock-decline`, and otherwise approves nine keys in ten."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(
        self, idempotency_key: str, amount: Decimal, currency: str, payment_token: str | None
    ) -> PaymentOutcome:
        reason = None if _is_approved(idempotency_key, payment_token) else "The card was refused."
        status = "APPROVED" if reason is None else "DECLINED"
        async with self._database.transaction() as tx:
            await payments.add_payment(tx, idempotency_key, status, amount, currency, reason)
            payment = await payments.find_payment(tx, idempotency_key)
        assert payment is not None
        return _build_outcome(payment)

    async def find(self, idempotency_key: str) -> PaymentOutcome | None:
        payment = await payments.find_payment(self._database.read_session, idempotency_key)
        return None if payment is None else _build_outcome(payment)

    async def refund(self, idempotency_key: str) -> None:
        async with self._database.transaction() as tx:
            await payments.add_payment(tx, idempotency_key, "VOIDED", None, None, "The purchase was called off.")
            await payments.mark_refunded(tx, idempotency_key)


def _is_approved(idempotency_key: str, payment_token: str | None) -> bool:
    if payment_token in ("mock-approve", "mock-decline"):
        return payment_token == "mock-approve"  # noqa: S105  # not a secret
    return hashlib.sha256(idempotency_key.encode()).digest()[0] % 10 != 0


def _build_outcome(payment: payments.MockPaymentRow) -> PaymentOutcome:
    return Approved() if payment.status == "APPROVED" else Declined(payment.reason)
