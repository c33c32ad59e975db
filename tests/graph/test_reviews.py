"""Reviews over HTTP: user errors, the stored text, permissions, and lists."""

from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from persistence.tables import new_id
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id
from tests.support.shop.reviews import (
    CREATE_REVIEW,
    DELETE_REVIEWS,
    UPDATE_REVIEW,
    add_buyer,
    are_ratings_exact,
    list_visible_reviews,
    submit_bulk_deletion,
    submit_review,
    submit_review_deletion,
    submit_review_update,
)

REVIEW_QUERY = "query ($id: ID!) { review(id: $id) { id rating text createdAt updatedAt } node(id: $id) { id } }"
REVIEWS_QUERY = """
query ($id: ID!, $ratings: [Int!], $sort: ReviewSort! = NEWEST, $first: Int, $offset: Int) {
  book(by: {id: $id}) { reviews(ratings: $ratings, sort: $sort, first: $first, offset: $offset) {
    totalCount nodes { rating } pageInfo { hasNextPage } } }
}
"""
MY_REVIEWS = "{ me { reviews { totalCount nodes { rating text book { title } } } } }"
INVALID_FIELDS: list[tuple[dict[str, Any], str, str]] = [
    ({"rating": 0}, "rating", "TOO_SMALL"),
    ({"rating": -1}, "rating", "TOO_SMALL"),
    ({"rating": 6}, "rating", "TOO_LARGE"),
    ({"rating": 2**31 - 1}, "rating", "TOO_LARGE"),
    ({"text": "x" * 2_001}, "text", "TOO_LONG"),
    ({"text": "x" * 20_000}, "text", "TOO_LONG"),
    ({"text": "a\0b"}, "text", "MALFORMED"),
    ({"text": "\x1b[31m"}, "text", "MALFORMED"),
    ({"text": "Great\n\u2067book"}, "text", "MALFORMED"),
    ({"text": "\u0301"}, "text", "REQUIRED"),
]


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", stock=50)


@pytest.fixture
async def buyer(client: ApiClient, shop: Shop, book: BookRow) -> Customer:
    return await add_buyer(client, shop, book)


@pytest.fixture
async def other_customer(client: ApiClient, shop: Shop, book: BookRow) -> Customer:
    return await add_buyer(client, shop, book)


