"""The payment provider as the shop sees it, and a mock one that remembers."""

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from typing import Protocol

from persistence import payments
from persistence.database import Database


@dataclass(frozen=True, slots=True)
class Approved:
    """The money has been taken."""


@dataclass(frozen=True, slots=True)
class Declined:
    """It has not, and will not be under this key."""

    reason: str | None = None


Outcome = Approved | Declined


class Payments(Protocol):
    """Each call may take long, fail or be repeated; the key makes that safe."""

    async def charge(self, key: str, amount: Decimal, currency: str, token: str | None) -> Outcome:
        """Takes the money once; the same key gets the same answer."""

    async def find(self, key: str) -> Outcome | None:
        """What became of a charge; `None` when the provider has never heard of it."""

    async def refund(self, key: str) -> None:
        """Gives the money back once, or sees to it that it will never be taken under this key."""


class MockPayments:
    """Approves `mock-approve`, declines `mock-decline`, and otherwise approves nine keys in ten."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def charge(self, key: str, amount: Decimal, currency: str, token: str | None) -> Outcome:
        reason = None if _approves(key, token) else "The card was refused."
        status = "APPROVED" if reason is None else "DECLINED"
        async with self._database.transaction() as tx:
            await payments.add_payment(tx, key, status, amount, currency, reason)
            payment = await payments.find_payment(tx, key)
        assert payment is not None
        return _outcome(payment)

    async def find(self, key: str) -> Outcome | None:
        payment = await payments.find_payment(self._database.reading, key)
        return None if payment is None else _outcome(payment)

    async def refund(self, key: str) -> None:
        async with self._database.transaction() as tx:
            await payments.add_payment(tx, key, "VOIDED", None, None, "The purchase was called off.")
            await payments.set_refunded(tx, key)


def _approves(key: str, token: str | None) -> bool:
    if token in ("mock-approve", "mock-decline"):
        return token == "mock-approve"  # noqa: S105  # not a secret
    return hashlib.sha256(key.encode()).digest()[0] % 10 != 0


def _outcome(payment: payments.MockPayment) -> Outcome:
    return Approved() if payment.status == "APPROVED" else Declined(payment.reason)
