"""Users, books, genres and carts, created with the product's own functions."""

import datetime as dt
import itertools
import uuid
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from argon2 import PasswordHasher

from domain import cart, catalog
from domain.book_fields import BookDetails
from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence import accounts
from persistence.accounts import UserRow
from persistence.catalog import BookRow, GenreRow

PASSWORD = "correct horse battery staple"
PASSWORD_HASH = PasswordHasher(time_cost=1, memory_cost=8, parallelism=1).hash(PASSWORD)
_sequence = itertools.count(1)


@dataclass(frozen=True, slots=True)
class SignedInUser:
    """A user with a session and its access token."""

    row: UserRow
    session_id: uuid.UUID
    token: str

    @property
    def id(self) -> uuid.UUID:
        return self.row.id

    @property
    def global_id(self) -> str:
        return to_global_id("User", self.row.id)


async def add_user(shop: Shop, email: str | None = None, *, role: str = "USER", **details: Any) -> SignedInUser:
    """Add a user, with these columns of `users`, and a session for them; the password is `PASSWORD`."""
    email = email or f"reader-{next(_sequence)}@example.com"
    values = {"display_name": "Reader", "password_hash": PASSWORD_HASH, "role": role} | details
    async with shop.database.transaction() as tx:
        user_id = await accounts.add_user(tx, email=email, **values)
        assert user_id is not None
        expires_at = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        session_id = await accounts.add_session(tx, user_id, "tests", expires_at)
        user = await accounts.find_user(tx, user_id)
    assert user is not None
    token = shop.tokens.issue_access_token(user_id, role, session_id, dt.timedelta(minutes=15))
    return SignedInUser(user, session_id, token.text)


async def add_admin(shop: Shop) -> SignedInUser:
    """Add an administrator with a session."""
    return await add_user(shop, role="ADMIN")


async def add_book(
    shop: Shop,
    title: str | None = None,
    *,
    stock: int = 10,
    price: str = "10.00",
    authors: tuple[str, ...] = (),
    **fields: Any,
) -> BookRow:
    details = BookDetails(title=title or f"Book {next(_sequence)}", authors=authors, price=Decimal(price), **fields)
    return await catalog.create_book(shop, details, stock)


async def add_genre(shop: Shop, name: str | None = None) -> GenreRow:
    """Add a genre; the default name is unique."""
    return await catalog.create_genre(shop, name or f"Genre {next(_sequence)}")


async def fill_cart(shop: Shop, user: SignedInUser, *lines: tuple[BookRow, int]) -> None:
    """Add these books and quantities to the user's cart."""
    for book, quantity in lines:
        await cart.add_to_cart(shop, user.id, book.id, quantity)


def book_id(book: BookRow) -> str:
    """Return the book's global id."""
    return to_global_id("Book", book.id)
