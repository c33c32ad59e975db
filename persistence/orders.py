"""Orders, their items and addresses, and the orders that the sweeper has to deal with."""

import datetime as dt
import decimal
import uuid
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from functools import lru_cache
from typing import Any, TypedDict, Unpack

from sqlalchemy import (
    ColumnElement,
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

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.keyset import (
    KeyedRow,
    PageRequest,
    PageResult,
    PageShape,
    Sort,
    build_count_query,
    build_page_query,
    fetch_page,
)
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query


class OrderStatus(StrEnum):
    """The state of an order; a new order is PENDING until its payment is known."""

    PENDING = "PENDING"
    CONFIRMED = "CONFIRMED"
    PAYMENT_FAILED = "PAYMENT_FAILED"
    SHIPPED = "SHIPPED"
    CANCELLED = "CANCELLED"


IS_EFFECTIVE = tables.Order.status.in_(
    [literal_column(f"'{status}'") for status in (OrderStatus.CONFIRMED, OrderStatus.SHIPPED)]
)
"""The order is paid and not cancelled; only such orders count as purchases and sales."""


@dataclass(slots=True)
class OrderRow:
    """An order."""

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
class OrderItemRow:
    """A book in an order, with the title and the price of the day."""

    id: uuid.UUID
    order_id: uuid.UUID
    book_id: uuid.UUID | None
    title: str
    quantity: int
    unit_price: decimal.Decimal
    currency: str

    @property
    def line_total(self) -> decimal.Decimal:
        """The price of the whole item."""
        return self.unit_price * self.quantity


@dataclass(slots=True)
class AddressRow:
    """A shipping address."""

    recipient: str
    line1: str
    line2: str | None
    city: str
    region: str | None
    postal_code: str | None
    country: str
    phone: str | None


class NewOrder(TypedDict):
    """The columns of an order that is added."""

    number: str
    user_id: uuid.UUID
    total: decimal.Decimal
    total_quantity: int
    currency: str
    idempotency_key: str
    input_digest: bytes
    payment_token: str | None


class OrderChanges(TypedDict, total=False):
    """The columns of an order that can change."""

    status: OrderStatus
    total: decimal.Decimal
    total_quantity: int
    decline_reason: str | None
    tracking_url: str | None
    shipped_at: dt.datetime
    cancelled_at: dt.datetime
    refund_due_at: dt.datetime | None
    refunded_at: dt.datetime


class NewOrderItem(TypedDict):
    """The columns of an order item that is added."""

    book_id: uuid.UUID
    title: str
    quantity: int
    unit_price: decimal.Decimal


ORDER_COLUMNS = tuple(getattr(tables.Order, name) for name in OrderRow.__slots__)
_currency = select(tables.Order.currency).where(tables.Order.id == tables.OrderItem.order_id).scalar_subquery()
ORDER_ITEM_COLUMNS = (
    *(getattr(tables.OrderItem, name) for name in OrderItemRow.__slots__ if name != "currency"),
    _currency,
)
ADDRESS_COLUMNS = tuple(getattr(tables.OrderAddress, name) for name in AddressRow.__slots__)

_order = tables.Order
_id = bindparam("id", type_=Uuid())
_ids = bindparam("ids", type_=ARRAY(Uuid()))
_BY_ID = Query(select(*ORDER_COLUMNS).where(_order.id == _id), OrderRow)
_BY_IDS = Query(select(*ORDER_COLUMNS).where(_order.id == any_(_ids)), OrderRow)
_BY_NUMBER = Query(select(*ORDER_COLUMNS).where(_order.number == bindparam("number", type_=String())), OrderRow)
_BY_IDEMPOTENCY_KEY = Query(
    select(*ORDER_COLUMNS).where(
        _order.user_id == bindparam("user_id", type_=Uuid()),
        _order.idempotency_key == bindparam("key", type_=String()),
    ),
    OrderRow,
)
_ITEMS = Query(
    select(*ORDER_ITEM_COLUMNS)
    .where(tables.OrderItem.order_id == any_(_ids))
    .order_by(tables.OrderItem.order_id, tables.OrderItem.id),
    OrderItemRow,
)
_ADDRESSES: Query[tuple[uuid.UUID, AddressRow]] = Query(
    select(tables.OrderAddress.order_id, *ADDRESS_COLUMNS).where(tables.OrderAddress.order_id == any_(_ids)),
    lambda order_id, *address: (order_id, AddressRow(*address)),
)


# ── Reads ─────────────────────────────────────────────────────────────────────────────────


async def find_order(db: ReadSession | Transaction, order_id: uuid.UUID) -> OrderRow | None:
    """Return the order, or `None` when there is no such order."""
    return await db.first(_BY_ID, id=order_id)


async def list_orders_by_id(db: ReadSession, ids: list[uuid.UUID]) -> list[OrderRow]:
    """Return the orders in no particular order; missing ones are left out."""
    return await db.all(_BY_IDS, ids=ids)


async def find_order_by_number(db: ReadSession, number: str) -> OrderRow | None:
    """Return the order with this number, or `None`."""
    return await db.first(_BY_NUMBER, number=number)


async def find_order_by_idempotency_key(
    db: ReadSession | Transaction, user_id: uuid.UUID, idempotency_key: str
) -> OrderRow | None:
    """Return the order that the user placed under this key, or `None`."""
    return await db.first(_BY_IDEMPOTENCY_KEY, user_id=user_id, key=idempotency_key)


async def list_order_items(db: ReadSession | Transaction, order_ids: list[uuid.UUID]) -> list[OrderItemRow]:
    """Return the items of several orders, each order's in the order they had in the cart."""
    return await db.all(_ITEMS, ids=order_ids)


async def list_addresses(
    db: ReadSession | Transaction, order_ids: list[uuid.UUID]
) -> list[tuple[uuid.UUID, AddressRow]]:
    """Return (order id, address) of those orders that are shipped to an address."""
    return await db.all(_ADDRESSES, ids=order_ids)


_LATEST = Sort(_order.placed_at.expression, descending=True)


def _build_conditions(has_status_filter: bool) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = [_order.user_id == bindparam("user_id", type_=Uuid())]
    if has_status_filter:
        conditions.append(_order.status == any_(bindparam("statuses", type_=ARRAY(String()))))
    return conditions


@lru_cache(maxsize=100)
def _build_page_query(page: PageShape, has_status_filter: bool) -> Query[KeyedRow[OrderRow]]:
    conditions = _build_conditions(has_status_filter)
    return build_page_query(ORDER_COLUMNS, OrderRow, conditions, _LATEST, _order.id.expression, page)


@lru_cache(maxsize=2)
def _build_count_query(has_status_filter: bool) -> Query[int]:
    conditions = _build_conditions(has_status_filter)
    if not has_status_filter:
        return Query(select(func.count()).where(*conditions), int)
    return build_count_query(_order.id.expression, conditions)


async def list_orders(
    db: ReadSession, user_id: uuid.UUID, statuses: tuple[str, ...] | None, page: PageRequest
) -> PageResult[OrderRow]:
    """Return a page of a customer's orders, the latest first; `statuses` of `None` means all."""
    query = _build_page_query(page.shape, statuses is not None)
    return await fetch_page(db, query, page, user_id=user_id, statuses=statuses)


async def count_orders(db: ReadSession, user_id: uuid.UUID, statuses: tuple[str, ...] | None) -> int:
    """Count a customer's orders: exactly, or up to `COUNT_LIMIT` where `statuses` filters them."""
    return await db.first(_build_count_query(statuses is not None), user_id=user_id, statuses=statuses) or 0


# ── Writes ────────────────────────────────────────────────────────────────────────────────


_ADD = Command(upsert(_order).on_conflict_do_nothing().returning(_order.id))
_UPDATE = Command(update(_order).where(_order.id == bindparam("order", type_=Uuid())).returning(*ORDER_COLUMNS))
_ADD_ITEM = Command(insert(tables.OrderItem))
_ADD_ADDRESS = Command(insert(tables.OrderAddress))


async def add_order(tx: Transaction, **order: Unpack[NewOrder]) -> uuid.UUID | None:
    """Add an order and return its id, or `None` when its number or its (user, idempotency key) is taken.

    Waits for a concurrent transaction that is adding the same.
    """
    order_id: uuid.UUID | None = await tx.scalar(_ADD, **order)
    return order_id


async def update_order(tx: Transaction, order_id: uuid.UUID, **changes: Unpack[OrderChanges]) -> OrderRow:
    """Change some columns of an order that exists, and return its new row."""
    [row] = await tx.fetch_records(_UPDATE, order=order_id, **changes)
    return OrderRow(*row)


async def add_order_items(tx: Transaction, order_id: uuid.UUID, items: Sequence[NewOrderItem]) -> None:
    """Add the items of an order."""
    await tx.execute_many(_ADD_ITEM, [{"order_id": order_id, **item} for item in items])


async def add_address(tx: Transaction, order_id: uuid.UUID, address: AddressRow) -> None:
    """Add the shipping address of an order."""
    await tx.execute(_ADD_ADDRESS, order_id=order_id, **asdict(address))


# ── Sweeping ──────────────────────────────────────────────────────────────────────────────


def _select_one_unlocked(candidates: Select[Any]) -> Any:
    return candidates.order_by(_order.placed_at).limit(1).with_for_update(skip_locked=True).scalar_subquery()


_STALE_PENDING = select(_order.id).where(
    _order.status == OrderStatus.PENDING,
    _order.placed_at < func.now() - bindparam("older_than", type_=Interval()),
    func.coalesce(_order.swept_at, _order.placed_at) < func.now() - bindparam("lease", type_=Interval()),
)
_CLAIM_STALE_PENDING = Command(
    update(_order)
    .where(_order.id == _select_one_unlocked(_STALE_PENDING))
    .values(swept_at=func.now())
    .returning(*ORDER_COLUMNS)
)
_refund_delay = func.least(
    bindparam("initial_delay", type_=Interval()) * func.power(2, func.least(_order.refund_attempts, 30)),
    bindparam("max_delay", type_=Interval()),
)
_CLAIM_DUE_REFUND = Command(
    update(_order)
    .where(_order.id == _select_one_unlocked(select(_order.id).where(_order.refund_due_at <= func.now())))
    .values(refund_attempts=_order.refund_attempts + 1, refund_due_at=func.now() + _refund_delay)
    .returning(*ORDER_COLUMNS)
)


async def claim_stale_pending_order(tx: Transaction, older_than: dt.timedelta, lease: dt.timedelta) -> OrderRow | None:
    """Claim one order that has been PENDING for longer than `older_than`, unless a sweeper claimed it within the lease."""
    rows = await tx.fetch_records(_CLAIM_STALE_PENDING, older_than=older_than, lease=lease)
    return OrderRow(*rows[0]) if rows else None


async def claim_due_refund(tx: Transaction, initial_delay: dt.timedelta, max_delay: dt.timedelta) -> OrderRow | None:
    """Claim one order whose refund is due, and schedule its next attempt; the delay doubles up to `max_delay`."""
    rows = await tx.fetch_records(_CLAIM_DUE_REFUND, initial_delay=initial_delay, max_delay=max_delay)
    return OrderRow(*rows[0]) if rows else None
