"""Reviews over HTTP: what is refused, what is kept of the words, who may change them, and how lists show them."""

from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.catalog import Book
from persistence.models import new_id
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, book_id
from tests.reviewing import (
    CREATE,
    DELETE_MANY,
    UPDATE,
    add_reader,
    changes,
    deletes,
    deletes_many,
    living_reviews,
    ratings_are_exact,
    reviews_it,
)

ONE = "query ($id: ID!) { review(id: $id) { id rating text createdAt updatedAt } node(id: $id) { id } }"
LIST = """
query ($id: ID!, $ratings: [Int!], $sort: ReviewSort! = NEWEST, $first: Int, $offset: Int) {
  book(by: {id: $id}) { reviews(ratings: $ratings, sort: $sort, first: $first, offset: $offset) {
    totalCount nodes { rating } pageInfo { hasNextPage } } }
}
"""
MINE = "{ me { reviews { totalCount nodes { rating text book { title } } } } }"
REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"rating": 0}, "rating", "TOO_SMALL"),
    ({"rating": -1}, "rating", "TOO_SMALL"),
    ({"rating": 6}, "rating", "TOO_LARGE"),
    ({"rating": 2**31 - 1}, "rating", "TOO_LARGE"),
    ({"text": "x" * 2_001}, "text", "TOO_LONG"),
    ({"text": "x" * 20_000}, "text", "TOO_LONG"),
    ({"text": "a\0b"}, "text", "MALFORMED"),
    ({"text": "\x1b[31m"}, "text", "MALFORMED"),
]


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", stock=50)


@pytest.fixture
async def reader(visitor: Visitor, shop: Shop, book: Book) -> Customer:
    return await add_reader(visitor, shop, book)


@pytest.fixture
async def stranger(visitor: Visitor, shop: Shop, book: Book) -> Customer:
    return await add_reader(visitor, shop, book)


async def kept(postgres: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for table in ("reviews", "book_ratings")
        for row in await postgres.fetch(f"SELECT * FROM {table} t ORDER BY t::text")
    ]


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("bad", "name", "rule"), REFUSED)
async def test_what_is_not_acceptable_changes_nothing(
    reader: Customer, stranger: Customer, book: Book, postgres: asyncpg.Connection, bad: Any, name: str, rule: str
) -> None:
    review = (await reviews_it(reader, book, 3, "Good."))["review"]
    before = await kept(postgres)
    issues = [{"path": [name], "rule": rule}]
    created = await stranger.ask(CREATE, input={"bookId": book_id(book), "rating": 4} | bad)
    assert (created["createReview"]["__typename"], created["createReview"]["issues"]) == ("InvalidInput", issues)
    updated = await changes(reader, review["id"], **bad)
    assert (updated["updateReview"]["__typename"], updated["updateReview"]["issues"]) == ("InvalidInput", issues)
    assert await kept(postgres) == before


async def test_all_issues_are_told_at_once(reader: Customer, book: Book) -> None:
    end = await reviews_it(reader, book, 0, "x" * 2_001)
    assert [(issue["path"], issue["rule"]) for issue in end["issues"]] == [
        (["rating"], "TOO_SMALL"),
        (["text"], "TOO_LONG"),
    ]


