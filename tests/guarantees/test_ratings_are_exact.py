"""Ratings always equal those of the existing reviews."""

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
from persistence.catalog import BookRow
from persistence.reviews import ReviewRow
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book
from tests.support.shop.reviews import (
    add_buyer,
    are_ratings_exact,
    get_ratings,
    list_visible_reviews,
    submit_bulk_deletion,
    submit_review,
    submit_review_deletion,
    submit_review_update,
)

LOCK_ALL_RATINGS = "SELECT FROM book_ratings ORDER BY book_id FOR UPDATE"
USER_COUNT, BOOK_COUNT = 3, 2
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "change", "delete", "delete all of a book"]),
        st.integers(0, USER_COUNT - 1),
        st.integers(0, BOOK_COUNT - 1),
        st.integers(1, 5),
    ),
    max_size=15,
)


@pytest.fixture
async def books(shop: Shop) -> list[BookRow]:
    return [await add_book(shop, stock=100) for _ in range(BOOK_COUNT)]


@pytest.fixture
async def buyers(client: ApiClient, shop: Shop, books: list[BookRow]) -> list[Customer]:
    return [await add_buyer(client, shop, *books) for _ in range(USER_COUNT)]


async def test_a_book_without_reviews_has_no_average(client: ApiClient, books: list[BookRow]) -> None:
    assert await get_ratings(client, books[0]) == (None, 0, [0, 0, 0, 0, 0])


@pytest.mark.parametrize(
    ("stars", "average"),
    [([5], 5.0), ([4, 5], 4.5), ([1, 2, 2], 1.7), ([1, 1, 2], 1.3), ([4, 4, 4, 5], 4.3), ([1, 1, 1, 2], 1.3)],
)
async def test_average_is_rounded_half_up_to_one_decimal(
    client: ApiClient, shop: Shop, books: list[BookRow], stars: list[int], average: float
) -> None:
    for rating in stars:
        await submit_review(await add_buyer(client, shop, books[0]), books[0], rating)
    ratings = await get_ratings(client, books[0])
    assert ratings == (average, len(stars), [stars.count(number) for number in (5, 4, 3, 2, 1)])


async def test_changes_are_visible_immediately(
    client: ApiClient, shop: Shop, books: list[BookRow], buyers: list[Customer], postgres: asyncpg.Connection
) -> None:
    first = (await submit_review(buyers[0], books[0], 1))["review"]
    assert first["book"] == {"id": first["book"]["id"], "averageRating": 1.0, "reviewCount": 1}
    second = (await submit_review(buyers[1], books[0], 4))["review"]
    assert second["book"]["averageRating"] == 2.5
    changed = (await submit_review_update(buyers[0], first["id"], rating=5))["updateReview"]["review"]
    assert changed["book"] == {"id": first["book"]["id"], "averageRating": 4.5, "reviewCount": 2}
    deleted = (await submit_review_deletion(buyers[1], second["id"]))["deleteReview"]["book"]
    assert deleted == {"averageRating": 5.0, "reviewCount": 1}
    admin = await add_customer(client, shop, role="ADMIN")
    assert (await submit_bulk_deletion(admin, [first["id"], second["id"]]))["reviewIds"] == [first["id"]]
    assert await get_ratings(client, books[0]) == (None, 0, [0, 0, 0, 0, 0])
    assert await are_ratings_exact(postgres)


async def test_rejected_changes_do_not_count(
    books: list[BookRow], buyers: list[Customer], shop: Shop, postgres: asyncpg.Connection
) -> None:
    review = (await submit_review(buyers[0], books[0], 3))["review"]["id"]
    before = await list_visible_reviews(postgres)
    assert (await submit_review(buyers[0], books[0], 5))["__typename"] == "DuplicateReview"
    assert (await submit_review(buyers[1], books[0], 6))["__typename"] == "InvalidInput"
    assert (await submit_review_update(buyers[1], review, rating=1)).codes == ["FORBIDDEN"]
    assert (await submit_review_deletion(buyers[1], review)).codes == ["FORBIDDEN"]
    assert (await submit_review_update(buyers[0], review, rating=0))["updateReview"]["__typename"] == "InvalidInput"
    assert await list_visible_reviews(postgres) == before
    assert await are_ratings_exact(postgres)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
