"""One DataLoader per batch question: what many fields ask for at once costs one statement."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from aiodataloader import DataLoader

from persistence import accounts, cart, catalog, linked_accounts, orders, prebookings, reviews, wishlist
from persistence.accounts import UserRow
from persistence.browse import related
from persistence.cart import CartItemRow
from persistence.catalog import AuthorRow, BookRow, GenreRow
from persistence.linked_accounts import Provider
from persistence.orders import AddressRow, OrderItemRow, OrderRow
from persistence.postgres.database import ReadSession
from persistence.postgres.pairs import UserBookPair
from persistence.prebookings import PrebookingRow
from persistence.reviews import BookRatingRow, ReviewRow
from persistence.wishlist import WishlistItemRow

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

MAX_BATCH_SIZE = 1_000


class Loader(Generic[K, V]):
    """Loads what several fields ask for at once with one statement, and each key but once.

    A DataLoader of lists of keys, so that a list of rows costs it one future and not one for each row.
    """

    def __init__(self, fetch: Callable[[list[K]], Awaitable[list[V]]], pending_tasks: set[asyncio.Task[Any]]) -> None:
        self._fetch = fetch
        self._pending_tasks = pending_tasks
        self._cache: dict[K, V] = {}
        self._key_lists: DataLoader[tuple[K, ...], list[V]] = DataLoader(self._load_key_lists)

    async def load(self, key: K) -> V:
        [value] = await self.load_all((key,))
        return value

    def get_cached(self, keys: Iterable[K | None]) -> list[V | None] | None:
        """In the order of the keys, where all of it is known; there is nothing for no key."""
        cache = self._cache
        try:
            return [None if key is None else cache[key] for key in keys]
        except KeyError:
            return None

    async def load_all(self, keys: Sequence[K]) -> list[V]:
        """In the order of the keys. Who gives up waiting takes nothing from others who wait for the same."""
        return await asyncio.shield(self._key_lists.load(tuple(keys)))

    async def _load_key_lists(self, key_lists: list[tuple[K, ...]]) -> list[list[V]]:
        batch = asyncio.current_task()  # DataLoaders have one for each batch, apart from whoever waits for it
        assert batch is not None
        self._pending_tasks.add(batch)
        try:
            missing = list(dict.fromkeys(key for keys in key_lists for key in keys if key not in self._cache))
            for start in range(0, len(missing), MAX_BATCH_SIZE):
                chunk = missing[start : start + MAX_BATCH_SIZE]
                self._cache.update(zip(chunk, await self._fetch(chunk), strict=True))
        finally:
            self._pending_tasks.discard(batch)
        return [[self._cache[key] for key in keys] for keys in key_lists]


class Loaders:
    """Lives as long as a request, or until a mutation changes what it has seen."""

    def __init__(self, db: ReadSession) -> None:
        self._db = db
        self._pending_tasks: set[asyncio.Task[Any]] = set()

    def cancel(self) -> None:
        """Statements that are under way are given up; nobody may wait for what they were to load."""
        for batch in self._pending_tasks:
            batch.cancel()

    @cached_property
    def book(self) -> Loader[uuid.UUID, BookRow | None]:
        return self._one_by_id(catalog.list_books_by_id)

    @cached_property
    def genre(self) -> Loader[uuid.UUID, GenreRow | None]:
        return self._one_by_id(catalog.list_genres_by_id)

    @cached_property
    def author(self) -> Loader[uuid.UUID, AuthorRow | None]:
        return self._one_by_id(catalog.list_authors_by_id)

    @cached_property
    def user(self) -> Loader[uuid.UUID, UserRow | None]:
        return self._one_by_id(accounts.list_users_by_id)

    @cached_property
    def providers_by_user(self) -> Loader[uuid.UUID, list[Provider]]:
        return self._many_by_id(linked_accounts.list_providers_by_user)

    @cached_property
    def order(self) -> Loader[uuid.UUID, OrderRow | None]:
        return self._one_by_id(orders.list_orders_by_id)

    @cached_property
    def authors_by_book(self) -> Loader[uuid.UUID, list[AuthorRow]]:
        return self._many_by_id(catalog.list_authors_by_book)

    @cached_property
    def cart_items(self) -> Loader[uuid.UUID, list[CartItemRow]]:
        async def list_items(db: ReadSession, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, CartItemRow]]:
            return [(item.user_id, item) for item in await cart.list_cart_items(db, ids)]

        return self._many_by_id(list_items)

    @cached_property
    def order_items(self) -> Loader[uuid.UUID, list[OrderItemRow]]:
        async def list_items(db: ReadSession, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, OrderItemRow]]:
            return [(item.order_id, item) for item in await orders.list_order_items(db, ids)]

        return self._many_by_id(list_items)

    @cached_property
    def order_addresses(self) -> Loader[uuid.UUID, list[AddressRow]]:
        return self._many_by_id(orders.list_addresses)

    @cached_property
    def related_books(self) -> Loader[uuid.UUID, list[BookRow]]:
        return self._many_by_id(related.list_related_books)

    @cached_property
    def rating_by_book(self) -> Loader[uuid.UUID, BookRatingRow | None]:
        return self._one_by_id(reviews.list_ratings)

    @cached_property
    def waiting_count(self) -> Loader[uuid.UUID, list[int]]:
        return self._many_by_id(prebookings.count_waiting)

    @cached_property
    def review(self) -> Loader[uuid.UUID, ReviewRow | None]:
        return self._one_by_id(reviews.list_reviews_by_id)

    @cached_property
    def review_by_pair(self) -> Loader[UserBookPair, ReviewRow | None]:
        return self._one_by_pair(reviews.list_reviews_by_pair)

    @cached_property
    def wishlist_item(self) -> Loader[uuid.UUID, WishlistItemRow | None]:
        return self._one_by_id(wishlist.list_wishlist_items_by_id)

    @cached_property
    def prebooking(self) -> Loader[uuid.UUID, PrebookingRow | None]:
        return self._one_by_id(prebookings.list_prebookings_by_id)

    @cached_property
    def wishlist_item_by_pair(self) -> Loader[UserBookPair, WishlistItemRow | None]:
        return self._one_by_pair(wishlist.list_wishlist_items_by_pair)

    @cached_property
    def waiting_prebooking_by_pair(self) -> Loader[UserBookPair, PrebookingRow | None]:
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
