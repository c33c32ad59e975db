"""What tests start from, made by the shop's own functions."""

import datetime as dt
import itertools
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from argon2 import PasswordHasher

from domain import cart, catalog
from domain.catalog import BookDetails
from domain.shop import Shop
from graph.ids import global_id
from persistence import accounts
from persistence.accounts import User
from persistence.catalog import Book, Genre

PASSWORD = "correct horse battery staple"
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
_numbers = itertools.count(1)


@dataclass(frozen=True, slots=True)
class Member:
    """A user who is signed in."""

    user: User
    session_id: uuid.UUID
    token: str

    @property
    def id(self) -> uuid.UUID:
        return self.user.id

    @property
    def global_id(self) -> str:
        return global_id("User", self.user.id)


async def add_member(shop: Shop, email: str | None = None, *, role: str = "USER", **details: Any) -> Member:
    email = email or f"reader-{next(_numbers)}@example.com"
    values = {"display_name": "Reader", "password_hash": PASSWORD_HASH, "role": role} | details
    async with shop.database.transaction() as tx:
        user_id = await accounts.add_user(tx, email=email, **values)
        assert user_id is not None
        expires = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        session_id = await accounts.add_session(tx, user_id, "tests", expires)
        user = await accounts.find_user(tx, user_id)
    assert user is not None
    token = shop.tokens.access_token(user_id, role, session_id, dt.timedelta(minutes=15))
    return Member(user, session_id, token.text)


async def add_administrator(shop: Shop) -> Member:
    return await add_member(shop, role="ADMIN")


async def add_book(
    shop: Shop,
    title: str | None = None,
    *,
    stock: int = 10,
    price: str = "10.00",
    authors: tuple[str, ...] = (),
    **more: Any,
) -> Book:
    details = BookDetails(title or f"Book {next(_numbers)}", authors, Decimal(price), **more)
    return await catalog.create_book(shop, details, stock)


async def add_genre(shop: Shop, name: str | None = None) -> Genre:
    return await catalog.create_genre(shop, name or f"Genre {next(_numbers)}")


async def fill_cart(shop: Shop, member: Member, *lines: tuple[Book, int]) -> None:
    for book, quantity in lines:
        await cart.add_to_cart(shop, member.id, book.id, quantity)


def book_id(book: Book) -> str:
    return global_id("Book", book.id)
