"""Fields that begin with `viewer`: they hold the caller's own values, and none for anonymous callers."""

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id
from tests.support.shop.past_orders import add_past_order

VIEWER_FIELDS_QUERY = """
query ($id: ID!) {
  book(by: {id: $id}) {
    title viewerReview { rating text } viewerCanReview viewerHasWishlisted viewerPrebooking { status book { id } }
    reviews { nodes { rating viewerCanUpdate viewerCanDelete } }
  }
}
"""
NO_VIEWER_VALUES: dict[str, object] = {
    "viewerReview": None,
    "viewerCanReview": False,
    "viewerHasWishlisted": False,
    "viewerPrebooking": None,
    "reviews": {"nodes": []},
}
CREATE_REVIEW = """mutation ($id: ID!, $stars: Int!) { result: createReview(input: {bookId: $id, rating: $stars}) {
    ... on ReviewSaved { review { id } } } }"""
ADD_TO_WISHLIST = "mutation ($id: ID!) { addToWishlist(input: {bookId: $id}) { __typename } }"
PREBOOK = "mutation ($id: ID!) { result: prebook(input: {bookId: $id}) { ... on Prebooked { prebooking { id } } } }"


async def fetch_viewer_fields(viewer: ApiClient | Customer, book: BookRow) -> dict[str, object]:
    fields: dict[str, object] = (await viewer.execute(VIEWER_FIELDS_QUERY, id=book_id(book)))["book"]
    assert fields.pop("title") == book.title
    return fields


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, stock=0)


async def test_anonymous_and_new_users_have_none(client: ApiClient, shop: Shop, book: BookRow) -> None:
    assert await fetch_viewer_fields(client, book) == NO_VIEWER_VALUES
    assert await fetch_viewer_fields(await add_customer(client, shop), book) == NO_VIEWER_VALUES


async def test_invalid_token_is_not_treated_as_anonymous(client: ApiClient, book: BookRow) -> None:
    for name in ("viewerReview { id }", "viewerPrebooking { id }"):
        document = f"query ($id: ID!) {{ book(by: {{id: $id}}) {{ title {name} }} }}"
        response = await client.with_token("x").execute(document, id=book_id(book))
        assert response.data == {"book": {"title": book.title, name.split()[0]: None}}
        assert response.codes == ["UNAUTHENTICATED"]
    for name in ("viewerCanReview", "viewerHasWishlisted"):
        document = f"query ($id: ID!) {{ book(by: {{id: $id}}) {{ title {name} }} genres {{ id }} }}"
        response = await client.with_token("x").execute(document, id=book_id(book))
        assert response.data == {"book": None, "genres": []}  # viewer fields are not nullable, so the book is null
        assert response.codes == ["UNAUTHENTICATED"]


async def test_each_user_sees_their_own_values(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, book: BookRow
) -> None:
    reader, other = await add_customer(client, shop), await add_customer(client, shop)
    for customer in (reader, other):
        await add_past_order(postgres, customer.user, (book, 1))
    assert await fetch_viewer_fields(reader, book) == NO_VIEWER_VALUES | {"viewerCanReview": True}
    await reader.execute(CREATE_REVIEW, id=book_id(book), stars=2)
    await reader.execute(ADD_TO_WISHLIST, id=book_id(book))
    await reader.execute(PREBOOK, id=book_id(book))
    expected_review = {"rating": 2, "viewerCanUpdate": True, "viewerCanDelete": True}
    assert await fetch_viewer_fields(reader, book) == {
        "viewerReview": {"rating": 2, "text": None},
        "viewerCanReview": False,
        "viewerHasWishlisted": True,
        "viewerPrebooking": {"status": "WAITING", "book": {"id": book_id(book)}},
        "reviews": {"nodes": [expected_review]},
    }
    expected_for_others = {"rating": 2, "viewerCanUpdate": False, "viewerCanDelete": False}
    assert await fetch_viewer_fields(other, book) == NO_VIEWER_VALUES | {
        "viewerCanReview": True,
        "reviews": {"nodes": [expected_for_others]},
    }
    admin = await add_customer(client, shop, role="ADMIN")
    assert (await fetch_viewer_fields(admin, book))["reviews"] == {
        "nodes": [expected_for_others | {"viewerCanDelete": True}]
    }
    assert (await fetch_viewer_fields(client, book))["reviews"] == {"nodes": [expected_for_others]}


async def test_deleted_and_cancelled_items_are_not_shown(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, book: BookRow
) -> None:
    reader = await add_customer(client, shop)
    order_id = await add_past_order(postgres, reader.user, (book, 1))
    review = (await reader.execute(CREATE_REVIEW, id=book_id(book), stars=2))["result"]["review"]["id"]
    prebooking_id = (await reader.execute(PREBOOK, id=book_id(book)))["result"]["prebooking"]["id"]
    await reader.execute(ADD_TO_WISHLIST, id=book_id(book))
    for mutation in (
        f'deleteReview(input: {{reviewId: "{review}"}})',
        f'cancelPrebooking(input: {{prebookingId: "{prebooking_id}"}})',
        f'removeFromWishlist(input: {{bookId: "{book_id(book)}"}})',
    ):
        assert not (await reader.execute(f"mutation {{ {mutation} {{ __typename }} }}")).errors
    assert await fetch_viewer_fields(reader, book) == NO_VIEWER_VALUES | {"viewerCanReview": True}
    await reader.cancel_order(to_global_id("Order", order_id))
    assert await fetch_viewer_fields(reader, book) == NO_VIEWER_VALUES


async def test_notified_prebooking_is_not_waiting(client: ApiClient, shop: Shop, book: BookRow) -> None:
    reader, admin = await add_customer(client, shop), await add_customer(client, shop, role="ADMIN")
    await reader.execute(PREBOOK, id=book_id(book))
    restock = "mutation ($id: ID!) { updateStock(input: {bookId: $id, change: {setTo: 1}}) { __typename } }"
    await admin.execute(restock, id=book_id(book))
    assert await fetch_viewer_fields(reader, book) == NO_VIEWER_VALUES


async def test_viewer_fields_in_a_list_of_books(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    books = [await add_book(shop, f"{number}", stock=0) for number in range(4)]
    reader = await add_customer(client, shop)
    await add_past_order(postgres, reader.user, (books[0], 1), (books[1], 1))
    await reader.execute(CREATE_REVIEW, id=book_id(books[0]), stars=4)
    await reader.execute(ADD_TO_WISHLIST, id=book_id(books[2]))
    await reader.execute(PREBOOK, id=book_id(books[3]))
    response = await reader.execute(
        """{ books(sort: TITLE_ASC) { nodes {
            viewerReview { rating } viewerCanReview viewerHasWishlisted viewerPrebooking { status } } } }"""
    )
    assert [tuple(node.values()) for node in response["books"]["nodes"]] == [
        ({"rating": 4}, False, False, None),
        (None, True, False, None),
        (None, False, True, None),
        (None, False, False, {"status": "WAITING"}),
    ]
