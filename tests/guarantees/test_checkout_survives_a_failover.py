"""The primary dies in the middle of a checkout and its standby takes its place: whoever tries again gets the same order."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from domain.sweeping import sweep
from persistence import browsing
from persistence.invariants import violated
from server.settings import Settings
from tests.client import Visitor
from tests.clusters import Pair, pair
from tests.customers import Customer, add_customer
from tests.factories import add_book
from tests.faulty import GENRES, shop_with
from tests.locks import ORDERS, PAYMENTS, holding, until_waiting
from tests.memory import movements_of, payments, time_passes

LETTERS = "SELECT count(*) FROM letters WHERE kind = 'ORDER_CONFIRMED'"


@pytest.fixture
async def servers(tmp_path: Path) -> AsyncIterator[Pair]:
    """Nothing is committed here that the standby has not got."""
    async with pair(tmp_path) as servers:
        await servers.waits_for_the_standby()
        yield servers


@pytest.fixture
async def visitor(servers: Pair, settings: Settings, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Visitor]:
    monkeypatch.setattr(orders, "REPLAY_WAIT", 0)
    monkeypatch.setattr(browsing, "AT_THE_PRIMARY", 0)
    addresses = {
        "database_url": servers.address("read-write"),
        "database_read_url": servers.address("prefer-standby"),
    }
    async with shop_with(settings, **addresses) as visitor:
        assert (await visitor.ask(GENRES))["genres"] == []
        yield visitor


async def fail_over(servers: Pair, visitor: Visitor) -> None:
    """Visitors go on reading, before the standby is promoted and after it."""
    await servers.primary.dies()
    assert (await visitor.ask(GENRES))["genres"] == []
    await servers.standby.is_promoted()
    assert (await visitor.ask(GENRES))["genres"] == []


async def tries_until_told(customer: Customer, shop: Shop, postgres: asyncpg.Connection) -> tuple[str, str]:
    """How it ended, and the order's number; a client that hears nothing asks again with the same key."""
    for _ in range(20):
        reply = await customer.tries_to_buy("once")
        if not reply.errors:
            told = reply["checkout"]
            return told["__typename"], told["order"]["number"]
        assert reply.codes == ["SERVICE_UNAVAILABLE"]
        await time_passes(postgres)
        await sweep(shop)
    raise AssertionError("It never ended.")


async def test_before_the_charge_the_books_go_back(visitor: Visitor, servers: Pair) -> None:
    shop: Shop = visitor._app.state.shop  # type: ignore[union-attr]  # an application of our own
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    before = await asyncpg.connect(servers.primary.url)
    async with AsyncExitStack() as provider:
        await provider.enter_async_context(holding(servers.primary.url, PAYMENTS))
        buying = asyncio.create_task(customer.tries_to_buy("once"))
        await until_waiting(before, 1)
        [number] = [row["number"] for row in await before.fetch("SELECT number FROM orders")]
        await fail_over(servers, visitor)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await provider.aclose()
    assert (await buying).codes == ["SERVICE_UNAVAILABLE"]

    postgres = await asyncpg.connect(servers.standby.url)
    assert await tries_until_told(customer, shop, postgres) == ("PaymentFailed", number)
    assert await customer.cart_lines() == [("Emma", 2)]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]
    assert (await customer.buys("twice"))["__typename"] == "OrderPlaced"
    assert await violated(postgres) == []
    await postgres.close()


async def test_after_the_charge_the_order_stands(visitor: Visitor, servers: Pair) -> None:
    shop: Shop = visitor._app.state.shop  # type: ignore[union-attr]  # an application of our own
    book = await add_book(shop, "Emma", stock=5)
    customer = await add_customer(visitor, shop, (book, 2))
    before = await asyncpg.connect(servers.primary.url)
    async with AsyncExitStack() as settling, AsyncExitStack() as provider:
        await provider.enter_async_context(holding(servers.primary.url, PAYMENTS))
        buying = asyncio.create_task(customer.tries_to_buy("once"))
        await until_waiting(before, 1)
        await settling.enter_async_context(holding(servers.primary.url, ORDERS, customer.member.id))
        await provider.aclose()
        while await payments(before) != [("APPROVED", False)]:
            await asyncio.sleep(0.01)
        await until_waiting(before, 1)
        [number] = [row["number"] for row in await before.fetch("SELECT number FROM orders")]
        await fail_over(servers, visitor)
        with pytest.raises((asyncpg.PostgresError, asyncpg.InterfaceError)):
            await settling.aclose()
    told = await buying  # it tries again by itself, and may have been lucky
    assert told.codes == ["SERVICE_UNAVAILABLE"] or told["checkout"]["order"]["number"] == number

    postgres = await asyncpg.connect(servers.standby.url)
    assert await tries_until_told(customer, shop, postgres) == ("OrderPlaced", number)
    assert [order["number"] for order in await customer.orders()] == [number]
    assert await payments(postgres) == [("APPROVED", False)]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]
    assert await postgres.fetchval(LETTERS) == 1
    assert await violated(postgres) == []
    await postgres.close()
