"""The cart: what a customer is about to buy, at today's prices."""

import uuid
from collections.abc import Sequence
from decimal import Decimal

from domain.errors import InsufficientStock, NotFound, Rule, Shortage
from domain.shop import Shop
from domain.validation import checking, invalid
from persistence import cart, catalog
from persistence.cart import CartItem
from persistence.database import Transaction
from persistence.faults import retried

MOST_COPIES = 999
MOST_LINES = 100


def total_of(items: Sequence[CartItem]) -> Decimal:
    return sum((item.line_total for item in items), Decimal("0.00"))


@retried
async def add_to_cart(shop: Shop, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    """On top of those already there. Raises `InvalidInput`, `NotFound` or `InsufficientStock`."""
    async with shop.database.transaction() as tx:
        await cart.lock_cart(tx, user_id)
        lines = {item.book_id: item.quantity for item in await cart.list_cart_items(tx, [user_id])}
        if book_id not in lines and len(lines) >= MOST_LINES:
            raise invalid(("bookId",), Rule.TOO_LONG, f"A cart holds at most {MOST_LINES} different books.")
        with checking() as check:
            check.number(("quantity",), quantity, 1, MOST_COPIES)
        await _put(tx, user_id, book_id, quantity + lines.get(book_id, 0))


@retried
async def update_cart_item(shop: Shop, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    """Raises `InvalidInput`, `NotFound` for a book that is not in the cart, or `InsufficientStock`."""
    with checking() as check:
        check.number(("quantity",), quantity, 1, MOST_COPIES)
    async with shop.database.transaction() as tx:
        await cart.lock_cart(tx, user_id)
        if book_id not in {item.book_id for item in await cart.list_cart_items(tx, [user_id])}:
            raise NotFound("Book", book_id)
        await _put(tx, user_id, book_id, quantity)


@retried
async def remove_from_cart(shop: Shop, user_id: uuid.UUID, book_id: uuid.UUID) -> None:
    """Does nothing when it is not there."""
    async with shop.database.transaction() as tx:
        await cart.lock_cart(tx, user_id)
        await cart.remove_cart_items(tx, user_id, [book_id])


@retried
async def merge_cart(shop: Shop, user_id: uuid.UUID, picked: Sequence[tuple[uuid.UUID, int]]) -> None:
    """The larger quantity wins where a book is named twice, at most the stock; books unknown or sold out are left out.

    Raises `InvalidInput`.
    """
    with checking() as check:
        if len(picked) > MOST_LINES:
            check.refuse(("items",), Rule.TOO_LONG, f"At most {MOST_LINES} lines can be added at once.")
        for position, (_, quantity) in enumerate(picked):
            check.number(("items", str(position), "quantity"), quantity, 1, MOST_COPIES)
    async with shop.database.transaction() as tx:
        await cart.lock_cart(tx, user_id)
        lines = {item.book_id: item.quantity for item in await cart.list_cart_items(tx, [user_id])}
        wanted: dict[uuid.UUID, int] = {}
        for book_id, quantity in picked:
            wanted[book_id] = max(quantity, wanted.get(book_id, lines.get(book_id, 0)))
        books = {book.id: book for book in await catalog.list_books_by_id(tx, wanted) if book.stock_quantity > 0}
        if len(lines.keys() | books.keys()) > MOST_LINES:
            raise invalid(("items",), Rule.TOO_LONG, f"A cart holds at most {MOST_LINES} different books.")
        for book_id in (book_id for book_id in wanted if book_id in books):
            if await catalog.hold_book(tx, book_id):
                await cart.set_cart_item(tx, user_id, book_id, min(wanted[book_id], books[book_id].stock_quantity))


async def _put(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    book = await catalog.hold_book(tx, book_id)
    if book is None:
        raise NotFound("Book", book_id)
    if quantity > MOST_COPIES:
        raise invalid(("quantity",), Rule.TOO_LARGE, f"A cart holds at most {MOST_COPIES} copies of a book.")
    if quantity > book.stock_quantity:
        raise InsufficientStock([Shortage(book, quantity, book.stock_quantity)])
    await cart.set_cart_item(tx, user_id, book_id, quantity)
