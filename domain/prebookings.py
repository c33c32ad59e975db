"""Prebookings: customers on the waiting list of a sold-out book are notified once when it is back in stock.

Joining a waiting list and changing the stock both lock the book, so that no customer waits for a book in stock.
"""

import uuid
from collections.abc import Sequence

from domain.errors import AlreadyPrebooked, BookInStock, NotFound
from domain.shop import Shop
from persistence import emails, locks, prebookings
from persistence.emails import EmailKind
from persistence.postgres.database import Transaction
from persistence.postgres.errors import Conflict, retry_on_conflict
from persistence.prebookings import PrebookingRow, PrebookingStatus


@retry_on_conflict
async def prebook(shop: Shop, customer_id: uuid.UUID, book_id: uuid.UUID) -> PrebookingRow:
    """Put the customer on the waiting list of a book.

    Raises:
        NotFound: The book does not exist.
        BookInStock: The book can be bought.
        AlreadyPrebooked: The customer is already on the waiting list.
    """
    async with shop.database.transaction() as tx:
        book = await locks.lock_book(tx, book_id)
        if book is None:
            raise NotFound("Book", book_id)
        if book.stock_quantity > 0:
            raise BookInStock(book)
        prebooking_id = await prebookings.add_prebooking(tx, customer_id, book_id)
        if prebooking_id is None:
            existing = await prebookings.list_waiting_by_pair(tx, [(customer_id, book_id)])
            if not existing:
                raise Conflict  # another transaction cancelled the existing prebooking
            raise AlreadyPrebooked(existing[0])
        return await _get_prebooking(tx, prebooking_id)


@retry_on_conflict
async def cancel_prebooking(shop: Shop, customer_id: uuid.UUID, prebooking_id: uuid.UUID) -> PrebookingRow:
    """Take the customer off a waiting list. A prebooking that is not waiting stays as it is.

    Raises:
        NotFound: The prebooking does not exist or belongs to another customer.
    """
    async with shop.database.transaction() as tx:
        prebooking = await locks.lock_prebooking(tx, prebooking_id)
        if prebooking is None or prebooking.user_id != customer_id:
            raise NotFound("Prebooking", prebooking_id)
        if prebooking.status == PrebookingStatus.WAITING:
            await prebookings.cancel_prebooking(tx, prebooking_id)
        return await _get_prebooking(tx, prebooking_id)


async def notify_waiting(tx: Transaction, book_ids: Sequence[uuid.UUID]) -> int:
    """Notify all customers who wait for one of these books. The caller holds the books' locks.

    Returns:
        The number of notified customers.
    """
    if not book_ids:
        return 0
    notified_ids = await prebookings.notify_waiting(tx, book_ids)
    if notified_ids:
        await emails.enqueue_emails(tx, EmailKind.BOOK_BACK, notified_ids)
    return len(notified_ids)


async def _get_prebooking(tx: Transaction, prebooking_id: uuid.UUID) -> PrebookingRow:
    prebooking = await prebookings.find_prebooking(tx, prebooking_id)
    assert prebooking is not None
    return prebooking
