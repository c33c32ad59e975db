"""Too much at once is refused at once, and what is left of the shop goes on."""

import asyncio

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from server.settings import Settings
from tests.customers import add_customer
from tests.factories import add_administrator, add_book, add_genre, book_id
from tests.faulty import ALL_GENRES, GENRES, RESTOCK, UNAVAILABLE, ask, shop_with, status_of
from tests.locks import BOOKS, holding, until_waiting
from tests.memory import stock_is_explained, stock_of

pytestmark = pytest.mark.usefixtures("sound")


async def test_two_hundred_requests_over_an_exhausted_pool(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    await add_genre(shop, "Fantasy")
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    async with shop_with(settings, pool_size=1, pool_max_overflow=0, pool_timeout_seconds=0.2) as visitor:
        async with holding(database_url, ALL_GENRES):
            first = asyncio.create_task(ask(visitor, GENRES))
            await until_waiting(postgres, 1)
            refused = await asyncio.gather(*(ask(visitor, GENRES) for _ in range(200)))
            assert await status_of(visitor, "/health") == 200
            restocked = await visitor.signed_in(token).ask(
                "mutation ($id: ID!) { updateStock(input: {bookId: $id, change: {adjustBy: 1}}) { __typename } }",
                id=book_id(book),
            )
            assert not first.done()
        assert {response.status_code for response in refused} == {503}
        assert {response.headers["retry-after"] for response in refused} == {"2"}
        assert all(
            [error["extensions"] for error in response.json()["errors"]] == [UNAVAILABLE] for response in refused
        )
        assert (await first).status_code == 200
        assert (await ask(visitor, GENRES)).status_code == 200
    assert restocked.codes == ["SERVICE_UNAVAILABLE"]  # who asks is looked up on the same pool
    assert await stock_of(postgres, book) == 1


async def test_a_book_that_all_want_leaves_connections_for_the_rest(
    settings: Settings, shop: Shop, postgres: asyncpg.Connection, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(orders, "TILL_WAIT", 0.2)
    hot, cold = await add_book(shop, stock=10), await add_book(shop, stock=10)
    token = (await add_administrator(shop)).token
    async with shop_with(settings, pool_size=4, pool_max_overflow=0) as visitor:
        buyers = [await add_customer(visitor, shop, (hot, 1)) for _ in range(12)]
        async with holding(database_url, BOOKS, [hot.id]):
            buying = [asyncio.create_task(buyer.tries_to_buy()) for buyer in buyers]
            await until_waiting(postgres, 2)
            refused, _ = await asyncio.wait(buying, return_when=asyncio.FIRST_COMPLETED)
            assert (await visitor.signed_in(token).ask(RESTOCK, id=book_id(cold)))["updateStock"]
            assert len(await until_waiting(postgres, 2)) == 2
        replies = await asyncio.gather(*buying)
        assert {code for task in refused for code in task.result().codes} == {"SERVICE_UNAVAILABLE"}
        assert all(reply.codes in ([], ["SERVICE_UNAVAILABLE"]) for reply in replies)
        sold = sum(not reply.errors for reply in replies)
        assert sold >= 2
        assert await stock_of(postgres, hot) == 10 - sold

        refused_buyer = next(buyer for buyer, reply in zip(buyers, replies, strict=True) if reply.errors)
        assert (await refused_buyer.buys())["__typename"] == "OrderPlaced"  # with the same key
    assert await stock_is_explained(postgres, shop)