@pytest.mark.parametrize("rating", [4.5, "4", None, True, [4]])
async def test_stars_are_whole(reader: Customer, book: Book, postgres: asyncpg.Connection, rating: Any) -> None:
    reply = await reader.ask(CREATE, input={"bookId": book_id(book), "rating": rating})
    assert len(reply.codes) == 1
    assert set(reply.codes) <= {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"}
    assert await living_reviews(postgres) == []


async def test_a_review_cannot_be_without_stars(reader: Customer, book: Book, postgres: asyncpg.Connection) -> None:
    review = (await reviews_it(reader, book, 3))["review"]["id"]
    end = (await changes(reader, review, rating=None))["updateReview"]
    assert end["issues"] == [{"path": ["rating"], "rule": "REQUIRED"}]
    assert await living_reviews(postgres) == [(review, 3)]


@pytest.mark.parametrize("kind", ["Book", "Review"])
async def test_ids_that_lead_nowhere(reader: Customer, book: Book, kind: str) -> None:
    nowhere, other = global_id(kind, new_id()), global_id("Genre", new_id())
    if kind == "Book":
        end = (await reader.ask(CREATE, input={"bookId": nowhere, "rating": 4}))["createReview"]
        assert (end["__typename"], end["id"]) == ("NotFound", nowhere)
        assert (await reader.ask(CREATE, input={"bookId": other, "rating": 4})).codes == ["BAD_USER_INPUT"]
    else:
        assert (await changes(reader, nowhere, rating=4))["updateReview"]["__typename"] == "NotFound"
        assert (await deletes(reader, nowhere))["deleteReview"]["__typename"] == "NotFound"
        assert (await changes(reader, other, rating=4)).codes == ["BAD_USER_INPUT"]
        assert (await deletes(reader, other)).codes == ["BAD_USER_INPUT"]
        assert (await reader.ask(ONE, id=nowhere)).data == {"review": None, "node": None}


async def test_a_strangers_review_is_read_by_all_and_changed_by_none(
    visitor: Visitor, shop: Shop, reader: Customer, stranger: Customer, book: Book, postgres: asyncpg.Connection
) -> None:
    review = (await reviews_it(reader, book, 3, "Mine."))["review"]["id"]
    before = await kept(postgres)
    assert (await visitor.ask(ONE, id=review))["review"]["text"] == "Mine."
    assert (await changes(stranger, review, rating=1)).codes == ["FORBIDDEN"]
    assert (await deletes(stranger, review)).codes == ["FORBIDDEN"]
    administrator = await add_customer(visitor, shop, role="ADMIN")
    assert (await changes(administrator, review, rating=1)).codes == ["FORBIDDEN"]
    assert (await reader.ask(DELETE_MANY, ids=[review])).codes == ["FORBIDDEN"]
    assert await kept(postgres) == before


async def test_a_strangers_review_is_not_taken_for_ones_own(
    visitor: Visitor, shop: Shop, reader: Customer, stranger: Customer, book: Book
) -> None:
    await reviews_it(reader, book, 3)
    mine = (await reviews_it(stranger, book, 1))["review"]
    assert (await reviews_it(stranger, book, 5))["existingReview"]["id"] == mine["id"]
    assert (await reviews_it(await add_customer(visitor, shop), book, 5))["__typename"] == "PurchaseRequired"


async def test_a_hundred_reviews_are_deleted_at_once_at_most(
    visitor: Visitor, shop: Shop, reader: Customer, book: Book, postgres: asyncpg.Connection
) -> None:
    administrator = await add_customer(visitor, shop, role="ADMIN")
    review = (await reviews_it(reader, book, 3))["review"]["id"]
    nowhere = [global_id("Review", new_id()) for _ in range(100)]
    end = await deletes_many(administrator, [*nowhere, review])
    assert end["issues"] == [{"path": ["reviewIds"], "rule": "TOO_LONG"}]
    assert (await administrator.ask(DELETE_MANY, ids=[review, book_id(book)])).codes == ["BAD_USER_INPUT"]
    assert len(await living_reviews(postgres)) == 1
    assert (await deletes_many(administrator, [*nowhere[1:], review]))["reviewIds"] == [review]
    assert (await deletes_many(administrator, []))["reviewIds"] == []


@pytest.mark.parametrize("ratings", [[0], [6], [5, -1], [2**31 - 1]])
async def test_stars_that_nobody_can_give_filter_nothing(visitor: Visitor, book: Book, ratings: list[int]) -> None:
    assert (await visitor.ask(LIST, id=book_id(book), ratings=ratings)).codes == ["BAD_USER_INPUT"]


# ── What is kept ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        (None, None),
        ("", None),
        (" \n ", None),
        ("  Good.  ", "Good."),
        ("One\r\ntwo\nthree", "One\ntwo\nthree"),
        ("x" * 2_000, "x" * 2_000),
        ("😀" * 2_000, "😀" * 2_000),
        ("<script>alert('&')</script>", "<script>alert('&')</script>"),
        ("e\u0301", "é"),
    ],
)
async def test_words_are_kept_as_they_are_but_for_space_around_them(
    reader: Customer, book: Book, text: str | None, shown: str | None
) -> None:
    assert (await reviews_it(reader, book, 5, text))["review"]["text"] == shown


