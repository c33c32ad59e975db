"""Orders, their lines and addresses, and what sweepers pick up."""

import datetime as dt
import decimal
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any

from sqlalchemy import (
    Interval,
    Select,
    String,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    literal_column,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import models
from persistence.database import Reading, Transaction
from persistence.pages import (
    COUNT_LIMIT,
    Item,
    Page,
    PageShape,
    Slice,
    Sort,
    keyed,
    paged,
    take,
)
from persistence.query import Command, Query


class OrderStatus(StrEnum):
    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    SHIPPED = "SHIPPED"
    CANCELLED = "CANCELLED"


STANDS = models.Order.status.in_(
    [literal_column(f"'{status}'") for status in (OrderStatus.CONFIRMED, OrderStatus.SHIPPED)]
)
"""An order that is paid and not called off: what counts as bought and as sold."""


@dataclass(slots=True)
class Order:
    id: uuid.UUID
    number: str
    user_id: uuid.UUID
    status: str
    total: decimal.Decimal
    total_quantity: int
    currency: str
    input_digest: bytes
    payment_token: str | None = field(repr=False)
    decline_reason: str | None
    tracking_url: str | None
    placed_at: dt.datetime
    shipped_at: dt.datetime | None
    cancelled_at: dt.datetime | None
    refunded_at: dt.datetime | None


@dataclass(slots=True)
class OrderItem:
    id: uuid.UUID
    order_id: uuid.UUID
    book_id: uuid.UUID | None
    title: str
    quantity: int
    unit_price: decimal.Decimal
    currency: str

    @property
    def line_total(self) -> decimal.Decimal:
        return self.unit_price * self.quantity


@dataclass(slots=True)
class Address:
    recipient: str
    line1: str
    line2: str | None
    city: str
    region: str | None
    postal_code: str | None
    country: str
    phone: str | None


ORDER = tuple(getattr(models.Order, name) for name in Order.__slots__)
_currency = select(models.Order.currency).where(models.Order.id == models.OrderItem.order_id).scalar_subquery()
ITEM = (*(getattr(models.OrderItem, name) for name in OrderItem.__slots__ if name != "currency"), _currency)
ADDRESS = tuple(getattr(models.OrderAddress, name) for name in Address.__slots__)

_order = models.Order
_id = bindparam("id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))
_BY_ID = Query(select(*ORDER).where(_order.id == _id), Order)
_BY_IDS = Query(select(*ORDER).where(_order.id == any_(_ids)), Order)
_BY_NUMBER = Query(select(*ORDER).where(_order.number == bindparam("number", type_=String())), Order)
_BY_KEY = Query(
    select(*ORDER).where(
        _order.user_id == bindparam("user_id", type_=Uuid()),
        _order.idempotency_key == bindparam("key", type_=String()),
    ),
    Order,
)
_LOCKED = Query(select(*ORDER).where(_order.id == _id).with_for_update(), Order)
_ITEMS = Query(
    select(*ITEM)
    .where(models.OrderItem.order_id == any_(_ids))
    .order_by(models.OrderItem.order_id, models.OrderItem.id),
    OrderItem,
)
_ADDRESSES: Query[tuple[uuid.UUID, Address]] = Query(
    select(models.OrderAddress.order_id, *ADDRESS).where(models.OrderAddress.order_id == any_(_ids)),
    lambda order_id, *address: (order_id, Address(*address)),
)


# ── Reads ─────────────────────────────────────────────────────────────────────────────────


async def find_order(db: Reading | Transaction, order_id: uuid.UUID) -> Order | None:
    return await db.first(_BY_ID, id=order_id)


async def list_orders_by_id(reading: Reading, ids: list[uuid.UUID]) -> list[Order]:
    return await reading.all(_BY_IDS, ids=ids)


async def find_order_by_number(reading: Reading, number: str) -> Order | None:
    return await reading.first(_BY_NUMBER, number=number)


async def find_order_by_key(db: Reading | Transaction, user_id: uuid.UUID, idempotency_key: str) -> Order | None:
    return await db.first(_BY_KEY, user_id=user_id, key=idempotency_key)


async def list_order_items(db: Reading | Transaction, order_ids: list[uuid.UUID]) -> list[OrderItem]:
    """The lines of several orders, each order's in the order they were in the cart."""
    return await db.all(_ITEMS, ids=order_ids)


async def list_addresses(db: Reading | Transaction, order_ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, Address]]:
    return await db.all(_ADDRESSES, ids=order_ids)


_LATEST = Sort(_order.placed_at.expression, descending=True)


def _of_customer(statement: Select[Any], by_status: bool) -> Select[Any]:
    statement = statement.where(_order.user_id == bindparam("user_id", type_=Uuid()))
    if by_status:
        statement = statement.where(_order.status == any_(bindparam("statuses", type_=ARRAY(String()))))
    return statement


@lru_cache(maxsize=100)
def _page_query(page: PageShape, by_status: bool) -> Query[Item[Order]]:
    statement = _of_customer(select(_LATEST.key, _order.id, *ORDER), by_status)
    return Query(paged(statement, _LATEST, _order.id.expression, page), keyed(Order), skewed=page.skewed)


@lru_cache(maxsize=2)
def _count_query(by_status: bool) -> Query[int]:
    if not by_status:
        return Query(_of_customer(select(func.count()), by_status), int)
    some = _of_customer(select(_order.id), by_status).limit(COUNT_LIMIT).subquery()
    return Query(select(func.count()).select_from(some), int)


async def list_orders(
    reading: Reading, user_id: uuid.UUID, statuses: tuple[str, ...] | None, page: Page
) -> Slice[Order]:
    """A customer's orders, the latest first."""
    query = _page_query(page.shape, statuses is not None)
    return await take(reading, query, page, user_id=user_id, statuses=statuses)


async def count_orders(reading: Reading, user_id: uuid.UUID, statuses: tuple[str, ...] | None) -> int:
    return await reading.first(_count_query(statuses is not None), user_id=user_id, statuses=statuses) or 0


# ── Writes ────────────────────────────────────────────────────────────────────────────────


_CLAIM = Command(upsert(_order).on_conflict_do_nothing().returning(_order.id))
_SET = Command(update(_order).where(_order.id == bindparam("order", type_=Uuid())).returning(*ORDER))
_ADD_ITEM = Command(insert(models.OrderItem))
_ADD_ADDRESS = Command(insert(models.OrderAddress))


async def claim_order(tx: Transaction, **details: Any) -> uuid.UUID | None:
    """Inserts the order, and with it claims its (user, idempotency key).

    `None` when either that or the order number is taken; waits for whoever is claiming the same at this moment.
    """
    order_id: uuid.UUID | None = await tx.scalar(_CLAIM, **details)
    return order_id


async def lock_order(tx: Transaction, order_id: uuid.UUID) -> Order | None:
    return await tx.first(_LOCKED, id=order_id)


async def set_order(tx: Transaction, order_id: uuid.UUID, **details: Any) -> Order:
    """The order as it is now."""
    [row] = await tx.rows(_SET, order=order_id, **details)
    return Order(*row)


async def add_order_items(tx: Transaction, order_id: uuid.UUID, items: Sequence[dict[str, Any]]) -> None:
    await tx.run_for_each(_ADD_ITEM, [{"order_id": order_id, **item} for item in items])


async def add_address(tx: Transaction, order_id: uuid.UUID, address: Address) -> None:
    await tx.run(_ADD_ADDRESS, order_id=order_id, **asdict(address))


# ── Sweeping ──────────────────────────────────────────────────────────────────────────────


def _one_due(due: Select[Any]) -> Any:
    return due.order_by(_order.placed_at).limit(1).with_for_update(skip_locked=True).scalar_subquery()


_PENDING = select(_order.id).where(
    _order.status == OrderStatus.PENDING,
    _order.placed_at < func.now() - bindparam("older_than", type_=Interval()),
    func.coalesce(_order.swept_at, _order.placed_at) < func.now() - bindparam("lease", type_=Interval()),
)
_TAKE_UP_PENDING = Command(
    update(_order).where(_order.id == _one_due(_PENDING)).values(swept_at=func.now()).returning(*ORDER)
)
_delay = func.least(
    bindparam("first_delay", type_=Interval()) * func.power(2, func.least(_order.refund_attempts, 30)),
    bindparam("longest_delay", type_=Interval()),
)
_TAKE_UP_REFUND = Command(
    update(_order)
    .where(_order.id == _one_due(select(_order.id).where(_order.refund_due_at <= func.now())))
    .values(refund_attempts=_order.refund_attempts + 1, refund_due_at=func.now() + _delay)
    .returning(*ORDER)
)


async def take_up_pending(tx: Transaction, older_than: dt.timedelta, lease: dt.timedelta) -> Order | None:
    """One order whose checkout seems to be dead and that no other sweeper has taken up within the lease."""
    rows = await tx.rows(_TAKE_UP_PENDING, older_than=older_than, lease=lease)
    return Order(*rows[0]) if rows else None


async def take_up_refund(tx: Transaction, first_delay: dt.timedelta, longest_delay: dt.timedelta) -> Order | None:
    """One order whose money is to go back now; its next try is put off, twice as far each time, until it is done."""
    rows = await tx.rows(_TAKE_UP_REFUND, first_delay=first_delay, longest_delay=longest_delay)
    return Order(*rows[0]) if rows else None
