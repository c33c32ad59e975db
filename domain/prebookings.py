"""Pre-booking: waiting for a book to come back, and being told once when it does.

Joining a waiting list and changing a stock take the same lock, the book's: nobody waits for a book that is there.
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
    """Raises `NotFound`, `BookInStock` or `AlreadyPrebooked`."""
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
                raise Conflict  # the one that stood in the way was cancelled a moment ago
            raise AlreadyPrebooked(existing[0])
        return await _get_prebooking(tx, prebooking_id)


@retry_on_conflict
async def cancel_prebooking(shop: Shop, customer_id: uuid.UUID, prebooking_id: uuid.UUID) -> PrebookingRow:
    """Does nothing to one that is over. Raises `NotFound` for somebody else's, too."""
    async with shop.database.transaction() as tx:
        prebooking = await locks.lock_prebooking(tx, prebooking_id)
        if prebooking is None or prebooking.user_id != customer_id:
            raise NotFound("Prebooking", prebooking_id)
        if prebooking.status == PrebookingStatus.WAITING:
            await prebookings.cancel_prebooking(tx, prebooking_id)
        return await _get_prebooking(tx, prebooking_id)


async def notify_waiting(tx: Transaction, book_ids: Sequence[uuid.UUID]) -> int:
    """Tells everyone who waits for one of these books that it is back; how many. The caller holds the books' locks."""
    if not book_ids:
        return 0
    notified = await prebookings.notify_waiting(tx, book_ids)
    if notified:
        await emails.enqueue_emails(tx, EmailKind.BOOK_BACK, notified)
    return len(notified)


async def _get_prebooking(tx: Transaction, prebooking_id: uuid.UUID) -> PrebookingRow:
    prebooking = await prebookings.find_prebooking(tx, prebooking_id)
    assert prebooking is not None
    return prebooking
