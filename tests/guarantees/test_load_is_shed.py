"""Under overload the server rejects excess requests immediately and keeps serving the others."""

import asyncio

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from server.settings import Settings
from tests.support.database.db_snapshots import get_stock, is_stock_consistent
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.http.apps import running_client
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, LOCK_GENRES, UNAVAILABLE, get_status, post_graphql
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_admin, add_book, add_genre, book_id

pytestmark = pytest.mark.usefixtures("check_invariants")


async def test_200_requests_with_an_exhausted_pool(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    await add_genre(shop, "Fantasy")
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    async with running_client(settings, pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.2) as client:
        async with hold_lock(database_url, LOCK_GENRES):
            first_request = asyncio.create_task(post_graphql(client, GENRES_QUERY))
            await wait_for_blocked(postgres, 1)
            rejected_responses = await asyncio.gather(*(post_graphql(client, GENRES_QUERY) for _ in range(200)))
            assert await get_status(client, "/health") == 200
            restock_response = await client.with_token(token).execute(
                "mutation ($id: ID!) { updateStock(input: {bookId: $id, change: {adjustBy: 1}}) { __typename } }",
                id=book_id(book),
            )
            assert not first_request.done()
        assert {response.status_code for response in rejected_responses} == {503}
        assert {response.headers["retry-after"] for response in rejected_responses} == {"2"}
        assert all(
            [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE]
            for response in rejected_responses
        )
        assert (await first_request).status_code == 200
        assert (await post_graphql(client, GENRES_QUERY)).status_code == 200
    assert restock_response.codes == ["SERVICE_UNAVAILABLE"]  # the viewer is read with the same pool
    assert await get_stock(postgres, book) == 1


async def test_contended_book_leaves_connections_for_others(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "CHECKOUT_SLOT_TIMEOUT", 0.2)
    contended_book, other_book = await add_book(shop, stock=10), await add_book(shop, stock=10)
    token = (await add_admin(shop)).token
    async with running_client(settings, pool_size=4, pool_max_overflow=0) as client:
        buyers = [await add_customer(client, shop, (contended_book, 1)) for _ in range(12)]
        async with hold_lock(database_url, LOCK_BOOKS, [contended_book.id]):
            checkouts = [asyncio.create_task(buyer.try_checkout()) for buyer in buyers]
            await wait_for_blocked(postgres, 2)
            first_finished, _ = await asyncio.wait(checkouts, return_when=asyncio.FIRST_COMPLETED)
            assert (await client.with_token(token).execute(INCREMENT_STOCK, id=book_id(other_book)))["updateStock"]
            assert len(await wait_for_blocked(postgres, 2)) == 2
        responses = await asyncio.gather(*checkouts)
        assert {code for task in first_finished for code in task.result().codes} == {"SERVICE_UNAVAILABLE"}
        assert all(response.codes in ([], ["SERVICE_UNAVAILABLE"]) for response in responses)
        sold_count = sum(not response.errors for response in responses)
        assert sold_count >= 2
        assert await get_stock(postgres, contended_book) == 10 - sold_count

        rejected_buyer = next(buyer for buyer, response in zip(buyers, responses, strict=True) if response.errors)
        assert (await rejected_buyer.checkout())["__typename"] == "OrderPlaced"  # with the same key
    assert await is_stock_consistent(postgres)
