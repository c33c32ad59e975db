"""Wishlists: books that customers save for later."""

import uuid

from domain.errors import NotFound
from domain.shop import Shop
from persistence import catalog, locks, wishlist
from persistence.catalog import BookRow
from persistence.postgres.errors import Conflict, retry_on_conflict
from persistence.wishlist import WishlistItemRow


@retry_on_conflict
async def add_to_wishlist(shop: Shop, customer_id: uuid.UUID, book_id: uuid.UUID) -> WishlistItemRow:
    """Save a book, and return its item on the wishlist, which may exist already.

    Raises:
        NotFound: The book does not exist.
    """
    async with shop.database.transaction() as tx:
        if not await locks.lock_book_for_key_share(tx, book_id):
            raise NotFound("Book", book_id)
        await wishlist.add_wishlist_item(tx, customer_id, book_id)
        items = await wishlist.list_wishlist_items_by_pair(tx, [(customer_id, book_id)])
        if not items:
            raise Conflict  # another transaction removed the existing item
        return items[0]


@retry_on_conflict
async def remove_from_wishlist(
    shop: Shop, customer_id: uuid.UUID, book_id: uuid.UUID
) -> tuple[uuid.UUID | None, BookRow]:
    """Remove a book from the wishlist.

    Returns:
        The id of the removed item, or `None` when there was none, and the book.

    Raises:
        NotFound: The book does not exist.
    """
    async with shop.database.transaction() as tx:
        book = await catalog.find_book(tx, book_id)
        if book is None:
            raise NotFound("Book", book_id)
        return await wishlist.remove_wishlist_item(tx, customer_id, book_id), book