async def test_a_change_touches_only_what_is_given(reader: Customer, book: Book) -> None:
    review = (await reviews_it(reader, book, 2, "Too long."))["review"]["id"]
    for given, rating, text in (
        ({"rating": 5}, 5, "Too long."),
        ({"text": "Perfect."}, 5, "Perfect."),
        ({}, 5, "Perfect."),
        ({"text": None}, 5, None),
        ({"rating": 1, "text": "No."}, 1, "No."),
    ):
        told = (await changes(reader, review, **given))["updateReview"]["review"]
        assert (told["rating"], told["text"], told["book"]["averageRating"]) == (rating, text, float(rating))


async def test_a_change_is_dated_and_the_beginning_stays(
    reader: Customer, book: Book, postgres: asyncpg.Connection
) -> None:
    review = (await reviews_it(reader, book, 2))["review"]["id"]
    await postgres.execute("UPDATE reviews SET created_at = '2026-01-01', updated_at = '2026-01-01'")
    await changes(reader, review)
    untouched = (await reader.ask(ONE, id=review))["review"]
    assert untouched["createdAt"] == untouched["updatedAt"] == "2026-01-01T00:00:00.000Z"
    await changes(reader, review, rating=3)
    changed = (await reader.ask(ONE, id=review))["review"]
    assert changed["createdAt"] == "2026-01-01T00:00:00.000Z" < changed["updatedAt"]


async def test_aliases_in_one_document_see_what_came_before_them(reader: Customer, book: Book) -> None:
    review = (await reviews_it(reader, book, 2))["review"]["id"]
    document = """mutation ($id: ID!) {
        a: updateReview(input: {reviewId: $id, rating: 4}) { ... on ReviewSaved { review { book { averageRating } } } }
        b: updateReview(input: {reviewId: $id, rating: 5}) { ... on ReviewSaved { review { book { averageRating } } } } }"""
    reply = await reader.ask(document, id=review)
    assert [reply[alias]["review"]["book"]["averageRating"] for alias in "ab"] == [4.0, 5.0]


# ── Lists ─────────────────────────────────────────────────────────────────────────────────


async def test_a_books_reviews_by_stars_and_in_each_order(visitor: Visitor, shop: Shop, book: Book) -> None:
    for stars in (4, 1, 5, 4):
        await reviews_it(await add_reader(visitor, shop, book), book, stars)
    await reviews_it(await add_reader(visitor, shop, other := await add_book(shop)), other, 2)

    async def shown(**narrow: Any) -> tuple[list[int], int]:
        page = (await visitor.ask(LIST, id=book_id(book), **narrow))["book"]["reviews"]
        return [node["rating"] for node in page["nodes"]], page["totalCount"]

    assert await shown() == ([4, 5, 1, 4], 4)
    assert await shown(sort="HIGHEST_RATED") == ([5, 4, 4, 1], 4)
    assert await shown(sort="LOWEST_RATED") == ([1, 4, 4, 5], 4)
    assert await shown(ratings=[4, 4, 1]) == ([4, 1, 4], 3)
    assert await shown(ratings=[2]) == ([], 0)
    assert await shown(ratings=[]) == ([], 0)
    assert await shown(ratings=None) == ([4, 5, 1, 4], 4)
    assert await shown(first=2, offset=1) == ([5, 1], 4)


async def test_a_reader_has_a_list_of_their_own(visitor: Visitor, shop: Shop) -> None:
    books = [await add_book(shop, title) for title in ("One", "Two")]
    reader, other = [await add_reader(visitor, shop, *books) for _ in range(2)]
    await reviews_it(reader, books[0], 1, "First.")
    await reviews_it(reader, books[1], 2)
    await reviews_it(other, books[0], 5)
    assert (await reader.ask(MINE))["me"]["reviews"] == {
        "totalCount": 2,
        "nodes": [
            {"rating": 2, "text": None, "book": {"title": "Two"}},
            {"rating": 1, "text": "First.", "book": {"title": "One"}},
        ],
    }


async def test_an_administrator_deletes_what_should_not_stand(
    visitor: Visitor, shop: Shop, reader: Customer, book: Book, postgres: asyncpg.Connection
) -> None:
    review = (await reviews_it(reader, book, 1, "Spam."))["review"]["id"]
    administrator = await add_customer(visitor, shop, role="ADMIN")
    end = (await deletes(administrator, review))["deleteReview"]
    assert (end["__typename"], end["reviewId"]) == ("ReviewDeleted", review)
    assert (await reader.ask(UPDATE, input={"reviewId": review, "rating": 5}))["updateReview"][
        "__typename"
    ] == "NotFound"
    assert await ratings_are_exact(postgres, shop)
