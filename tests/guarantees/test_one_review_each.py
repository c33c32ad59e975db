"""One review each: a reader has one living review of a book, and may write another when it is gone."""

import asyncio
from collections import Counter

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog import Book
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, book_id
from tests.locks import holding, until_waiting
from tests.reviewing import add_reader, deletes, deletes_many, living_reviews, ratings, ratings_are_exact, reviews_it

RATING = "SELECT FROM book_ratings WHERE book_id = $1 FOR UPDATE"
EVERYWHERE = """
query ($id: ID!, $ids: [ID!]!, $book: ID!) {
  review(id: $id) { id }
  node(id: $id) { id }
  nodes(ids: $ids) { id }
  book(by: {id: $book}) { viewerReview { id } reviews { totalCount nodes { id } } }
  me { reviews { totalCount nodes { id } } }
}
"""


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma")


@pytest.fixture
async def reader(visitor: Visitor, shop: Shop, book: Book) -> Customer:
    return await add_reader(visitor, shop, book)


async def test_a_second_try_is_shown_the_first(reader: Customer, book: Book, postgres: asyncpg.Connection) -> None:
    first = (await reviews_it(reader, book, 2, "Too long."))["review"]
    second = await reviews_it(reader, book, 5, "Perfect.")
    assert (second["__typename"], second["code"]) == ("DuplicateReview", "REVIEW_DUPLICATE")
    assert second["existingReview"] == first
    assert await living_reviews(postgres) == [(first["id"], 2)]


async def test_of_two_at_once_one_is_kept(
    reader: Customer, visitor: Visitor, shop: Shop, book: Book, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with holding(database_url, RATING, book.id):
        tries = [asyncio.create_task(reviews_it(reader, book, stars)) for stars in (1, 5)]
        await until_waiting(postgres, 2)
    ends = await asyncio.gather(*tries)
    assert Counter(end["__typename"] for end in ends) == Counter(ReviewSaved=1, DuplicateReview=1)
    [(kept, stars)] = await living_reviews(postgres)
    assert {(end.get("review") or end.get("existingReview"))["id"] for end in ends} == {kept}
    assert (await ratings(visitor, book))[:2] == (float(stars), 1)
    assert await ratings_are_exact(postgres, shop)


@pytest.mark.parametrize("by_administrator", [False, True])
async def test_once_it_is_deleted_another_may_be_written_and_nobody_reaches_the_first(
    reader: Customer, visitor: Visitor, shop: Shop, book: Book, postgres: asyncpg.Connection, by_administrator: bool
) -> None:
    first = (await reviews_it(reader, book, 1))["review"]["id"]
    if by_administrator:
        administrator = await add_customer(visitor, shop, role="ADMIN")
        assert (await deletes_many(administrator, [first, first]))["reviewIds"] == [first]
        assert (await deletes_many(administrator, [first]))["reviewIds"] == []
    else:
        gone = (await deletes(reader, first))["deleteReview"]
        assert gone["book"] == {"averageRating": None, "reviewCount": 0}
    assert (await deletes(reader, first))["deleteReview"]["__typename"] == "NotFound"
    told = await reader.ask(EVERYWHERE, id=first, ids=[first], book=book_id(book))
    nothing = {"totalCount": 0, "nodes": []}
    assert told.data == {
        "review": None,
        "node": None,
        "nodes": [None],
        "book": {"viewerReview": None, "reviews": nothing},
        "me": {"reviews": nothing},
    }

    shop.counts.clear()
    second = (await reviews_it(reader, book, 5))["review"]["id"]
    assert second != first
    assert await living_reviews(postgres) == [(second, 5)]
    assert await postgres.fetchval("SELECT count(*) FROM reviews") == 2
    assert await ratings_are_exact(postgres, shop)


async def test_others_review_the_same_book_and_the_same_reader_others(
    reader: Customer, visitor: Visitor, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    other = await add_reader(visitor, shop, book, again := await add_book(shop))
    assert (await reviews_it(reader, book))["__typename"] == "ReviewSaved"
    assert (await reviews_it(other, book))["__typename"] == "ReviewSaved"
    assert (await reviews_it(other, again))["__typename"] == "ReviewSaved"
    assert len(await living_reviews(postgres)) == 3
