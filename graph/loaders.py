"""One DataLoader per batch question: what many fields ask for at once costs one statement."""

import asyncio
import uuid
from collections import defaultdict
from collections.abc import Awaitable, Callable, Hashable, Sequence
from functools import cached_property
from typing import Any, TypeVar

from aiodataloader import DataLoader

from graph.faults import Vanished
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


def _there(row: V | None) -> V:
    if row is None:
        raise Vanished
    return row


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
    def book(self) -> DataLoader[uuid.UUID, Book | None]:
        return self._one(catalog.list_books_by_id)

    async def named_book(self, book_id: uuid.UUID) -> Book:
        """The book that a row names. Raises `Vanished`."""
        return _there(await self.book.load(book_id))

    @cached_property
    def genre(self) -> DataLoader[uuid.UUID, Genre | None]:
        return self._one(catalog.list_genres_by_id)

    async def named_genre(self, genre_id: uuid.UUID) -> Genre:
        """The genre that a row names. Raises `Vanished`."""
        return _there(await self.genre.load(genre_id))

    @cached_property
    def author(self) -> DataLoader[uuid.UUID, Author | None]:
        return self._one(catalog.list_authors_by_id)

    @cached_property
    def user(self) -> DataLoader[uuid.UUID, User | None]:
        return self._one(accounts.list_users_by_id)

    @cached_property
    def providers_of_user(self) -> DataLoader[uuid.UUID, list[Provider]]:
        return self._many(identities.list_providers_by_user)

    @cached_property
    def order(self) -> DataLoader[uuid.UUID, Order | None]:
        return self._one(orders.list_orders_by_id)

    @cached_property
    def authors_of_book(self) -> DataLoader[uuid.UUID, list[Author]]:
        return self._many(catalog.list_authors_by_book)

    @cached_property
    def items_of_cart(self) -> DataLoader[uuid.UUID, list[CartItem]]:
        async def list_items(reading: Reading, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, CartItem]]:
            return [(item.user_id, item) for item in await cart.list_cart_items(reading, ids)]

        return self._many(list_items)

    @cached_property
    def items_of_order(self) -> DataLoader[uuid.UUID, list[OrderItem]]:
        async def list_items(reading: Reading, ids: list[uuid.UUID]) -> list[tuple[uuid.UUID, OrderItem]]:
            return [(item.order_id, item) for item in await orders.list_order_items(reading, ids)]

        return self._many(list_items)

    @cached_property
    def address_of_order(self) -> DataLoader[uuid.UUID, list[Address]]:
        return self._many(orders.list_addresses)

    @cached_property
    def related_to_book(self) -> DataLoader[uuid.UUID, list[Book]]:
        return self._many(related.list_related_books)

    @cached_property
    def rating_of_book(self) -> DataLoader[uuid.UUID, BookRating | None]:
        return self._one(reviews.list_ratings)

    @cached_property
    def waiting_for_book(self) -> DataLoader[uuid.UUID, list[int]]:
        return self._many(prebookings.count_waiting)

    @cached_property
    def review(self) -> DataLoader[uuid.UUID, Review | None]:
        return self._one(reviews.list_reviews_by_id)

    @cached_property
    def review_of_reader(self) -> DataLoader[Pair, Review | None]:
        return self._paired(reviews.list_reviews_of_pairs)

    @cached_property
    def wishlist_item(self) -> DataLoader[uuid.UUID, WishlistItem | None]:
        return self._one(wishlist.list_wishlist_items_by_id)

    @cached_property
    def prebooking(self) -> DataLoader[uuid.UUID, Prebooking | None]:
        return self._one(prebookings.list_prebookings_by_id)

    @cached_property
    def wish(self) -> DataLoader[Pair, WishlistItem | None]:
        return self._paired(wishlist.list_wishlist_items_of_pairs)

    @cached_property
    def waiting_of_reader(self) -> DataLoader[Pair, Prebooking | None]:
        return self._paired(prebookings.list_waiting_of_pairs)

    @cached_property
    def purchase(self) -> DataLoader[Pair, bool]:
        """Whether the user has a confirmed or shipped order with the book."""

        async def load(pairs: list[Pair]) -> list[bool]:
            bought = set(await reviews.list_bought(self._reading, pairs))
            return [pair in bought for pair in pairs]

        return self._loader(load)

    def _loader(self, load: Callable[[list[K]], Awaitable[list[V]]]) -> DataLoader[K, V]:
        async def load_batch(keys: list[K]) -> list[V]:
            batch = asyncio.current_task()  # DataLoaders have one for each batch, apart from whoever waits for it
            assert batch is not None
            self._under_way.add(batch)
            try:
                return await load(keys)
            finally:
                self._under_way.discard(batch)

        return DataLoader(load_batch, max_batch_size=BATCH)

    def _paired(self, question: Callable[[Reading, Sequence[Pair]], Awaitable[list[V]]]) -> DataLoader[Pair, V | None]:
        async def load(pairs: list[Pair]) -> list[V | None]:
            found = {(row.user_id, row.book_id): row for row in await question(self._reading, pairs)}  # type: ignore[attr-defined]  # rows with both keys
            return [found.get(pair) for pair in pairs]

        return self._loader(load)

    def _one(
        self, question: Callable[[Reading, list[uuid.UUID]], Awaitable[list[V]]]
    ) -> DataLoader[uuid.UUID, V | None]:
        async def load(ids: list[uuid.UUID]) -> list[V | None]:
            found = {row.id: row for row in await question(self._reading, ids)}  # type: ignore[attr-defined]  # rows with a key
            return [found.get(id_) for id_ in ids]

        return self._loader(load)

    def _many(
        self, question: Callable[[Reading, list[uuid.UUID]], Awaitable[list[tuple[uuid.UUID, V]]]]
    ) -> DataLoader[uuid.UUID, list[V]]:
        async def load(ids: list[uuid.UUID]) -> list[list[V]]:
            found: defaultdict[uuid.UUID, list[V]] = defaultdict(list)
            for id_, row in await question(self._reading, ids):
                found[id_].append(row)
            return [found[id_] for id_ in ids]

        return self._loader(load)