async def test_random_sequences_of_changes(
    shop: Shop, books: list[BookRow], buyers: list[Customer], postgres: asyncpg.Connection, steps: list[Any]
) -> None:
    await postgres.execute("DELETE FROM reviews")
    await postgres.execute("UPDATE book_ratings SET one = 0, two = 0, three = 0, four = 0, five = 0")
    reviews_by_pair: dict[tuple[int, int], ReviewRow] = {}
    for step, user_index, book, stars in steps:
        user, pair = buyers[user_index].user.row, (user_index, book)
        if step == "write" and pair not in reviews_by_pair:
            reviews_by_pair[pair] = await create_review(shop, user, books[book].id, stars, None)
        elif step == "change" and pair in reviews_by_pair:
            await update_review(shop, user, reviews_by_pair[pair].id, {"rating": stars})
        elif step == "delete" and pair in reviews_by_pair:
            await delete_review(shop, user, reviews_by_pair.pop(pair).id)
        elif step == "delete all of a book":
            pairs = [pair_ for pair_ in reviews_by_pair if pair_[1] == book]
            await delete_reviews(shop, [reviews_by_pair.pop(pair_).id for pair_ in pairs])
        assert await are_ratings_exact(postgres)
    assert len(await list_visible_reviews(postgres)) == len(reviews_by_pair)


async def test_concurrent_reviews_are_all_counted(
    client: ApiClient,
    shop: Shop,
    books: list[BookRow],
    buyers: list[Customer],
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    async with hold_lock(database_url, LOCK_ALL_RATINGS):
        reviews = [asyncio.create_task(submit_review(buyer, books[0], stars)) for stars, buyer in enumerate(buyers, 1)]
        await wait_for_blocked(postgres, USER_COUNT)
    await asyncio.gather(*reviews)
    assert await get_ratings(client, books[0]) == (2.0, 3, [0, 0, 1, 1, 1])
    assert await are_ratings_exact(postgres)


async def test_bulk_deletions_in_opposite_order_do_not_deadlock(
    shop: Shop, books: list[BookRow], buyers: list[Customer], postgres: asyncpg.Connection, database_url: str
) -> None:
    review_ids = [(await submit_review(buyer, book))["review"]["id"] for buyer in buyers for book in books]
    visible_ids = [review_id for review_id, _ in await list_visible_reviews(postgres)]
    assert sorted(review_ids) == sorted(visible_ids)
    row_ids = [row["id"] for row in await postgres.fetch("SELECT id FROM reviews ORDER BY id")]
    with stamina.set_testing(True, attempts=1):  # no retries, so that a deadlock fails the test
        async with hold_lock(database_url, "SELECT FROM reviews WHERE id = ANY($1::uuid[]) FOR UPDATE", row_ids[2:4]):
            deletions = [
                asyncio.create_task(delete_reviews(shop, ids_to_delete))
                for ids_to_delete in (row_ids[:4], row_ids[:1:-1])
            ]
            await wait_for_blocked(postgres, 2)
        await asyncio.wait(deletions)
    assert sorted(len(deleted) for deleted in await asyncio.gather(*deletions)) == [2, 4]
    assert await list_visible_reviews(postgres) == []
    assert await are_ratings_exact(postgres)


async def test_deletions_of_same_books_in_opposite_order_do_not_deadlock(
    client: ApiClient, shop: Shop, books: list[BookRow], postgres: asyncpg.Connection, database_url: str
) -> None:
    review_id_lists: list[list[uuid.UUID]] = []
    for order in [books, books[::-1]] * 3:
        buyer = await add_buyer(client, shop, *books)
        reviews = [await create_review(shop, buyer.user.row, book.id, 5, None) for book in order]
        review_id_lists.append([review.id for review in reviews])  # the IDs ascend, so the order of the books differs
    with stamina.set_testing(True, attempts=1):
        async with hold_lock(database_url, LOCK_ALL_RATINGS):
            deletions = [asyncio.create_task(delete_reviews(shop, review_ids)) for review_ids in review_id_lists]
            await wait_for_blocked(postgres, len(deletions))
        await asyncio.wait(deletions)
    assert [len(deleted) for deleted in await asyncio.gather(*deletions)] == [2] * len(review_id_lists)
    assert await list_visible_reviews(postgres) == []
    assert await are_ratings_exact(postgres)
