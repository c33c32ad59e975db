"""Stock: how many copies can be bought, and the ledger that says why."""

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
    IN_STOCK = "IN_STOCK"
    LOW_STOCK = "LOW_STOCK"
    OUT_OF_STOCK = "OUT_OF_STOCK"


def compute_availability(stock_quantity: int, low_stock_threshold: int) -> Availability:
    if stock_quantity == 0:
        return Availability.OUT_OF_STOCK
    return Availability.LOW_STOCK if stock_quantity <= low_stock_threshold else Availability.IN_STOCK


@retry_on_conflict
async def set_stock(shop: Shop, book_id: uuid.UUID, quantity: int) -> tuple[BookRow, int]:
    """Makes the stock this many copies, as after a stocktake; how many waiting customers were told that it is back.

    Raises `InvalidInput` or `NotFound`.
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
    """Adds copies, as after a delivery; takes some away when negative. Answers and raises as `take_stock`."""
    path = ("change", "adjustBy")
    async with shop.database.transaction() as tx:
        book = await locks.lock_book(tx, book_id)
        if book is None:
            raise NotFound("Book", book_id)
        quantity = book.stock_quantity + quantity_change
        if quantity < 0:
            raise invalid_input(
                path, Constraint.TOO_SMALL, f"There are {book.stock_quantity} copies: no more can be taken away."
            )
        if quantity > MAX_STOCK:
            raise invalid_input(path, Constraint.TOO_LARGE, f"A stock holds at most {MAX_STOCK:,} copies.")
        notified_count = await apply_stock_changes(tx, {book_id: quantity_change}, MovementReason.DELIVERY)
        book.stock_quantity = quantity
        return book, notified_count


async def apply_stock_changes(
    tx: Transaction, changes: Mapping[uuid.UUID, int], reason: MovementReason, order_id: uuid.UUID | None = None
) -> int:
    """Changes the stock of books; how many waiting customers were told that one is back.

    The caller holds the books' locks. Every change of stock comes through here, wherever the copies came from.
    """
    return await notify_waiting(tx, await stock.change_stock(tx, changes, reason, order_id))
