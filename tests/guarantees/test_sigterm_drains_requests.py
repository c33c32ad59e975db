"""On SIGTERM the server drains for `DRAIN_SECONDS`, closes its socket, and completes requests in flight."""

import asyncio
import signal
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import httpx2
import pytest

from domain.shop import Shop
from server.http.health import DRAIN_TIMEOUT
from server.settings import Settings
from tests.support.database.db_snapshots import list_payments, list_stock_movements
from tests.support.database.locks import LOCK_BOOKS, LOCK_PAYMENTS, hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, LOCK_GENRES, get_status, post_graphql
from tests.support.processes.servers import Server, start_server, wait_until_refusing
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_admin, add_book, book_id
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("check_invariants")

LIST_CONNECTED_PIDS = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid = ANY($1::int[])"
CALLER_COUNT = 20


async def query_repeatedly(server: Server, outcomes: Counter[int | str]) -> None:
    """Send requests until the server accepts no more connections, and count their outcomes."""
    async with server.client.http() as http:
        while True:
            try:
                response = await http.post("/graphql", json={"query": "{ __typename }"})
            except httpx2.TransportError:
                outcomes["refused"] += 1
                return
            outcomes[response.status_code] += 1


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_sigterm_under_load_completes_requests(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, database_url: str, tmp_path: Path, workers: str
) -> None:
    sold_book, restocked_book = await add_book(shop, stock=3), await add_book(shop, stock=1)
    token = (await add_admin(shop)).token
    async with start_server(settings, tmp_path, "--workers", workers, RATE_LIMIT_PER_SECOND="0") as server:
        customer = await add_customer(server.client, shop, (sold_book, 1))
        outcomes: Counter[int | str] = Counter()
        callers = [asyncio.create_task(query_repeatedly(server, outcomes)) for _ in range(CALLER_COUNT)]
        async with AsyncExitStack() as locks:
            await locks.enter_async_context(hold_lock(database_url, LOCK_BOOKS, [restocked_book.id]))
            await locks.enter_async_context(hold_lock(database_url, LOCK_GENRES))
            await locks.enter_async_context(hold_lock(database_url, LOCK_PAYMENTS))
            requests = [asyncio.create_task(post_graphql(server.client, GENRES_QUERY)) for _ in range(5)]
            requests.append(
                asyncio.create_task(
                    post_graphql(server.client.with_token(token), INCREMENT_STOCK, id=book_id(restocked_book))
                )
            )
            checkout = asyncio.create_task(customer.checkout())
            blocked_pids = await wait_for_blocked(postgres, 7)
            server.process.send_signal(signal.SIGTERM)
            await wait_until_refusing(server.url)
            assert not any(task.done() for task in (*requests, checkout))
        responses = await asyncio.gather(*requests)
        assert [response.status_code for response in responses] == [200] * 6
        assert not any("errors" in response.json() for response in responses)
        assert (await checkout)["__typename"] == "OrderPlaced"
        async with asyncio.timeout(DRAIN_TIMEOUT):
            assert await server.process.wait() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
        await asyncio.gather(*callers)
        await wait_until_disconnected(postgres, blocked_pids)
    assert set(outcomes) == {200, "refused"}
    assert outcomes["refused"] == CALLER_COUNT
    assert await list_stock_movements(postgres, restocked_book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    assert await list_payments(postgres) == [("APPROVED", False)]


async def test_drain_period_is_unready_but_still_accepts(shop: Shop, settings: Settings, tmp_path: Path) -> None:
    book = await add_book(shop, stock=1)
    async with start_server(settings, tmp_path, DRAIN_SECONDS="60") as server:
        customer = await add_customer(server.client, shop, (book, 1))
        server.process.send_signal(signal.SIGTERM)

        async def is_unready() -> bool:
            return await get_status(server.client, "/ready") == 503

        await wait_until(is_unready)
        assert (await customer.checkout())["__typename"] == "OrderPlaced"
        server.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(DRAIN_TIMEOUT):
            assert await server.process.wait() in (0, -signal.SIGTERM, 128 + signal.SIGTERM)
