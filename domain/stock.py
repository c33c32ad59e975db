"""Stock: how many copies of a book can be bought, and the ledger of its changes."""

import uuid
from collections.abc import Mapping
from enum import StrEnum

from domain.errors import Constraint, NotFound
from domain.prebookings import notify_waiting
from domain.shop import Shop
from domain.validation import invalid_input, validating
from persistence import locks, stock
from persistence.catalog import BookRow
from persistence.postgres.database import Transaction
from persistence.postgres.errors import retry_on_conflict
from persistence.stock import MovementReason

MAX_STOCK = 1_000_000


class Availability(StrEnum):
    """Whether a book can be bought."""

    IN_STOCK = "IN_STOCK"
    LOW_STOCK = "LOW_STOCK"
    OUT_OF_STOCK = "OUT_OF_STOCK"


def compute_availability(stock_quantity: int, low_stock_threshold: int) -> Availability:
    """Return the availability of a stock. `low_stock_threshold` is the largest stock that is low."""
    if stock_quantity == 0:
        return Availability.OUT_OF_STOCK
    return Availability.LOW_STOCK if stock_quantity <= low_stock_threshold else Availability.IN_STOCK


@retry_on_conflict
async def set_stock(shop: Shop, book_id: uuid.UUID, quantity: int) -> tuple[BookRow, int]:
    """Set the stock of a book, as after a stocktake.

    Returns:
        The book, and the number of customers on its waiting list that were notified.

    Raises:
        InvalidInput: The quantity is negative or larger than `MAX_STOCK`.
        NotFound: The book does not exist.
    """
    with validating() as validator:
        validator.number(("change", "setTo"), quantity, 0, MAX_STOCK)
    async with shop.database.transaction() as tx:
        book = await locks.lock_book(tx, book_id)
        if book is None:
            raise NotFound("Book", book_id)
        notified_count = await apply_stock_changes(
            tx, {book_id: quantity - book.stock_quantity}, MovementReason.STOCKTAKE
        )
        book.stock_quantity = quantity
        return book, notified_count


@retry_on_conflict
async def adjust_stock(shop: Shop, book_id: uuid.UUID, quantity_change: int) -> tuple[BookRow, int]:
    """Add copies to the stock of a book, as after a delivery; a negative change removes copies.

    Returns:
        The book, and the number of customers on its waiting list that were notified.

    Raises:
        InvalidInput: The stock would become negative or larger than `MAX_STOCK`.
        NotFound: The book does not exist.
    """
    path = ("change", "adjustBy")
    async with shop.database.transaction() as tx:
        book = await locks.lock_book(tx, book_id)
        if book is None:
            raise NotFound("Book", book_id)
        quantity = book.stock_quantity + quantity_change
        if quantity < 0:
            message = f"Only {book.stock_quantity} copies are in stock, so no more can be removed."
            raise invalid_input(path, Constraint.TOO_SMALL, message)
        if quantity > MAX_STOCK:
            raise invalid_input(
                path, Constraint.TOO_LARGE, f"The stock of a book must be at most {MAX_STOCK:,} copies."
            )
        notified_count = await apply_stock_changes(tx, {book_id: quantity_change}, MovementReason.DELIVERY)
        book.stock_quantity = quantity
        return book, notified_count


async def apply_stock_changes(
    tx: Transaction, changes: Mapping[uuid.UUID, int], reason: MovementReason, order_id: uuid.UUID | None = None
) -> int:
    """Change the stock of books, and notify the customers who wait for one that is back in stock.

    Every change of stock after a book's creation goes through this function. The caller holds the books' locks.

    Returns:
        The number of notified customers.
    """
    return await notify_waiting(tx, await stock.change_stock(tx, changes, reason, order_id))
