"""The payments that the mock payment provider has stored."""

import decimal
from dataclasses import dataclass

from sqlalchemy import String, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query


@dataclass(slots=True)
class MockPaymentRow:
    """A payment as the mock provider decided it."""

    key: str
    status: str
    reason: str | None


_payment = tables.MockPayment
_BY_KEY = Query(
    select(_payment.key, _payment.status, _payment.reason).where(_payment.key == bindparam("key", type_=String())),
    MockPaymentRow,
)
_ADD = Command(upsert(_payment).on_conflict_do_nothing())
_REFUND = Command(
    update(_payment)
    .where(
        _payment.key == bindparam("payment", type_=String()),
        _payment.status == "APPROVED",
        _payment.refunded_at.is_(None),
    )
    .values(refunded_at=func.now())
)


async def add_payment(
    tx: Transaction,
    key: str,
    status: str,
    amount: decimal.Decimal | None,
    currency: str | None,
    reason: str | None,
) -> None:
    """Store the provider's decision, unless there is one for this key already."""
    await tx.execute(_ADD, key=key, status=status, amount=amount, currency=currency, reason=reason)


async def find_payment(db: ReadSession | Transaction, key: str) -> MockPaymentRow | None:
    """Return the payment with this key, or `None`."""
    return await db.first(_BY_KEY, key=key)


async def mark_refunded(tx: Transaction, key: str) -> bool:
    """Mark an approved payment as refunded; false when there is none or it was refunded before."""
    return await tx.execute(_REFUND, payment=key) == 1
