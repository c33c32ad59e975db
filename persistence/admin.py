"""Lists for administrators: all users and all orders, the latest first."""

import datetime as dt
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Boolean, ColumnElement, DateTime, String, Uuid, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from persistence import tables
from persistence.accounts import USER_COLUMNS, UserRow
from persistence.orders import ORDER_COLUMNS, OrderRow
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
from persistence.postgres.statements import Query, build_like_pattern

# ── Users ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class UserQuery:
    """The filters of a list of users; `None` means no filter."""

    role: str | None = None
    is_active: bool | None = None
    search: str | None = None

    @property
    def shape(self) -> "UserQueryShape":
        """Which filters are set."""
        return UserQueryShape(*(getattr(self, name) is not None for name in UserQueryShape._fields))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the statement."""
        return {name: getattr(self, name) for name in UserQueryShape._fields}


class UserQueryShape(NamedTuple):
    """The filters that are set: everything that the SQL of a list of users depends on."""

    role: bool
    is_active: bool
    search: bool


_user = tables.User
_NEWEST_USER = Sort(_user.created_at.expression, descending=True)


def _build_user_conditions(shape: UserQueryShape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.role:
        conditions.append(_user.role == bindparam("role", type_=String()))
    if shape.is_active:
        conditions.append(_user.is_active == bindparam("is_active", type_=Boolean()))
    if shape.search:
        pattern = build_like_pattern(bindparam("search", type_=String()))
        conditions.append(or_(_user.email.ilike(pattern), _user.display_name.ilike(pattern)))
    return conditions


@lru_cache(maxsize=100)
def _build_users_query(shape: UserQueryShape, page: PageShape) -> Query[KeyedRow[UserRow]]:
    return build_page_query(
        USER_COLUMNS,
        UserRow,
        _build_user_conditions(shape),
        _NEWEST_USER,
        _user.id.expression,
        page,
        needs_custom_plan=shape.search,
    )


@lru_cache(maxsize=100)
def _build_users_count_query(shape: UserQueryShape) -> Query[int]:
    return build_count_query(_user.id.expression, _build_user_conditions(shape), needs_custom_plan=shape.search)


async def list_users(db: ReadSession, user_query: UserQuery, page: PageRequest) -> PageResult[UserRow]:
    """Return a page of the users, the latest first."""
    return await fetch_page(db, _build_users_query(user_query.shape, page.shape), page, **user_query.parameters)


async def count_users(db: ReadSession, user_query: UserQuery) -> int:
    """Count the users up to `COUNT_LIMIT`."""
    return await db.first(_build_users_count_query(user_query.shape), **user_query.parameters) or 0


# ── Orders ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class OrderQuery:
    """The filters of a list of orders; `None` means no filter.

    `number` and `email` come from one search text: an order matches when either does.
    """

    statuses: tuple[str, ...] | None = None
    user_id: uuid.UUID | None = None
    number: str | None = None
    email: str | None = None
    placed_from: dt.datetime | None = None
    placed_before: dt.datetime | None = None

    @property
    def shape(self) -> "OrderQueryShape":
        """Which filters are set."""
        return OrderQueryShape(*(getattr(self, name) is not None for name in OrderQueryShape._fields))

    @property
    def parameters(self) -> dict[str, Any]:
        """The parameters of the statement."""
        return {name: getattr(self, name) for name in OrderQueryShape._fields}


class OrderQueryShape(NamedTuple):
    """The filters that are set: everything that the SQL of a list of orders depends on."""

    statuses: bool
    user_id: bool
    number: bool
    email: bool
    placed_from: bool
    placed_before: bool


_order = tables.Order
_LATEST_ORDER = Sort(_order.placed_at.expression, descending=True)


def _build_order_conditions(shape: OrderQueryShape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.statuses:
        conditions.append(_order.status == any_(bindparam("statuses", type_=ARRAY(String()))))
    if shape.user_id:
        conditions.append(_order.user_id == bindparam("user_id", type_=Uuid()))
    if shape.email:
        pattern = build_like_pattern(bindparam("email", type_=String()))
        customers = select(_user.id).where(_user.email.ilike(pattern))
        by_customer = _order.user_id == any_(func.array(customers.scalar_subquery()))
        by_number = _order.number == bindparam("number", type_=String())
        conditions.append(or_(by_number, by_customer) if shape.number else by_customer)
    if shape.placed_from:
        conditions.append(_order.placed_at >= bindparam("placed_from", type_=DateTime(timezone=True)))
    if shape.placed_before:
        conditions.append(_order.placed_at < bindparam("placed_before", type_=DateTime(timezone=True)))
    return conditions


@lru_cache(maxsize=200)
def _build_orders_query(shape: OrderQueryShape, page: PageShape) -> Query[KeyedRow[OrderRow]]:
    return build_page_query(
        ORDER_COLUMNS,
        OrderRow,
        _build_order_conditions(shape),
        _LATEST_ORDER,
        _order.id.expression,
        page,
        needs_custom_plan=shape.email,
    )


@lru_cache(maxsize=200)
def _build_orders_count_query(shape: OrderQueryShape) -> Query[int]:
    return build_count_query(_order.id.expression, _build_order_conditions(shape), needs_custom_plan=shape.email)


async def list_all_orders(db: ReadSession, order_query: OrderQuery, page: PageRequest) -> PageResult[OrderRow]:
    """Return a page of all customers' orders, the latest first."""
    return await fetch_page(db, _build_orders_query(order_query.shape, page.shape), page, **order_query.parameters)


async def count_all_orders(db: ReadSession, order_query: OrderQuery) -> int:
    """Count all customers' orders up to `COUNT_LIMIT`."""
    return await db.first(_build_orders_count_query(order_query.shape), **order_query.parameters) or 0
