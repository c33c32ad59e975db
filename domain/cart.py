"""The cart: what a customer is about to buy, at today's prices."""

import uuid
from collections.abc import Sequence
from decimal import Decimal

from domain.errors import Constraint, InsufficientStock, NotFound, Shortage
from domain.shop import Shop
from domain.validation import invalid_input, validating
from persistence import cart, catalog, locks
from persistence.cart import CartItemRow
from persistence.postgres.database import Transaction
from persistence.postgres.errors import retry_on_conflict

MAX_QUANTITY = 999
MAX_CART_LINES = 100


def cart_total(items: Sequence[CartItemRow]) -> Decimal:
    return sum((item.line_total for item in items), Decimal("0.00"))


@retry_on_conflict
async def add_to_cart(shop: Shop, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    """On top of those already there. Raises `InvalidInput`, `NotFound` or `InsufficientStock`."""
    async with shop.database.transaction() as tx:
        await locks.lock_cart(tx, user_id)
        quantities = {item.book_id: item.quantity for item in await cart.list_cart_items(tx, [user_id])}
        if book_id not in quantities and len(quantities) >= MAX_CART_LINES:
            raise invalid_input(
                ("bookId",), Constraint.TOO_LONG, f"A cart holds at most {MAX_CART_LINES} different books."
            )
        with validating() as validator:
            validator.number(("quantity",), quantity, 1, MAX_QUANTITY)
        await _set_quantity(tx, user_id, book_id, quantity + quantities.get(book_id, 0))


@retry_on_conflict
async def update_cart_item(shop: Shop, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    """Raises `InvalidInput`, `NotFound` for a book that is not in the cart, or `InsufficientStock`."""
    with validating() as validator:
        validator.number(("quantity",), quantity, 1, MAX_QUANTITY)
    async with shop.database.transaction() as tx:
        await locks.lock_cart(tx, user_id)
        if book_id not in {item.book_id for item in await cart.list_cart_items(tx, [user_id])}:
            raise NotFound("Book", book_id)
        await _set_quantity(tx, user_id, book_id, quantity)


@retry_on_conflict
async def remove_from_cart(shop: Shop, user_id: uuid.UUID, book_id: uuid.UUID) -> None:
    """Does nothing when it is not there."""
    async with shop.database.transaction() as tx:
        await locks.lock_cart(tx, user_id)
        await cart.remove_cart_items(tx, user_id, [book_id])


@retry_on_conflict
async def merge_cart(shop: Shop, user_id: uuid.UUID, items: Sequence[tuple[uuid.UUID, int]]) -> None:
    """The larger quantity wins where a book is named twice, at most the stock; books unknown or sold out are left out.

    Raises `InvalidInput`.
    """
    with validating() as validator:
        if len(items) > MAX_CART_LINES:
            validator.add_error(
                ("items",), Constraint.TOO_LONG, f"At most {MAX_CART_LINES} lines can be added at once."
            )
        for position, (_, quantity) in enumerate(items):
            validator.number(("items", str(position), "quantity"), quantity, 1, MAX_QUANTITY)
    async with shop.database.transaction() as tx:
        await locks.lock_cart(tx, user_id)
        quantities = {item.book_id: item.quantity for item in await cart.list_cart_items(tx, [user_id])}
        merged_quantities: dict[uuid.UUID, int] = {}
        for book_id, quantity in items:
            merged_quantities[book_id] = max(quantity, merged_quantities.get(book_id, quantities.get(book_id, 0)))
        books = {
            book.id: book for book in await catalog.list_books_by_id(tx, merged_quantities) if book.stock_quantity > 0
        }
        if len(quantities.keys() | books.keys()) > MAX_CART_LINES:
            raise invalid_input(
                ("items",), Constraint.TOO_LONG, f"A cart holds at most {MAX_CART_LINES} different books."
            )
        for book_id in (book_id for book_id in merged_quantities if book_id in books):
            if await locks.lock_book_for_key_share(tx, book_id):
                await cart.upsert_cart_item(
                    tx, user_id, book_id, min(merged_quantities[book_id], books[book_id].stock_quantity)
                )


async def _set_quantity(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    book = await locks.lock_book_for_key_share(tx, book_id)
    if book is None:
        raise NotFound("Book", book_id)
    if quantity > MAX_QUANTITY:
        raise invalid_input(
            ("quantity",), Constraint.TOO_LARGE, f"A cart holds at most {MAX_QUANTITY} copies of a book."
        )
    if quantity > book.stock_quantity:
        raise InsufficientStock([Shortage(book, quantity, book.stock_quantity)])
    await cart.upsert_cart_item(tx, user_id, book_id, quantity)
