"""Under overload the server rejects excess requests at once and keeps serving the others."""

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
            first = asyncio.create_task(post_graphql(client, GENRES_QUERY))
            await wait_for_blocked(postgres, 1)
            rejected = await asyncio.gather(*(post_graphql(client, GENRES_QUERY) for _ in range(200)))
            assert await get_status(client, "/health") == 200
            restocked = await client.with_token(token).execute(
                "mutation ($id: ID!) { updateStock(input: {bookId: $id, change: {adjustBy: 1}}) { __typename } }",
                id=book_id(book),
            )
            assert not first.done()
        assert {response.status_code for response in rejected} == {503}
        assert {response.headers["retry-after"] for response in rejected} == {"2"}
        assert all(
            [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE] for response in rejected
        )
        assert (await first).status_code == 200
        assert (await post_graphql(client, GENRES_QUERY)).status_code == 200
    assert restocked.codes == ["SERVICE_UNAVAILABLE"]  # the viewer is read with the same pool
    assert await get_stock(postgres, book) == 1


async def test_contended_book_leaves_connections_for_others(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "CHECKOUT_SLOT_TIMEOUT", 0.2)
    hot, cold = await add_book(shop, stock=10), await add_book(shop, stock=10)
    token = (await add_admin(shop)).token
    async with running_client(settings, pool_size=4, pool_max_overflow=0) as client:
        buyers = [await add_customer(client, shop, (hot, 1)) for _ in range(12)]
        async with hold_lock(database_url, LOCK_BOOKS, [hot.id]):
            buying = [asyncio.create_task(buyer.try_checkout()) for buyer in buyers]
            await wait_for_blocked(postgres, 2)
            rejected, _ = await asyncio.wait(buying, return_when=asyncio.FIRST_COMPLETED)
            assert (await client.with_token(token).execute(INCREMENT_STOCK, id=book_id(cold)))["updateStock"]
            assert len(await wait_for_blocked(postgres, 2)) == 2
        replies = await asyncio.gather(*buying)
        assert {code for task in rejected for code in task.result().codes} == {"SERVICE_UNAVAILABLE"}
        assert all(response.codes in ([], ["SERVICE_UNAVAILABLE"]) for response in replies)
        sold = sum(not reply.errors for reply in replies)
        assert sold >= 2
        assert await get_stock(postgres, hot) == 10 - sold

        rejected_buyer = next(buyer for buyer, reply in zip(buyers, replies, strict=True) if reply.errors)
        assert (await rejected_buyer.checkout())["__typename"] == "OrderPlaced"  # with the same key
    assert await is_stock_consistent(postgres)
