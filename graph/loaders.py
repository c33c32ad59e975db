"""One DataLoader per batch question: what many fields ask for at once costs one statement."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Iterable, Sequence
from functools import cached_property
from typing import Any, Generic, TypeVar

from aiodataloader import DataLoader

from persistence import accounts, cart, catalog, identities, orders, prebookings, related, reviews, wishlist
from persistence.accounts import User
from persistence.cart import CartItem
from persistence.catalog import Author, Book, Genre
from persistence.database import Reading
from persistence.identities import Provider
from persistence.orders import Address, Order, OrderItem
from persistence.pairs import Pair
from persistence.prebookings import Prebooking
from persistence.reviews import BookRating, Review
from persistence.wishlist import WishlistItem

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

BATCH = 1_000


class Loader(Generic[K, V]):
    """Loads what several fields ask for at once with one statement, and each key but once.

    A DataLoader of lists of keys, so that a list of rows costs it one future and not one for each row.
    """

    def __init__(self, question: Callable[[list[K]], Awaitable[list[V]]], under_way: set[asyncio.Task[Any]]) -> None:
        self._question = question
        self._under_way = under_way
        self._found: dict[K, V] = {}
        self._lists: DataLoader[tuple[K, ...], list[V]] = DataLoader(self._load_lists)

    async def load(self, key: K) -> V:
        [value] = await self.load_all((key,))
        return value

    def at_hand(self, keys: Iterable[K | None]) -> list[V | None] | None:
        """In the order of the keys, where all of it is known; there is nothing for no key."""
        found = self._found
        try:
            return [None if key is None else found[key] for key in keys]
        except KeyError:
            return None

    async def load_all(self, keys: Sequence[K]) -> list[V]:
        """In the order of the keys. Who gives up waiting takes nothing from others who wait for the same."""
        return await asyncio.shield(self._lists.load(tuple(keys)))

    async def _load_lists(self, lists: list[tuple[K, ...]]) -> list[list[V]]:
        batch = asyncio.current_task()  # DataLoaders have one for each batch, apart from whoever waits for it
        assert batch is not None
        self._under_way.add(batch)
        try:
            missing = list(dict.fromkeys(key for keys in lists for key in keys if key not in self._found))
            for start in range(0, len(missing), BATCH):
                some = missing[start : start + BATCH]
                self._found.update(zip(some, await self._question(some), strict=True))
        finally:
            self._under_way.discard(batch)
        return [[self._found[key] for key in keys] for keys in lists]


class Loaders:
    """Lives as long as a request, or until a mutation changes what it has seen."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading
        self._under_way: set[asyncio.Task[Any]] = set()

    def cancel(self) -> None:
        """Statements that are under way are given up; nobody may wait for what they were to load."""
        for batch in self._under_way:
            batch.cancel()

    @cached_property
    def book(self) -> Loader[uuid.UUID, Book | None]:
        return self._one(catalog.list_books_by_id)

    @cached_property
    def genre(self) -> Loader[uuid.UUID, Genre | None]:
        return self._one(catalog.list_genres_by_id)

    @cached_property
    def author(self) -> Loader[uuid.UUID, Author | None]:
        return self._one(catalog.list_authors_by_id)

    @cached_property
    def user(self) -> Loader[uuid.UUID, User | None]:
        return self._one(accounts.list_users_by_id)

    @cached_property
    def providers_of_user(self) -> Loader[uuid.UUID, list[Provider]]:
        return self._many(identities.list_providers_by_user)

    @cached_property
    def order(self) -> Loader[uuid.UUID, Order | None]:
        return self._one(orders.list_orders_by_id)

    @cached_property
    def authors_of_book(self) -> Loader[uuid.UUID, list[Author]]:
        return self._many(catalog.list_authors_by_book)

    @cached_property
    def items_of_cart(self) -> Loader[uuid.UUID, list[CartItem]]:
        async def list_items(reading: Reading, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, CartItem]]:
            return [(item.user_id, item) for item in await cart.list_cart_items(reading, ids)]

        return self._many(list_items)

    @cached_property
    def items_of_order(self) -> Loader[uuid.UUID, list[OrderItem]]:
        async def list_items(reading: Reading, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, OrderItem]]:
            return [(item.order_id, item) for item in await orders.list_order_items(reading, ids)]

        return self._many(list_items)

    @cached_property
    def address_of_order(self) -> Loader[uuid.UUID, list[Address]]:
        return self._many(orders.list_addresses)

    @cached_property
    def related_to_book(self) -> Loader[uuid.UUID, list[Book]]:
        return self._many(related.list_related_books)

    @cached_property
    def rating_of_book(self) -> Loader[uuid.UUID, BookRating | None]:
        return self._one(reviews.list_ratings)

    @cached_property
    def waiting_for_book(self) -> Loader[uuid.UUID, list[int]]:
        return self._many(prebookings.count_waiting)

    @cached_property
    def review(self) -> Loader[uuid.UUID, Review | None]:
        return self._one(reviews.list_reviews_by_id)

    @cached_property
    def review_of_reader(self) -> Loader[Pair, Review | None]:
        return self._paired(reviews.list_reviews_of_pairs)

    @cached_property
    def wishlist_item(self) -> Loader[uuid.UUID, WishlistItem | None]:
        return self._one(wishlist.list_wishlist_items_by_id)

    @cached_property
    def prebooking(self) -> Loader[uuid.UUID, Prebooking | None]:
        return self._one(prebookings.list_prebookings_by_id)

    @cached_property
    def wish(self) -> Loader[Pair, WishlistItem | None]:
        return self._paired(wishlist.list_wishlist_items_of_pairs)

    @cached_property
    def waiting_of_reader(self) -> Loader[Pair, Prebooking | None]:
        return self._paired(prebookings.list_waiting_of_pairs)

    @cached_property
    def purchase(self) -> Loader[Pair, bool]:
        """Whether the user has a confirmed or shipped order with the book."""

        async def load(pairs: list[Pair]) -> list[bool]:
            bought = set(await reviews.list_bought(self._reading, pairs))
            return [pair in bought for pair in pairs]

        return self._loader(load)

    def _loader(self, question: Callable[[list[K]], Awaitable[list[V]]]) -> Loader[K, V]:
        return Loader(question, self._under_way)

    def _paired(self, question: Callable[[Reading, Sequence[Pair]], Awaitable[list[V]]]) -> Loader[Pair, V | None]:
        async def load(pairs: list[Pair]) -> list[V | None]:
            found = {(row.user_id, row.book_id): row for row in await question(self._reading, pairs)}  # type: ignore[attr-defined]  # rows with both keys
            return [found.get(pair) for pair in pairs]

        return self._loader(load)

    def _one(self, question: Callable[[Reading, list[uuid.UUID]], Awaitable[list[V]]]) -> Loader[uuid.UUID, V | None]:
        async def load(ids: list[uuid.UUID]) -> list[V | None]:
            found = {row.id: row for row in await question(self._reading, ids)}  # type: ignore[attr-defined]  # rows with a key
            return [found.get(id_) for id_ in ids]

        return self._loader(load)

    def _many(
        self, question: Callable[[Reading, list[uuid.UUID]], Awaitable[list[tuple[uuid.UUID, V]]]]
    ) -> Loader[uuid.UUID, list[V]]:
        async def load(ids: list[uuid.UUID]) -> list[list[V]]:
            found: defaultdict[uuid.UUID, list[V]] = defaultdict(list)
            for id_, row in await question(self._reading, ids):
                found[id_].append(row)
            return [found[id_] for id_ in ids]

        return self._loader(load)
