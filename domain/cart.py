"""The cart: the books that a customer is about to buy, at current prices."""

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
    """Return the sum of the lines."""
    return sum((item.line_total for item in items), Decimal("0.00"))


@retry_on_conflict
async def add_to_cart(shop: Shop, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    """Add copies of a book to those already in the cart.

    Raises:
        InvalidInput: The quantity is invalid, or the cart is full.
        NotFound: The book does not exist.
        InsufficientStock: The cart would hold more copies than are in stock.
    """
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
    """Set the quantity of a book in the cart.

    Raises:
        InvalidInput: The quantity is invalid.
        NotFound: The book is not in the cart.
        InsufficientStock: Fewer copies are in stock.
    """
    with validating() as validator:
        validator.number(("quantity",), quantity, 1, MAX_QUANTITY)
    async with shop.database.transaction() as tx:
        await locks.lock_cart(tx, user_id)
        if book_id not in {item.book_id for item in await cart.list_cart_items(tx, [user_id])}:
            raise NotFound("Book", book_id)
        await _set_quantity(tx, user_id, book_id, quantity)


@retry_on_conflict
async def remove_from_cart(shop: Shop, user_id: uuid.UUID, book_id: uuid.UUID) -> None:
    """Remove a book from the cart. A book that is not in the cart is ignored."""
    async with shop.database.transaction() as tx:
        await locks.lock_cart(tx, user_id)
        await cart.remove_cart_items(tx, user_id, [book_id])


@retry_on_conflict
async def merge_cart(shop: Shop, user_id: uuid.UUID, items: Sequence[tuple[uuid.UUID, int]]) -> list[Shortage]:
    """Merge lines, given as pairs of book and quantity, into the cart, and return what could not be merged in full.

    Of several quantities for one book the largest is set, at most the stock. Sold-out books are not added, and unknown
    books are ignored.

    Raises:
        InvalidInput: A quantity is invalid, or the cart would have more than `MAX_CART_LINES` lines.
    """
    with validating() as validator:
        if len(items) > MAX_CART_LINES:
            validator.add_error(
                ("items",), Constraint.TOO_LONG, f"At most {MAX_CART_LINES} lines can be merged at once."
            )
        for position, (_, quantity) in enumerate(items):
            validator.number(("items", str(position), "quantity"), quantity, 1, MAX_QUANTITY)
    async with shop.database.transaction() as tx:
        await locks.lock_cart(tx, user_id)
        quantities = {item.book_id: item.quantity for item in await cart.list_cart_items(tx, [user_id])}
        merged_quantities: dict[uuid.UUID, int] = {}
        for book_id, quantity in items:
            merged_quantities[book_id] = max(quantity, merged_quantities.get(book_id, quantities.get(book_id, 0)))
        books = {book.id: book for book in await catalog.list_books_by_id(tx, merged_quantities)}
        available_ids = {book.id for book in books.values() if book.stock_quantity > 0}
        if len(quantities.keys() | available_ids) > MAX_CART_LINES:
            raise invalid_input(
                ("items",), Constraint.TOO_LONG, f"A cart holds at most {MAX_CART_LINES} different books."
            )
        shortages = []
        for book_id in (book_id for book_id in merged_quantities if book_id in books):
            book = await locks.lock_book_for_key_share(tx, book_id)
            if book is None:
                continue
            if merged_quantities[book_id] > book.stock_quantity:
                shortages.append(Shortage(book, merged_quantities[book_id], book.stock_quantity))
            if book.stock_quantity > 0:
                await cart.upsert_cart_item(tx, user_id, book_id, min(merged_quantities[book_id], book.stock_quantity))
        return shortages


async def _set_quantity(tx: Transaction, user_id: uuid.UUID, book_id: uuid.UUID, quantity: int) -> None:
    book = await locks.lock_book_for_key_share(tx, book_id)
    if book is None:
        raise NotFound("Book", book_id)
    if quantity > MAX_QUANTITY:
        raise invalid_input(
            ("quantity",), Constraint.TOO_LARGE, f"A cart holds at most {MAX_QUANTITY} copies of one book."
        )
    if quantity > book.stock_quantity:
        raise InsufficientStock([Shortage(book, quantity, book.stock_quantity)])
    await cart.upsert_cart_item(tx, user_id, book_id, quantity)
