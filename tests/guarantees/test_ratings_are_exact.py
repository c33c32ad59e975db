"""Ratings are exact: whatever readers write, change and delete, a book's figures are those of its living reviews."""

import asyncio
import uuid
from typing import Any

import asyncpg
import pytest
import stamina
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain.reviews import create_review, delete_review, delete_reviews, update_review
from domain.shop import Shop
from persistence.catalog import Book
from persistence.reviews import Review
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book
from tests.locks import holding, until_waiting
from tests.reviewing import (
    add_reader,
    changes,
    deletes,
    deletes_many,
    living_reviews,
    ratings,
    ratings_are_exact,
    reviews_it,
)

ALL_RATINGS = "SELECT FROM book_ratings ORDER BY book_id FOR UPDATE"
READERS, BOOKS = 3, 2
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "change", "delete", "delete all of a book"]),
        st.integers(0, READERS - 1),
        st.integers(0, BOOKS - 1),
        st.integers(1, 5),
    ),
    max_size=15,
)


@pytest.fixture
async def books(shop: Shop) -> list[Book]:
    return [await add_book(shop, stock=100) for _ in range(BOOKS)]


@pytest.fixture
async def readers(visitor: Visitor, shop: Shop, books: list[Book]) -> list[Customer]:
    return [await add_reader(visitor, shop, *books) for _ in range(READERS)]


