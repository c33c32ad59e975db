"""When the database fails over during a checkout, a retry finds the same order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from domain.sweeper import sweep
from persistence.invariants import find_violations
from persistence.postgres import replicas
from server.settings import Settings
from tests.support.database.db_snapshots import age_orders, list_payments, list_stock_movements
from tests.support.database.locks import LOCK_ORDERS, LOCK_PAYMENTS, hold_lock, wait_for_blocked
from tests.support.database.replication import ReplicatedPair, start_replicated_pair
from tests.support.http.apps import get_shop, running_client
from tests.support.http.client import ApiClient
from tests.support.http.probes import GENRES_QUERY
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book

COUNT_CONFIRMATIONS = "SELECT count(*) FROM letters WHERE kind = 'ORDER_CONFIRMED'"


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[ReplicatedPair]:
    """Start a pair in which no commit succeeds before the replica has received it."""
    async with start_replicated_pair(tmp_path) as servers:
        await servers.enable_synchronous_replication()
        yield servers


@pytest.fixture
async def client(
    servers: ReplicatedPair, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[ApiClient]:
    monkeypatch.setattr(orders, "REPLAY_TIMEOUT", 0)
    monkeypatch.setattr(replicas, "PRIMARY_CONNECTION_TTL", 0)
    urls = {
        "database_url": servers.multi_host_url("read-write"),
        "database_read_url": servers.multi_host_url("prefer-standby"),
    }
    async with running_client(settings, **urls) as client:
        assert (await client.execute(GENRES_QUERY))["genres"] == []
        yield client


async def fail_over(servers: ReplicatedPair, client: ApiClient) -> None:
    """Promote the replica; anonymous reads succeed before and after."""
    await servers.primary.crash()
    assert (await client.execute(GENRES_QUERY))["genres"] == []
    await servers.replica.promote()
    assert (await client.execute(GENRES_QUERY))["genres"] == []


async def retry_checkout(customer: Customer, shop: Shop, postgres: asyncpg.Connection) -> tuple[str, str]:
    """Retry with the same key until there is a result, and return its type and the order's number."""
    for _ in range(20):
        response = await customer.try_checkout("once")
        if not response.errors:
            result = response["checkout"]
            return result["__typename"], result["order"]["number"]
        assert response.codes == ["SERVICE_UNAVAILABLE"]
        await age_orders(postgres)
        await sweep(shop)
    raise AssertionError("The checkout has no result after 20 retries.")


async def test_failover_before_charge_releases_stock(client: ApiClient, servers: ReplicatedPair) -> None:
    shop = get_shop(client)
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(client, shop, (book, 2))
    primary_connection = await asyncpg.connect(servers.primary.url)
    async with AsyncExitStack() as payment_lock:
        await payment_lock.enter_async_context(hold_lock(servers.primary.url, LOCK_PAYMENTS))
        checkout = asyncio.create_task(customer.try_checkout("once"))
        await wait_for_blocked(primary_connection, 1)
        [number] = [row["number"] for row in await primary_connection.fetch("SELECT number FROM orders")]
        await fail_over(servers, client)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await payment_lock.aclose()
    assert (await checkout).codes == ["SERVICE_UNAVAILABLE"]

    postgres = await asyncpg.connect(servers.replica.url)
    assert await retry_checkout(customer, shop, postgres) == ("PaymentFailed", number)
    assert await customer.get_cart_lines() == [("Emma", 2)]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]
    assert (await customer.checkout("twice"))["__typename"] == "OrderPlaced"
    assert await find_violations(postgres) == []
    await postgres.close()


async def test_failover_after_charge_confirms_the_order(client: ApiClient, servers: ReplicatedPair) -> None:
    shop = get_shop(client)
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(client, shop, (book, 2))
    primary_connection = await asyncpg.connect(servers.primary.url)
    async with AsyncExitStack() as order_lock, AsyncExitStack() as payment_lock:
        await payment_lock.enter_async_context(hold_lock(servers.primary.url, LOCK_PAYMENTS))
        checkout = asyncio.create_task(customer.try_checkout("once"))
        await wait_for_blocked(primary_connection, 1)
        await order_lock.enter_async_context(hold_lock(servers.primary.url, LOCK_ORDERS, customer.user.id))
        await payment_lock.aclose()
        while await list_payments(primary_connection) != [("APPROVED", False)]:
            await asyncio.sleep(0.01)
        await wait_for_blocked(primary_connection, 1)
        [number] = [row["number"] for row in await primary_connection.fetch("SELECT number FROM orders")]
        await fail_over(servers, client)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await order_lock.aclose()
    response = await checkout  # the server retries, and may have succeeded
    assert response.codes == ["SERVICE_UNAVAILABLE"] or response["checkout"]["order"]["number"] == number

    postgres = await asyncpg.connect(servers.replica.url)
    assert await retry_checkout(customer, shop, postgres) == ("OrderPlaced", number)
    assert [order["number"] for order in await customer.list_orders()] == [number]
    assert await list_payments(postgres) == [("APPROVED", False)]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]
    assert await postgres.fetchval(COUNT_CONFIRMATIONS) == 1
    assert await find_violations(postgres) == []
    await postgres.close()
