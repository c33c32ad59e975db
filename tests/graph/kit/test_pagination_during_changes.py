"""Pagination of a list that changes during a walk."""

import asyncpg
import pytest

from domain.shop import Shop
from tests.support.graphql.connections import CONNECTIONS, get_ids, populate_connections
from tests.support.http.client import ApiClient
from tests.support.shop.factories import add_admin, add_book


@pytest.fixture
async def customer(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> ApiClient:
    """Return the client of a customer with orders, in a shop with items in every list."""
    return (await populate_connections(client, shop, postgres)).client


@pytest.mark.parametrize("sort", ["NEWEST", "TITLE_ASC", "PRICE_DESC", "PUBLISHED_DESC"])
async def test_book_added_between_pages_causes_no_repeat_or_skip(customer: ApiClient, shop: Shop, sort: str) -> None:
    books = CONNECTIONS[f"Query.books by {sort}"]
    before = get_ids(await books.fetch_page(customer, first=100))
    seen_ids: list[str] = []
    cursor = None
    while cursor is not None or not seen_ids:
        page = await books.fetch_page(customer, first=7, after=cursor)
        seen_ids += get_ids(page)
        await add_book(shop, "\u00c4gypten", price="12.50")
        await add_book(shop, "Zebra", price="0.01")
        cursor = page["pageInfo"]["endCursor"] if page["pageInfo"]["hasNextPage"] and len(seen_ids) < 200 else None
    assert len(set(seen_ids)) == len(seen_ids)
    assert [id_ for id_ in seen_ids if id_ in set(before)] == before


async def test_cursor_of_a_deleted_book_still_works(customer: ApiClient, client: ApiClient, shop: Shop) -> None:
    admin = client.with_token((await add_admin(shop)).token)
    for sort in ("PUBLISHED_ASC", "TITLE_DESC"):
        books = CONNECTIONS[f"Query.books by {sort}"]
        all_ids = get_ids(await books.fetch_page(customer, first=100))
        cursor = (await books.fetch_page(customer, first=5))["pageInfo"]["endCursor"]
        response = await admin.execute(
            "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }", id=all_ids[4]
        )
        assert response["deleteBook"]["__typename"] == "BookDeleted"
        assert get_ids(await books.fetch_page(customer, first=100, after=cursor)) == all_ids[5:]
        assert get_ids(await books.fetch_page(customer, last=100, before=cursor)) == all_ids[:4]
