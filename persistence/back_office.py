"""What only administrators list: all accounts and all orders, the latest first."""

import datetime as dt
import uuid
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple

from sqlalchemy import Boolean, ColumnElement, DateTime, String, Uuid, any_, bindparam, func, or_, select
from sqlalchemy.dialects.postgresql import ARRAY

from persistence import models
from persistence.accounts import USER, User
from persistence.database import Reading
from persistence.orders import ORDER, Order
from persistence.pages import COUNT_LIMIT, Item, Page, PageShape, Slice, Sort, keyed, paged, take
from persistence.query import Query


def containing(text: str) -> str:
    """A LIKE pattern for the text anywhere; its own wildcards are taken literally."""
    for character in "\\%_":
        text = text.replace(character, f"\\{character}")
    return f"%{text}%"


# ── Users ─────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class UserList:
    """Which users. What is `None` does not narrow."""

    role: str | None = None
    is_active: bool | None = None
    search: str | None = None

    @property
    def shape(self) -> "UserShape":
        return UserShape(*(getattr(self, name) is not None for name in UserShape._fields))

    @property
    def parameters(self) -> dict[str, Any]:
        pattern = None if self.search is None else containing(self.search)
        return {"role": self.role, "is_active": self.is_active, "search": pattern}


class UserShape(NamedTuple):
    role: bool
    is_active: bool
    search: bool


_user = models.User
_NEWEST_USER = Sort(_user.created_at.expression, descending=True)


def _of_users(shape: UserShape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.role:
        conditions.append(_user.role == bindparam("role", type_=String()))
    if shape.is_active:
        conditions.append(_user.is_active == bindparam("is_active", type_=Boolean()))
    if shape.search:
        pattern = bindparam("search", type_=String())
        conditions.append(or_(_user.email.ilike(pattern), _user.display_name.ilike(pattern)))
    return conditions


@lru_cache(maxsize=100)
def _users_query(shape: UserShape, page: PageShape) -> Query[Item[User]]:
    statement = select(_NEWEST_USER.key, _user.id, *USER).where(*_of_users(shape))
    return Query(
        paged(statement, _NEWEST_USER, _user.id.expression, page), keyed(User), skewed=shape.search or page.skewed
    )


@lru_cache(maxsize=100)
def _users_count(shape: UserShape) -> Query[int]:
    some = select(_user.id).where(*_of_users(shape)).limit(COUNT_LIMIT).subquery()
    return Query(select(func.count()).select_from(some), int, skewed=shape.search)


async def list_users(reading: Reading, wanted: UserList, page: Page) -> Slice[User]:
    return await take(reading, _users_query(wanted.shape, page.shape), page, **wanted.parameters)


async def count_users(reading: Reading, wanted: UserList) -> int:
    """Up to `COUNT_LIMIT`."""
    return await reading.first(_users_count(wanted.shape), **wanted.parameters) or 0


# ── Orders ────────────────────────────────────────────────────────────────────────────────


@dataclass(frozen=True, slots=True)
class OrderList:
    """Which orders. What is `None` does not narrow; `number` and `email` are two readings of one search."""

    statuses: tuple[str, ...] | None = None
    user_id: uuid.UUID | None = None
    number: str | None = None
    email: str | None = None
    placed_from: dt.datetime | None = None
    placed_before: dt.datetime | None = None

    @property
    def shape(self) -> "OrderShape":
        return OrderShape(*(getattr(self, name) is not None for name in OrderShape._fields))

    @property
    def parameters(self) -> dict[str, Any]:
        told = {name: getattr(self, name) for name in OrderShape._fields}
        return told | {"email": None if self.email is None else containing(self.email)}


class OrderShape(NamedTuple):
    statuses: bool
    user_id: bool
    number: bool
    email: bool
    placed_from: bool
    placed_before: bool


_order = models.Order
_LATEST_ORDER = Sort(_order.placed_at.expression, descending=True)


def _of_orders(shape: OrderShape) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if shape.statuses:
        conditions.append(_order.status == any_(bindparam("statuses", type_=ARRAY(String()))))
    if shape.user_id:
        conditions.append(_order.user_id == bindparam("user_id", type_=Uuid()))
    if shape.email:
        owners = select(_user.id).where(_user.email.ilike(bindparam("email", type_=String())))
        theirs = _order.user_id == any_(func.array(owners.scalar_subquery()))
        numbered = _order.number == bindparam("number", type_=String())
        conditions.append(or_(numbered, theirs) if shape.number else theirs)
    if shape.placed_from:
        conditions.append(_order.placed_at >= bindparam("placed_from", type_=DateTime(timezone=True)))
    if shape.placed_before:
        conditions.append(_order.placed_at < bindparam("placed_before", type_=DateTime(timezone=True)))
    return conditions


@lru_cache(maxsize=200)
def _orders_query(shape: OrderShape, page: PageShape) -> Query[Item[Order]]:
    statement = select(_LATEST_ORDER.key, _order.id, *ORDER).where(*_of_orders(shape))
    return Query(
        paged(statement, _LATEST_ORDER, _order.id.expression, page), keyed(Order), skewed=shape.email or page.skewed
    )


@lru_cache(maxsize=200)
def _orders_count(shape: OrderShape) -> Query[int]:
    some = select(_order.id).where(*_of_orders(shape)).limit(COUNT_LIMIT).subquery()
    return Query(select(func.count()).select_from(some), int, skewed=shape.email)


async def list_all_orders(reading: Reading, wanted: OrderList, page: Page) -> Slice[Order]:
    return await take(reading, _orders_query(wanted.shape, page.shape), page, **wanted.parameters)


async def count_all_orders(reading: Reading, wanted: OrderList) -> int:
    """Up to `COUNT_LIMIT`."""
    return await reading.first(_orders_count(wanted.shape), **wanted.parameters) or 0