async def test_a_book_without_reviews_has_no_average(visitor: Visitor, books: list[Book]) -> None:
    assert await ratings(visitor, books[0]) == (None, 0, [0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("stars", "average"),
    [([5], 5.0), ([4, 5], 4.5), ([1, 2, 2], 1.7), ([1, 1, 2], 1.3), ([4, 4, 4, 5], 4.3), ([1, 1, 1, 2], 1.3)],
)
async def test_the_average_has_one_decimal_and_halves_go_up(
    visitor: Visitor, shop: Shop, books: list[Book], stars: list[int], average: float
) -> None:
    for rating in stars:
        await reviews_it(await add_reader(visitor, shop, books[0]), books[0], rating)
    told = await ratings(visitor, books[0])
    assert told == (average, len(stars), [stars.count(number) for number in (5, 4, 3, 2, 1)])


async def test_each_change_shows_at_once(
    visitor: Visitor, shop: Shop, books: list[Book], readers: list[Customer], postgres: asyncpg.Connection
) -> None:
    mine = (await reviews_it(readers[0], books[0], 1))["review"]
    assert mine["book"] == {"id": mine["book"]["id"], "averageRating": 1.0, "reviewCount": 1}
    theirs = (await reviews_it(readers[1], books[0], 4))["review"]
    assert theirs["book"]["averageRating"] == 2.5
    changed = (await changes(readers[0], mine["id"], rating=5))["updateReview"]["review"]
    assert changed["book"] == {"id": mine["book"]["id"], "averageRating": 4.5, "reviewCount": 2}
    gone = (await deletes(readers[1], theirs["id"]))["deleteReview"]["book"]
    assert gone == {"averageRating": 5.0, "reviewCount": 1}
    administrator = await add_customer(visitor, shop, role="ADMIN")
    assert (await deletes_many(administrator, [mine["id"], theirs["id"]]))["reviewIds"] == [mine["id"]]
    assert await ratings(visitor, books[0]) == (None, 0, [0, 0, 0, 0, 0])
    assert await ratings_are_exact(postgres, shop)


async def test_refusals_count_for_nothing(
    books: list[Book], readers: list[Customer], shop: Shop, postgres: asyncpg.Connection
) -> None:
    review = (await reviews_it(readers[0], books[0], 3))["review"]["id"]
    before = await living_reviews(postgres)
    assert (await reviews_it(readers[0], books[0], 5))["__typename"] == "DuplicateReview"
    assert (await reviews_it(readers[1], books[0], 6))["__typename"] == "InvalidInput"
    assert (await changes(readers[1], review, rating=1)).codes == ["FORBIDDEN"]
    assert (await deletes(readers[1], review)).codes == ["FORBIDDEN"]
    assert (await changes(readers[0], review, rating=0))["updateReview"]["__typename"] == "InvalidInput"
    assert await living_reviews(postgres) == before
    assert await ratings_are_exact(postgres, shop)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_whatever_is_done_in_whichever_order(
    shop: Shop, books: list[Book], readers: list[Customer], postgres: asyncpg.Connection, steps: list[Any]
) -> None:
    await postgres.execute("DELETE FROM reviews")
    await postgres.execute("UPDATE book_ratings SET one = 0, two = 0, three = 0, four = 0, five = 0")
    living: dict[tuple[int, int], Review] = {}
    for step, reader, book, stars in steps:
        user, place = readers[reader].member.user, (reader, book)
        if step == "write" and place not in living:
            living[place] = await create_review(shop, user, books[book].id, stars, None)
        elif step == "change" and place in living:
            await update_review(shop, user, living[place].id, {"rating": stars})
        elif step == "delete" and place in living:
            await delete_review(shop, user, living.pop(place).id)
        elif step == "delete all of a book":
            places = [one for one in living if one[1] == book]
            await delete_reviews(shop, [living.pop(one).id for one in places])
        assert await ratings_are_exact(postgres, shop)
    assert len(await living_reviews(postgres)) == len(living)


async def test_readers_who_write_at_the_same_moment_are_all_counted(
    visitor: Visitor,
    shop: Shop,
    books: list[Book],
    readers: list[Customer],
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    async with holding(database_url, ALL_RATINGS):
        tries = [asyncio.create_task(reviews_it(reader, books[0], stars)) for stars, reader in enumerate(readers, 1)]
        await until_waiting(postgres, READERS)
    await asyncio.gather(*tries)
    assert await ratings(visitor, books[0]) == (2.0, 3, [0, 0, 1, 1, 1])
    assert await ratings_are_exact(postgres, shop)


async def test_bulk_deletions_in_opposite_order_do_not_wait_for_each_other_in_a_ring(
    shop: Shop, books: list[Book], readers: list[Customer], postgres: asyncpg.Connection, database_url: str
) -> None:
    written = [(await reviews_it(reader, book))["review"]["id"] for reader in readers for book in books]
    ids = [one for one, _ in await living_reviews(postgres)]
    assert sorted(written) == sorted(ids)
    keys = [row["id"] for row in await postgres.fetch("SELECT id FROM reviews ORDER BY id")]
    with stamina.set_testing(True, attempts=1):  # a deadlock is not tried again unseen
        async with holding(database_url, "SELECT FROM reviews WHERE id = ANY($1::uuid[]) FOR UPDATE", keys[2:4]):
            tries = [asyncio.create_task(delete_reviews(shop, some)) for some in (keys[:4], keys[:1:-1])]
            await until_waiting(postgres, 2)
        await asyncio.wait(tries)
    assert sorted(len(gone) for gone in await asyncio.gather(*tries)) == [2, 4]
    assert await living_reviews(postgres) == []
    assert await ratings_are_exact(postgres, shop)


async def test_deletions_that_touch_the_same_books_in_opposite_order_do_not_wait_in_a_ring(
    visitor: Visitor, shop: Shop, books: list[Book], postgres: asyncpg.Connection, database_url: str
) -> None:
    halves: list[list[uuid.UUID]] = []
    for order in [books, books[::-1]] * 3:
        reader = await add_reader(visitor, shop, *books)
        written = [await create_review(shop, reader.member.user, book.id, 5, None) for book in order]
        halves.append([review.id for review in written])  # ascending, so that the books are not
    with stamina.set_testing(True, attempts=1):
        async with holding(database_url, ALL_RATINGS):
            tries = [asyncio.create_task(delete_reviews(shop, half)) for half in halves]
            await until_waiting(postgres, len(tries))
        await asyncio.wait(tries)
    assert [len(gone) for gone in await asyncio.gather(*tries)] == [2] * len(halves)
    assert await living_reviews(postgres) == []
    assert await ratings_are_exact(postgres, shop)
