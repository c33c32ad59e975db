"""Stock: how many copies can be bought, and the ledger that says why."""

import uuid
from collections.abc import Mapping
from enum import StrEnum

from domain.errors import NotFound, Rule
from domain.prebookings import tell_waiting
from domain.shop import Shop
from domain.validation import checking, invalid
from persistence import catalog, stock
from persistence.catalog import Book
from persistence.database import Transaction
from persistence.faults import retried
from persistence.stock import Reason

MOST = 1_000_000


class Availability(StrEnum):
    IN_STOCK = "IN_STOCK"
    LOW_STOCK = "LOW_STOCK"
    OUT_OF_STOCK = "OUT_OF_STOCK"


def availability(stock_quantity: int, low_stock_threshold: int) -> Availability:
    if stock_quantity == 0:
        return Availability.OUT_OF_STOCK
    return Availability.LOW_STOCK if stock_quantity <= low_stock_threshold else Availability.IN_STOCK


@retried
async def take_stock(shop: Shop, book_id: uuid.UUID, quantity: int) -> tuple[Book, int]:
    """Makes the stock this many copies, as after a stocktake; how many waiting customers were told that it is back.

    Raises `InvalidInput` or `NotFound`.
    """
    with checking() as check:
        check.number(("change", "setTo"), quantity, 0, MOST)
    async with shop.database.transaction() as tx:
        book = await catalog.lock_book(tx, book_id)
        if book is None:
            raise NotFound("Book", book_id)
        told = await move_stock(tx, {book_id: quantity - book.stock_quantity}, Reason.STOCKTAKE)
        book.stock_quantity = quantity
        return book, told


@retried
async def restock(shop: Shop, book_id: uuid.UUID, copies: int) -> tuple[Book, int]:
    """Adds copies, as after a delivery; takes some away when negative. Answers and raises as `take_stock`."""
    path = ("change", "adjustBy")
    async with shop.database.transaction() as tx:
        book = await catalog.lock_book(tx, book_id)
        if book is None:
            raise NotFound("Book", book_id)
        quantity = book.stock_quantity + copies
        if quantity < 0:
            raise invalid(path, Rule.TOO_SMALL, f"There are {book.stock_quantity} copies: no more can be taken away.")
        if quantity > MOST:
            raise invalid(path, Rule.TOO_LARGE, f"A stock holds at most {MOST:,} copies.")
        told = await move_stock(tx, {book_id: copies}, Reason.DELIVERY)
        book.stock_quantity = quantity
        return book, told


async def move_stock(
    tx: Transaction, changes: Mapping[uuid.UUID, int], reason: Reason, order_id: uuid.UUID | None = None
) -> int:
    """Changes the stock of books; how many waiting customers were told that one is back.

    The caller holds the books' locks. Every change of stock comes through here, wherever the copies came from.
    """
    return await tell_waiting(tx, await stock.change_stock(tx, changes, reason, order_id))
