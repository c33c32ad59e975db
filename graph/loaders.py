"""Declares what fields load in batches: a loader of rows for each kind of key, and the batch loaders of shared fields."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from graph.kit.batch_fields import BatchLoader
from graph.kit.loader import Loader
from persistence import accounts, cart, catalog, linked_accounts, orders, prebookings, reviews, wishlist
from persistence.accounts import UserRow
from persistence.browse import related
from persistence.cart import CartItemRow
from persistence.catalog import AuthorRow, BookRow, GenreRow
from persistence.linked_accounts import Provider
from persistence.orders import AddressRow, OrderItemRow, OrderRow
from persistence.postgres.pairs import UserBookPair
from persistence.postgres.read_session import ReadSession
from persistence.prebookings import PrebookingRow
from persistence.reviews import BookRatingRow, ReviewRow
from persistence.wishlist import WishlistItemRow

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Loaders:
    """The loaders of one request. A mutation replaces them, since it may change the rows."""

    def __init__(self, db: ReadSession) -> None:
        self._db = db
        self._pending_tasks: set[asyncio.Task[Any]] = set()

    def cancel(self) -> None:
        """Cancel the statements in progress. Callers that wait for them are cancelled, too."""
        for task in self._pending_tasks:
            task.cancel()

    @cached_property
    def book(self) -> Loader[uuid.UUID, BookRow | None]:
        """Books by ID."""
        return self._one_by_id(catalog.list_books_by_id)

    @cached_property
    def genre(self) -> Loader[uuid.UUID, GenreRow | None]:
        """Genres by ID."""
        return self._one_by_id(catalog.list_genres_by_id)

    @cached_property
    def author(self) -> Loader[uuid.UUID, AuthorRow | None]:
        """Authors by ID."""
        return self._one_by_id(catalog.list_authors_by_id)

    @cached_property
    def user(self) -> Loader[uuid.UUID, UserRow | None]:
        """Users by ID."""
        return self._one_by_id(accounts.list_users_by_id)

    @cached_property
    def providers_by_user(self) -> Loader[uuid.UUID, list[Provider]]:
        """The linked OAuth providers of users."""
        return self._many_by_id(linked_accounts.list_providers_by_user)

    @cached_property
    def order(self) -> Loader[uuid.UUID, OrderRow | None]:
        """Orders by ID."""
        return self._one_by_id(orders.list_orders_by_id)

    @cached_property
    def authors_by_book(self) -> Loader[uuid.UUID, list[AuthorRow]]:
        """The authors of books, in the order of the title page."""
        return self._many_by_id(catalog.list_authors_by_book)

    @cached_property
    def cart_items(self) -> Loader[uuid.UUID, list[CartItemRow]]:
        """The cart items of users, in the order they were added."""

        async def list_items(db: ReadSession, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, CartItemRow]]:
            return [(item.user_id, item) for item in await cart.list_cart_items(db, ids)]

        return self._many_by_id(list_items)

    @cached_property
    def order_items(self) -> Loader[uuid.UUID, list[OrderItemRow]]:
        """The items of orders."""

        async def list_items(db: ReadSession, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, OrderItemRow]]:
            return [(item.order_id, item) for item in await orders.list_order_items(db, ids)]

        return self._many_by_id(list_items)

    @cached_property
    def order_addresses(self) -> Loader[uuid.UUID, list[AddressRow]]:
        """The shipping addresses of orders: one or none each."""
        return self._many_by_id(orders.list_addresses)

    @cached_property
    def related_books(self) -> Loader[uuid.UUID, list[BookRow]]:
        """The books related to books, the closest first."""
        return self._many_by_id(related.list_related_books)

    @cached_property
    def rating_by_book(self) -> Loader[uuid.UUID, BookRatingRow | None]:
        """The ratings of books, `None` for a book without reviews."""
        return self._one_by_id(reviews.list_ratings)

    @cached_property
    def waiting_count(self) -> Loader[uuid.UUID, list[int]]:
        """The number of customers that wait for a book, as a list of one or no number."""
        return self._many_by_id(prebookings.count_waiting)

    @cached_property
    def review(self) -> Loader[uuid.UUID, ReviewRow | None]:
        """Reviews by ID."""
        return self._one_by_id(reviews.list_reviews_by_id)

    @cached_property
    def review_by_pair(self) -> Loader[UserBookPair, ReviewRow | None]:
        """Reviews by user and book."""
        return self._one_by_pair(reviews.list_reviews_by_pair)

    @cached_property
    def wishlist_item(self) -> Loader[uuid.UUID, WishlistItemRow | None]:
        """Wishlist items by ID."""
        return self._one_by_id(wishlist.list_wishlist_items_by_id)

    @cached_property
    def prebooking(self) -> Loader[uuid.UUID, PrebookingRow | None]:
        """Pre-bookings by ID."""
        return self._one_by_id(prebookings.list_prebookings_by_id)

    @cached_property
    def wishlist_item_by_pair(self) -> Loader[UserBookPair, WishlistItemRow | None]:
        """Wishlist items by user and book."""
        return self._one_by_pair(wishlist.list_wishlist_items_by_pair)

    @cached_property
    def waiting_prebooking_by_pair(self) -> Loader[UserBookPair, PrebookingRow | None]:
        """Waiting pre-bookings by user and book."""
        return self._one_by_pair(prebookings.list_waiting_by_pair)

    @cached_property
    def has_purchased(self) -> Loader[UserBookPair, bool]:
        """Whether the user has a confirmed or shipped order with the book."""

        async def load(pairs: list[UserBookPair]) -> list[bool]:
            purchased_pairs = set(await reviews.list_purchased_pairs(self._db, pairs))
            return [pair in purchased_pairs for pair in pairs]

        return self._make_loader(load)

    def _make_loader(self, fetch: Callable[[list[K]], Awaitable[list[V]]]) -> Loader[K, V]:
        return Loader(fetch, self._pending_tasks)

    def _one_by_pair(
        self, fetch: Callable[[ReadSession, Sequence[UserBookPair]], Awaitable[list[V]]]
    ) -> Loader[UserBookPair, V | None]:
        async def load(pairs: list[UserBookPair]) -> list[V | None]:
            rows_by_pair = {(row.user_id, row.book_id): row for row in await fetch(self._db, pairs)}  # type: ignore[attr-defined]  # rows with both keys
            return [rows_by_pair.get(pair) for pair in pairs]

        return self._make_loader(load)

    def _one_by_id(
        self, fetch: Callable[[ReadSession, list[uuid.UUID]], Awaitable[list[V]]]
    ) -> Loader[uuid.UUID, V | None]:
        async def load(ids: list[uuid.UUID]) -> list[V | None]:
            rows_by_id = {row.id: row for row in await fetch(self._db, ids)}  # type: ignore[attr-defined]  # rows with a key
            return [rows_by_id.get(id_) for id_ in ids]

        return self._make_loader(load)

    def _many_by_id(
        self, fetch: Callable[[ReadSession, list[uuid.UUID]], Awaitable[list[tuple[uuid.UUID, V]]]]
    ) -> Loader[uuid.UUID, list[V]]:
        async def load(ids: list[uuid.UUID]) -> list[list[V]]:
            rows_by_id: defaultdict[uuid.UUID, list[V]] = defaultdict(list)
            for id_, row in await fetch(self._db, ids):
                rows_by_id[id_].append(row)
            return [rows_by_id[id_] for id_ in ids]

        return self._make_loader(load)


def batch_loader(
    get_loader: Callable[[Loaders], Loader[K, V]], key: str, *, preloaded: str | None = None
) -> BatchLoader[K, V]:
    """Declare a batch loader: which loader to use, the row's attribute with the key, and the one with a value read before."""
    return BatchLoader(get_loader, key, preloaded=preloaded)


AUTHORS = batch_loader(lambda loaders: loaders.authors_by_book, "id", preloaded="authors")
RATING = batch_loader(lambda loaders: loaders.rating_by_book, "id", preloaded="rating")
BOOK = batch_loader(lambda loaders: loaders.book, "book_id")
USER = batch_loader(lambda loaders: loaders.user, "user_id", preloaded="user")
GENRE = batch_loader(lambda loaders: loaders.genre, "genre_id", preloaded="genre")
