"""SIGTERM: after its notice nobody new is let in, whoever is inside is served, and then the process ends."""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import httpx2
import pytest

from domain.shop import Shop
from server.health import DRAIN_TIMEOUT
from server.settings import Settings
from tests.customers import add_customer
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import ALL_GENRES, GENRES, RESTOCK, ask
from tests.locks import BOOKS, PAYMENTS, holding, until_gone, until_waiting
from tests.memory import movements_of, payments
from tests.processes import Server, serving, until_nobody_is_let_in

pytestmark = pytest.mark.usefixtures("sound")

OURS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid = ANY($1::int[])"
CALLERS = 20


async def keeps_asking(server: Server, told: Counter[int | str]) -> None:
    """Over one connection after another until no more is made."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
        while True:
            try:
                response = await http.post("/graphql", json={"query": "{ __typename }"})
            except httpx2.TransportError:
                told["not let in"] += 1
                return
            told[response.status_code] += 1


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_stopped_under_load(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, database_url: str, tmp_path: Path, workers: str
) -> None:
    sold, stocked = await add_book(shop, stock=3), await add_book(shop, stock=1)
    token = (await add_administrator(shop)).token
    async with serving(settings, tmp_path, "--workers", workers, RATE_LIMIT_PER_SECOND="0") as server:
        customer = await add_customer(server.visitor, shop, (sold, 1))
        told: Counter[int | str] = Counter()
        crowd = [asyncio.create_task(keeps_asking(server, told)) for _ in range(CALLERS)]
        async with AsyncExitStack() as locks:
            await locks.enter_async_context(holding(database_url, BOOKS, [stocked.id]))
            await locks.enter_async_context(holding(database_url, ALL_GENRES))
            await locks.enter_async_context(holding(database_url, PAYMENTS))
            begun = [asyncio.create_task(ask(server.visitor, GENRES)) for _ in range(5)]
            begun.append(asyncio.create_task(ask(server.visitor.signed_in(token), RESTOCK, id=book_id(stocked))))
            purchase = asyncio.create_task(customer.buys())
            inside = await until_waiting(postgres, 7)
            server.process.send_signal(signal.SIGTERM)
            await until_nobody_is_let_in(server.url)
            assert not any(task.done() for task in (*begun, purchase))
        answers = await asyncio.gather(*begun)
        assert [answer.status_code for answer in answers] == [200] * 6
        assert not any("errors" in answer.json() for answer in answers)
        assert (await purchase)["__typename"] == "OrderPlaced"
        async with asyncio.timeout(DRAIN_TIMEOUT):
            assert await server.process.wait() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        await asyncio.gather(*crowd)
        await until_gone(postgres, inside)
    assert set(told) == {200, "not let in"}
    assert told["not let in"] == CALLERS
    assert await movements_of(postgres, stocked) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    assert await payments(postgres) == [("APPROVED", False)]


async def test_with_a_notice_it_is_not_welcome_and_lets_in_all_the_same_until_it_is_told_again(
    shop: Shop, settings: Settings, tmp_path: Path
) -> None:
    book = await add_book(shop, stock=1)
    async with serving(settings, tmp_path, DRAIN_SECONDS="60") as server:
        customer = await add_customer(server.visitor, shop, (book, 1))
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            while await _status(server) != 503:
                await asyncio.sleep(0.02)
        assert (await customer.buys())["__typename"] == "OrderPlaced"
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DRAIN_TIMEOUT):
            assert await server.process.wait() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)


async def _status(server: Server) -> int:
    """Over a connection of its own, as a balancer asks."""
    async with httpx2.AsyncClient(base_url=server.url, timeout=30) as http:
        return (await http.get("/ready")).status_code
