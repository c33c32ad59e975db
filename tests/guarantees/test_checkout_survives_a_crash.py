"""Checkout survives a crash: wherever the process is killed, the order ends as the payment did, and nothing is lost."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from domain.sweeping import sweep
from persistence.catalog import Book
from server.settings import Settings
from tests.client import Visitor
from tests.crashes import dies_before_settling, dies_before_the_charge, is_unanswered
from tests.customers import Customer, add_customer
from tests.factories import add_book
from tests.locks import BOOKS, PAYMENTS, holding, until_gone, until_waiting
from tests.memory import movements_of, payments, remembered, stock_is_explained, stock_of, time_passes
from tests.processes import Server, serving
from tests.providers import SlowPayments, paid_through

OFTEN = {"SWEEP_EVERY_SECONDS": "0.1"}


@pytest.fixture
async def server(shop: Shop, settings: Settings, tmp_path: Path) -> AsyncIterator[Server]:
    """The one that is going to be killed. Its sweeper stays out of the way."""
    async with serving(settings, tmp_path) as server:
        yield server


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", stock=5)


@pytest.fixture
async def customer(server: Server, shop: Shop, book: Book) -> Customer:
    """With two copies in the cart, in front of the server that is going to be killed."""
    return await add_customer(server.visitor, shop, (book, 2))


async def test_killed_while_reserving_nothing_has_happened(
    server: Server, customer: Customer, book: Book, visitor: Visitor, postgres: asyncpg.Connection, database_url: str
) -> None:
    before = await remembered(postgres)
    async with holding(database_url, BOOKS, [book.id]):
        purchase = asyncio.create_task(customer.buys("once"))
        reserving = await until_waiting(postgres, 1)
        await server.dies()
        assert await is_unanswered(purchase)
    await until_gone(postgres, reserving)

    assert await remembered(postgres) == before
    assert (await customer.at(visitor).buys("once"))["__typename"] == "OrderPlaced"


async def test_killed_before_the_charge_the_books_come_back(
    server: Server,
    customer: Customer,
    book: Book,
    shop: Shop,
    visitor: Visitor,
    postgres: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await dies_before_the_charge(customer, server, postgres, database_url)
    customer = customer.at(visitor)
    assert await _statuses(postgres) == ["PENDING"]
    assert (await customer.cart_lines(), await stock_of(postgres, book)) == ([], 3)
    assert await stock_is_explained(postgres, shop)

    # Too soon to tell a dead checkout from a slow one.
    monkeypatch.setattr(orders, "REPLAY_WAIT", 0)
    before = await remembered(postgres)
    assert await sweep(shop) == 0
    assert (await customer.tries_to_buy("once")).codes == ["SERVICE_UNAVAILABLE"]
    assert await remembered(postgres) == before

    await time_passes(postgres)
    await sweep(shop)
    again = await customer.buys("once")
    assert (again["__typename"], again["order"]["status"]) == ("PaymentFailed", "PAYMENT_FAILED")
    assert await customer.cart_lines() == [("Emma", 2)]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]
    assert await stock_is_explained(postgres, shop)
    assert await payments(postgres) == [("VOIDED", False)]

    assert (await customer.buys("anew"))["__typename"] == "OrderPlaced"
    assert await payments(postgres) == [("VOIDED", False), ("APPROVED", False)]


async def test_killed_after_an_approved_charge_the_order_stands(
    server: Server,
    customer: Customer,
    book: Book,
    shop: Shop,
    visitor: Visitor,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    await dies_before_settling(customer, server, postgres, database_url, "mock-approve")
    assert await _statuses(postgres) == ["PENDING"]

    await time_passes(postgres)
    await sweep(shop)
    customer = customer.at(visitor)
    again = await customer.buys("once")
    assert (again["__typename"], again["order"]["status"]) == ("OrderPlaced", "CONFIRMED")
    assert await _statuses(postgres) == ["CONFIRMED"]
    assert await payments(postgres) == [("APPROVED", False)]
    assert await customer.cart_lines() == []
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]
    assert await stock_is_explained(postgres, shop)


async def test_killed_after_a_declined_charge_the_books_come_back(
    server: Server,
    customer: Customer,
    book: Book,
    shop: Shop,
    visitor: Visitor,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    await dies_before_settling(customer, server, postgres, database_url, "mock-decline")
    assert await _statuses(postgres) == ["PENDING"]

    await time_passes(postgres)
    await sweep(shop)
    customer = customer.at(visitor)
    assert (await customer.buys("once", "mock-decline"))["__typename"] == "PaymentFailed"
    assert await payments(postgres) == [("DECLINED", False)]
    assert await customer.cart_lines() == [("Emma", 2)]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]
    assert await stock_is_explained(postgres, shop)


async def test_the_next_server_heals_it_unasked(
    server: Server,
    customer: Customer,
    settings: Settings,
    tmp_path: Path,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    await dies_before_settling(customer, server, postgres, database_url, "mock-approve")
    async with serving(settings, tmp_path, SWEEP_AFTER_SECONDS="1", **OFTEN) as next_server:
        async with asyncio.timeout(20):
            while await _statuses(postgres) == ["PENDING"]:
                await asyncio.sleep(0.05)
        assert (await customer.at(next_server.visitor).buys("once"))["order"]["status"] == "CONFIRMED"
    assert await payments(postgres) == [("APPROVED", False)]


async def test_killed_after_a_cancellation_the_money_still_goes_back_once(
    server: Server, customer: Customer, book: Book, shop: Shop, postgres: asyncpg.Connection
) -> None:
    placed = await customer.buys()
    assert (await customer.cancels(placed["order"]["id"]))["__typename"] == "OrderCancelled"
    await server.dies()
    assert await payments(postgres) == [("APPROVED", False)]

    assert await sweep(shop) == 1
    assert await payments(postgres) == [("APPROVED", True)]
    await time_passes(postgres)
    assert await sweep(shop) == 0
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("CANCELLATION", 2)]


async def test_killed_in_the_middle_of_a_refund_it_is_tried_again(
    customer: Customer, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection, database_url: str
) -> None:
    placed = await customer.buys()
    await customer.cancels(placed["order"]["id"])
    async with holding(database_url, PAYMENTS), serving(settings, tmp_path, **OFTEN) as refunding_server:
        refunding = await until_waiting(postgres, 1)
        await refunding_server.dies()
    await until_gone(postgres, refunding)
    assert await payments(postgres) == [("APPROVED", False)]

    await time_passes(postgres)
    assert await sweep(shop) == 1
    assert await payments(postgres) == [("APPROVED", True)]


# ── The provider answers when the sweeper has been there ──────────────────────────────────


async def test_a_charge_that_answers_after_the_sweeper_is_given_back(
    shop: Shop, settings: Settings, book: Book, postgres: asyncpg.Connection
) -> None:
    provider = SlowPayments()
    async with paid_through(provider, settings) as visitor:
        customer = await add_customer(visitor, shop, (book, 2))
        purchase = asyncio.create_task(customer.buys())
        await provider.asked.wait()
        await time_passes(postgres)
        await sweep(replace(shop, payments=provider))
        assert await _statuses(postgres) == ["PAYMENT_FAILED"]
        provider.refunded.clear()

        provider.go_on.set()
        assert (await purchase)["__typename"] == "PaymentFailed"
        await time_passes(postgres)
        await sweep(replace(shop, payments=provider))
        assert provider.refunded == provider.charged
        assert await customer.cart_lines() == [("Emma", 2)]
    assert await _statuses(postgres) == ["PAYMENT_FAILED"]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]


async def test_a_charge_that_never_reaches_the_shop_is_called_off(
    shop: Shop, settings: Settings, book: Book, postgres: asyncpg.Connection
) -> None:
    provider = SlowPayments()
    async with paid_through(provider, settings) as visitor:
        customer = await add_customer(visitor, shop, (book, 2))
        purchase = asyncio.create_task(customer.buys())
        await provider.asked.wait()
        await time_passes(postgres)
        await sweep(replace(shop, payments=provider))
        assert provider.refunded == provider.charged
        provider.go_on.set()
        await purchase


async def test_an_order_that_is_confirmed_under_the_sweepers_eyes_keeps_its_money(
    shop: Shop, settings: Settings, book: Book, postgres: asyncpg.Connection
) -> None:
    provider = UnsurePayments()
    async with paid_through(provider, settings) as visitor:
        customer = await add_customer(visitor, shop, (book, 2))
        purchase = asyncio.create_task(customer.buys())
        await provider.asked.wait()
        await time_passes(postgres)
        sweeping = asyncio.create_task(sweep(replace(shop, payments=provider)))
        await provider.looked.wait()
        provider.go_on.set()
        assert (await purchase)["__typename"] == "OrderPlaced"
        provider.tell.set()
        await sweeping
        await time_passes(postgres)
        await sweep(replace(shop, payments=provider))

    assert await _statuses(postgres) == ["CONFIRMED"]
    assert provider.refunded == []


@dataclass(slots=True)
class UnsurePayments(SlowPayments):
    """Has looked for the charge before it came in, and says so only afterwards."""

    looked: asyncio.Event = field(default_factory=asyncio.Event)
    tell: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, key: str) -> None:
        self.looked.set()
        await self.tell.wait()


async def _statuses(postgres: asyncpg.Connection) -> list[str]:
    return [record["status"] for record in await postgres.fetch("SELECT status FROM orders")]