async def list_review_rows(postgres: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [
        tuple(row)
        for table in ("reviews", "book_ratings")
        for row in await postgres.fetch(f"SELECT * FROM {table} t ORDER BY t::text")
    ]


# ── User errors ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("invalid_fields", "name", "rule"), INVALID_FIELDS)
async def test_invalid_review_changes_nothing(
    buyer: Customer,
    other_customer: Customer,
    book: BookRow,
    postgres: asyncpg.Connection,
    invalid_fields: Any,
    name: str,
    rule: str,
) -> None:
    review = (await submit_review(buyer, book, 3, "Good."))["review"]
    before = await list_review_rows(postgres)
    issues = [{"path": [name], "rule": rule}]
    creation = await other_customer.execute(
        CREATE_REVIEW, input={"bookId": book_id(book), "rating": 4} | invalid_fields
    )
    assert (creation["createReview"]["__typename"], creation["createReview"]["issues"]) == ("InvalidInput", issues)
    update = await submit_review_update(buyer, review["id"], **invalid_fields)
    assert (update["updateReview"]["__typename"], update["updateReview"]["issues"]) == ("InvalidInput", issues)
    assert await list_review_rows(postgres) == before


async def test_all_validation_errors_are_reported(buyer: Customer, book: BookRow) -> None:
    result = await submit_review(buyer, book, 0, "x" * 2_001)
    assert [(issue["path"], issue["rule"]) for issue in result["issues"]] == [
        (["rating"], "TOO_SMALL"),
        (["text"], "TOO_LONG"),
    ]


@pytest.mark.parametrize("rating", [4.5, "4", None, True, [4]])
async def test_rating_is_an_integer(buyer: Customer, book: BookRow, postgres: asyncpg.Connection, rating: Any) -> None:
    response = await buyer.execute(CREATE_REVIEW, input={"bookId": book_id(book), "rating": rating})
    assert len(response.codes) == 1
    assert set(response.codes) <= {"BAD_USER_INPUT", "GRAPHQL_VALIDATION_FAILED"}
    assert await list_visible_reviews(postgres) == []


async def test_rating_is_required(buyer: Customer, book: BookRow, postgres: asyncpg.Connection) -> None:
    review = (await submit_review(buyer, book, 3))["review"]["id"]
    result = (await submit_review_update(buyer, review, rating=None))["updateReview"]
    assert result["issues"] == [{"path": ["rating"], "rule": "REQUIRED"}]
    assert await list_visible_reviews(postgres) == [(review, 3)]


@pytest.mark.parametrize("kind", ["Book", "Review"])
async def test_unknown_ids_are_not_found(buyer: Customer, book: BookRow, kind: str) -> None:
    unknown_id, genre_id = to_global_id(kind, new_id()), to_global_id("Genre", new_id())
    if kind == "Book":
        result = (await buyer.execute(CREATE_REVIEW, input={"bookId": unknown_id, "rating": 4}))["createReview"]
        assert (result["__typename"], result["id"]) == ("NotFound", unknown_id)
        assert (await buyer.execute(CREATE_REVIEW, input={"bookId": genre_id, "rating": 4})).codes == ["BAD_USER_INPUT"]
    else:
        assert (await submit_review_update(buyer, unknown_id, rating=4))["updateReview"]["__typename"] == "NotFound"
        assert (await submit_review_deletion(buyer, unknown_id))["deleteReview"]["__typename"] == "NotFound"
        assert (await submit_review_update(buyer, genre_id, rating=4)).codes == ["BAD_USER_INPUT"]
        assert (await submit_review_deletion(buyer, genre_id)).codes == ["BAD_USER_INPUT"]
        assert (await buyer.execute(REVIEW_QUERY, id=unknown_id)).data == {"review": None, "node": None}


async def test_review_is_public_and_changed_by_its_author_only(
    client: ApiClient,
    shop: Shop,
    buyer: Customer,
    other_customer: Customer,
    book: BookRow,
    postgres: asyncpg.Connection,
) -> None:
    review = (await submit_review(buyer, book, 3, "Mine."))["review"]["id"]
    before = await list_review_rows(postgres)
    assert (await client.execute(REVIEW_QUERY, id=review))["review"]["text"] == "Mine."
    assert (await submit_review_update(other_customer, review, rating=1)).codes == ["FORBIDDEN"]
    assert (await submit_review_deletion(other_customer, review)).codes == ["FORBIDDEN"]
    admin = await add_customer(client, shop, role="ADMIN")
    assert (await submit_review_update(admin, review, rating=1)).codes == ["FORBIDDEN"]
    assert (await buyer.execute(DELETE_REVIEWS, ids=[review])).codes == ["FORBIDDEN"]
    assert await list_review_rows(postgres) == before


async def test_review_of_another_user_is_not_returned(
    client: ApiClient, shop: Shop, buyer: Customer, other_customer: Customer, book: BookRow
) -> None:
    await submit_review(buyer, book, 3)
    own_review = (await submit_review(other_customer, book, 1))["review"]
    assert (await submit_review(other_customer, book, 5))["existingReview"]["id"] == own_review["id"]
    assert (await submit_review(await add_customer(client, shop), book, 5))["__typename"] == "PurchaseRequired"


async def test_bulk_deletion_is_limited_to_100(
    client: ApiClient, shop: Shop, buyer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    admin = await add_customer(client, shop, role="ADMIN")
    review = (await submit_review(buyer, book, 3))["review"]["id"]
    unknown_ids = [to_global_id("Review", new_id()) for _ in range(100)]
    result = await submit_bulk_deletion(admin, [*unknown_ids, review])
    assert result["issues"] == [{"path": ["reviewIds"], "rule": "TOO_LONG"}]
    assert (await admin.execute(DELETE_REVIEWS, ids=[review, book_id(book)])).codes == ["BAD_USER_INPUT"]
    assert len(await list_visible_reviews(postgres)) == 1
    assert (await submit_bulk_deletion(admin, [*unknown_ids[1:], review]))["reviewIds"] == [review]
    assert (await submit_bulk_deletion(admin, []))["reviewIds"] == []


@pytest.mark.parametrize("ratings", [[0], [6], [5, -1], [2**31 - 1]])
async def test_rating_filter_out_of_range_is_an_error(client: ApiClient, book: BookRow, ratings: list[int]) -> None:
    assert (await client.execute(REVIEWS_QUERY, id=book_id(book), ratings=ratings)).codes == ["BAD_USER_INPUT"]


# ── Stored text ───────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "stored_text"),
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
async def test_review_text_is_stripped_only(
    buyer: Customer, book: BookRow, text: str | None, stored_text: str | None
) -> None:
    assert (await submit_review(buyer, book, 5, text))["review"]["text"] == stored_text


async def test_update_changes_only_fields_in_the_input(buyer: Customer, book: BookRow) -> None:
    review = (await submit_review(buyer, book, 2, "Too long."))["review"]["id"]
    for changes, rating, text in (
        ({"rating": 5}, 5, "Too long."),
        ({"text": "Perfect."}, 5, "Perfect."),
        ({}, 5, "Perfect."),
        ({"text": None}, 5, None),
        ({"rating": 1, "text": "No."}, 1, "No."),
    ):
        update = (await submit_review_update(buyer, review, **changes))["updateReview"]["review"]
        assert (update["rating"], update["text"], update["book"]["averageRating"]) == (rating, text, float(rating))


async def test_update_sets_updated_at_and_keeps_created_at(
    buyer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    review = (await submit_review(buyer, book, 2))["review"]["id"]
    await postgres.execute("UPDATE reviews SET created_at = '2026-01-01', updated_at = '2026-01-01'")
    await submit_review_update(buyer, review)
    unchanged_review = (await buyer.execute(REVIEW_QUERY, id=review))["review"]
    assert unchanged_review["createdAt"] == unchanged_review["updatedAt"] == "2026-01-01T00:00:00.000Z"
    await submit_review_update(buyer, review, rating=3)
    changed_review = (await buyer.execute(REVIEW_QUERY, id=review))["review"]
    assert changed_review["createdAt"] == "2026-01-01T00:00:00.000Z" < changed_review["updatedAt"]


async def test_serial_mutations_see_earlier_changes(buyer: Customer, book: BookRow) -> None:
    review = (await submit_review(buyer, book, 2))["review"]["id"]
    document = """mutation ($id: ID!) {
        a: updateReview(input: {reviewId: $id, rating: 4}) { ... on ReviewSaved { review { book { averageRating } } } }
        b: updateReview(input: {reviewId: $id, rating: 5}) { ... on ReviewSaved { review { book { averageRating } } } } }"""
    response = await buyer.execute(document, id=review)
    assert [response[alias]["review"]["book"]["averageRating"] for alias in "ab"] == [4.0, 5.0]


# ── Lists ─────────────────────────────────────────────────────────────────────────────────


async def test_reviews_of_a_book_are_filtered_and_sorted(client: ApiClient, shop: Shop, book: BookRow) -> None:
    for stars in (4, 1, 5, 4):
        await submit_review(await add_buyer(client, shop, book), book, stars)
    await submit_review(await add_buyer(client, shop, other := await add_book(shop)), other, 2)

    async def list_ratings(**arguments: Any) -> tuple[list[int], int]:
        page = (await client.execute(REVIEWS_QUERY, id=book_id(book), **arguments))["book"]["reviews"]
        return [node["rating"] for node in page["nodes"]], page["totalCount"]

    assert await list_ratings() == ([4, 5, 1, 4], 4)
    assert await list_ratings(sort="HIGHEST_RATED") == ([5, 4, 4, 1], 4)
    assert await list_ratings(sort="LOWEST_RATED") == ([1, 4, 4, 5], 4)
    assert await list_ratings(ratings=[4, 4, 1]) == ([4, 1, 4], 3)
    assert await list_ratings(ratings=[2]) == ([], 0)
    assert await list_ratings(ratings=[]) == ([], 0)
    assert await list_ratings(ratings=None) == ([4, 5, 1, 4], 4)
    assert await list_ratings(first=2, offset=1) == ([5, 1], 4)


async def test_user_lists_their_own_reviews(client: ApiClient, shop: Shop) -> None:
    books = [await add_book(shop, title) for title in ("One", "Two")]
    reader, other = [await add_buyer(client, shop, *books) for _ in range(2)]
    await submit_review(reader, books[0], 1, "First.")
    await submit_review(reader, books[1], 2)
    await submit_review(other, books[0], 5)
    assert (await reader.execute(MY_REVIEWS))["me"]["reviews"] == {
        "totalCount": 2,
        "nodes": [
            {"rating": 2, "text": None, "book": {"title": "Two"}},
            {"rating": 1, "text": "First.", "book": {"title": "One"}},
        ],
    }


async def test_admin_deletes_reviews(
    client: ApiClient, shop: Shop, buyer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    review = (await submit_review(buyer, book, 1, "Spam."))["review"]["id"]
    admin = await add_customer(client, shop, role="ADMIN")
    result = (await submit_review_deletion(admin, review))["deleteReview"]
    assert (result["__typename"], result["reviewId"]) == ("ReviewDeleted", review)
    assert (await buyer.execute(UPDATE_REVIEW, input={"reviewId": review, "rating": 5}))["updateReview"][
        "__typename"
    ] == "NotFound"
    assert await are_ratings_exact(postgres)
