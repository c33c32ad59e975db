"""Only customers with a confirmed or shipped order of a book can review it."""

import asyncpg
import pytest

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id
from tests.support.shop.reviews import add_buyer, list_visible_reviews, submit_review

CAN_REVIEW = "query ($id: ID!) { book(by: {id: $id}) { viewerCanReview viewerReview { id } } }"
VERIFIED = "query ($id: ID!) { review(id: $id) { isVerifiedPurchase } }"


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", stock=20)


async def _assert_purchase_required(buyer: Customer, book: BookRow, postgres: asyncpg.Connection) -> None:
    assert (await buyer.execute(CAN_REVIEW, id=book_id(book)))["book"]["viewerCanReview"] is False
    result = await submit_review(buyer, book, 5)
    assert (result["__typename"], result["code"]) == ("PurchaseRequired", "REVIEW_PURCHASE_REQUIRED")
    assert result["book"] == {"id": book_id(book)}
    assert await list_visible_reviews(postgres) == []
    assert await postgres.fetchval("SELECT sum(count) FROM book_ratings") == 0


async def test_anonymous_callers_cannot_review(client: ApiClient, book: BookRow, postgres: asyncpg.Connection) -> None:
    viewer_fields = (await client.execute(CAN_REVIEW, id=book_id(book)))["book"]
    assert viewer_fields == {"viewerCanReview": False, "viewerReview": None}


async def test_user_without_purchase_cannot_review(
    client: ApiClient, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    other_book = await add_book(shop)
    await _assert_purchase_required(await add_buyer(client, shop), book, postgres)
    await _assert_purchase_required(await add_buyer(client, shop, other_book), book, postgres)
    await _assert_purchase_required(await add_customer(client, shop, (book, 1)), book, postgres)
    await add_buyer(client, shop, book)
    await _assert_purchase_required(await add_buyer(client, shop, other_book), book, postgres)


@pytest.mark.parametrize("status", ["PENDING", "PAYMENT_FAILED", "CANCELLED"])
async def test_ineffective_order_does_not_allow_review(
    client: ApiClient, shop: Shop, book: BookRow, postgres: asyncpg.Connection, status: str
) -> None:
    buyer = await add_buyer(client, shop, book)
    cancelled_at = "now()" if status == "CANCELLED" else "NULL"
    await postgres.execute(f"UPDATE orders SET status = '{status}', cancelled_at = {cancelled_at}")
    await _assert_purchase_required(buyer, book, postgres)


@pytest.mark.parametrize("shipped", [False, True])
async def test_confirmed_or_shipped_order_allows_review(
    client: ApiClient, shop: Shop, book: BookRow, shipped: bool
) -> None:
    buyer = await add_buyer(client, shop, book)
    if shipped:
        [order] = await buyer.list_orders()
        await (await add_customer(client, shop, role="ADMIN")).ship_order(order["id"])
    assert (await buyer.execute(CAN_REVIEW, id=book_id(book)))["book"]["viewerCanReview"] is True
    result = await submit_review(buyer, book, 5, "Read it twice.")
    assert result["__typename"] == "ReviewSaved"
    assert result["review"]["isVerifiedPurchase"] is True
    viewer_fields = (await buyer.execute(CAN_REVIEW, id=book_id(book)))["book"]
    assert viewer_fields == {"viewerCanReview": False, "viewerReview": {"id": result["review"]["id"]}}


async def test_cancelled_order_removes_verified_mark_only(
    client: ApiClient, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    buyer = await add_buyer(client, shop, book)
    review = (await submit_review(buyer, book))["review"]
    [order] = await buyer.list_orders()
    assert (await buyer.cancel_order(order["id"]))["__typename"] == "OrderCancelled"
    assert (await client.execute(VERIFIED, id=review["id"]))["review"] == {"isVerifiedPurchase": False}
    assert (await submit_review(buyer, book))["__typename"] == "DuplicateReview"
    assert await list_visible_reviews(postgres) == [(review["id"], 4)]


async def test_deleted_book_cannot_be_reviewed(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    deleted_book = await add_book(shop)
    buyer = await add_buyer(client, shop, deleted_book)
    await submit_review(buyer, deleted_book)
    await postgres.execute("DELETE FROM books WHERE id = $1", deleted_book.id)
    assert await list_visible_reviews(postgres) == []
    assert (await submit_review(buyer, deleted_book))["__typename"] == "NotFound"
