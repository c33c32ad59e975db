"""A server killed at any point of a checkout loses no order, stock or payment."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import asyncpg
import pytest

from domain import orders
from domain.shop import Shop
from domain.sweeper import sweep
from persistence.catalog import BookRow
from server.settings import Settings
from tests.support.database.db_snapshots import (
    age_orders,
    get_stock,
    is_stock_consistent,
    list_payments,
    list_stock_movements,
    take_snapshot,
)
from tests.support.database.locks import LOCK_BOOKS, LOCK_PAYMENTS, hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.processes.servers import Server, start_server
from tests.support.shop.checkout_crashes import has_no_response, kill_before_charge, kill_before_finalize
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book
from tests.support.shop.payment_providers import SlowPayments
from tests.support.waiting import wait_until

FREQUENT_SWEEPS = {"SWEEP_EVERY_SECONDS": "0.1"}


@pytest.fixture
async def server(shop: Shop, settings: Settings, tmp_path: Path) -> AsyncIterator[Server]:
    """Start the server that tests kill; its sweeper does not run."""
    async with start_server(settings, tmp_path) as server:
        yield server


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", stock=5)


@pytest.fixture
async def customer(server: Server, shop: Shop, book: BookRow) -> Customer:
    """Return a customer of that server with two copies in the cart."""
    return await add_customer(server.client, shop, (book, 2))


async def test_killed_while_reserving_changes_nothing(
    server: Server,
    customer: Customer,
    book: BookRow,
    client: ApiClient,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    before = await take_snapshot(postgres)
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        checkout = asyncio.create_task(customer.checkout("once"))
        blocked_pids = await wait_for_blocked(postgres, 1)
        await server.kill()
        assert await has_no_response(checkout)
    await wait_until_disconnected(postgres, blocked_pids)

    assert await take_snapshot(postgres) == before
    assert (await customer.with_client(client).checkout("once"))["__typename"] == "OrderPlaced"


async def test_killed_before_charge_releases_stock(
    server: Server,
    customer: Customer,
    book: BookRow,
    shop: Shop,
    client: ApiClient,
    postgres: asyncpg.Connection,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    await kill_before_charge(customer, server, postgres, database_url)
    customer = customer.with_client(client)
    assert await _list_statuses(postgres) == ["PENDING"]
    assert (await customer.get_cart_lines(), await get_stock(postgres, book)) == ([], 3)
    assert await is_stock_consistent(postgres)

    # It is too early to distinguish an abandoned checkout from a slow one.
    monkeypatch.setattr(orders, "REPLAY_TIMEOUT", 0)
    before = await take_snapshot(postgres)
    assert await sweep(shop) == 0
    assert (await customer.try_checkout("once")).codes == ["SERVICE_UNAVAILABLE"]
    assert await take_snapshot(postgres) == before

    await age_orders(postgres)
    await sweep(shop)
    repeated_result = await customer.checkout("once")
    assert (repeated_result["__typename"], repeated_result["order"]["status"]) == ("PaymentFailed", "PAYMENT_FAILED")
    assert await customer.get_cart_lines() == [("Emma", 2)]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]
    assert await is_stock_consistent(postgres)
    assert await list_payments(postgres) == [("VOIDED", False)]

    assert (await customer.checkout("anew"))["__typename"] == "OrderPlaced"
    assert await list_payments(postgres) == [("VOIDED", False), ("APPROVED", False)]


async def test_killed_after_approved_charge_confirms_the_order(
    server: Server,
    customer: Customer,
    book: BookRow,
    shop: Shop,
    client: ApiClient,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    await kill_before_finalize(customer, server, postgres, database_url, "mock-approve")
    assert await _list_statuses(postgres) == ["PENDING"]

    await age_orders(postgres)
    await sweep(shop)
    customer = customer.with_client(client)
    repeated_result = await customer.checkout("once")
    assert (repeated_result["__typename"], repeated_result["order"]["status"]) == ("OrderPlaced", "CONFIRMED")
    assert await _list_statuses(postgres) == ["CONFIRMED"]
    assert await list_payments(postgres) == [("APPROVED", False)]
    assert await customer.get_cart_lines() == []
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2)]
    assert await is_stock_consistent(postgres)


async def test_killed_after_declined_charge_releases_stock(
    server: Server,
    customer: Customer,
    book: BookRow,
    shop: Shop,
    client: ApiClient,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    await kill_before_finalize(customer, server, postgres, database_url, "mock-decline")
    assert await _list_statuses(postgres) == ["PENDING"]

    await age_orders(postgres)
    await sweep(shop)
    customer = customer.with_client(client)
    assert (await customer.checkout("once", "mock-decline"))["__typename"] == "PaymentFailed"
    assert await list_payments(postgres) == [("DECLINED", False)]
    assert await customer.get_cart_lines() == [("Emma", 2)]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]
    assert await is_stock_consistent(postgres)


async def test_next_server_recovers_automatically(
    server: Server,
    customer: Customer,
    settings: Settings,
    tmp_path: Path,
    postgres: asyncpg.Connection,
    database_url: str,
) -> None:
    await kill_before_finalize(customer, server, postgres, database_url, "mock-approve")
    async with start_server(settings, tmp_path, SWEEP_AFTER_SECONDS="1", **FREQUENT_SWEEPS) as next_server:

        async def is_final() -> bool:
            return await _list_statuses(postgres) != ["PENDING"]

        await wait_until(is_final, 20)
        assert (await customer.with_client(next_server.client).checkout("once"))["order"]["status"] == "CONFIRMED"
    assert await list_payments(postgres) == [("APPROVED", False)]


async def test_killed_after_cancellation_refunds_once(
    server: Server, customer: Customer, book: BookRow, shop: Shop, postgres: asyncpg.Connection
) -> None:
    result = await customer.checkout()
    assert (await customer.cancel_order(result["order"]["id"]))["__typename"] == "OrderCancelled"
    await server.kill()
    assert await list_payments(postgres) == [("APPROVED", False)]

    assert await sweep(shop) == 1
    assert await list_payments(postgres) == [("APPROVED", True)]
    await age_orders(postgres)
    assert await sweep(shop) == 0
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("CANCELLATION", 2)]


async def test_killed_during_refund_retries_it(
    customer: Customer, shop: Shop, settings: Settings, tmp_path: Path, postgres: asyncpg.Connection, database_url: str
) -> None:
    result = await customer.checkout()
    await customer.cancel_order(result["order"]["id"])
    async with (
        hold_lock(database_url, LOCK_PAYMENTS),
        start_server(settings, tmp_path, **FREQUENT_SWEEPS) as refunding_server,
    ):
        blocked_pids = await wait_for_blocked(postgres, 1)
        await refunding_server.kill()
    await wait_until_disconnected(postgres, blocked_pids)
    assert await list_payments(postgres) == [("APPROVED", False)]

    await age_orders(postgres)
    assert await sweep(shop) == 1
    assert await list_payments(postgres) == [("APPROVED", True)]


# ── The provider responds after the sweeper has run ───────────────────────────────────────


async def test_charge_completed_after_sweep_is_refunded(
    shop: Shop, settings: Settings, book: BookRow, postgres: asyncpg.Connection
) -> None:
    provider = SlowPayments()
    async with running_client(settings, provider) as client:
        customer = await add_customer(client, shop, (book, 2))
        checkout = asyncio.create_task(customer.checkout())
        await provider.charge_started.wait()
        await age_orders(postgres)
        await sweep(replace(shop, payments=provider))
        assert await _list_statuses(postgres) == ["PAYMENT_FAILED"]
        provider.refunded.clear()

        provider.may_continue.set()
        assert (await checkout)["__typename"] == "PaymentFailed"
        await age_orders(postgres)
        await sweep(replace(shop, payments=provider))
        assert provider.refunded == provider.charged
        assert await customer.get_cart_lines() == [("Emma", 2)]
    assert await _list_statuses(postgres) == ["PAYMENT_FAILED"]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("PAYMENT_FAILED", 2)]


async def test_charge_with_lost_response_is_cancelled(
    shop: Shop, settings: Settings, book: BookRow, postgres: asyncpg.Connection
) -> None:
    provider = SlowPayments()
    async with running_client(settings, provider) as client:
        customer = await add_customer(client, shop, (book, 2))
        checkout = asyncio.create_task(customer.checkout())
        await provider.charge_started.wait()
        await age_orders(postgres)
        await sweep(replace(shop, payments=provider))
        assert provider.refunded == provider.charged
        provider.may_continue.set()
        await checkout


async def test_order_confirmed_during_sweep_is_not_refunded(
    shop: Shop, settings: Settings, book: BookRow, postgres: asyncpg.Connection
) -> None:
    provider = UncertainPayments()
    async with running_client(settings, provider) as client:
        customer = await add_customer(client, shop, (book, 2))
        checkout = asyncio.create_task(customer.checkout())
        await provider.charge_started.wait()
        await age_orders(postgres)
        sweep_task = asyncio.create_task(sweep(replace(shop, payments=provider)))
        await provider.lookup_started.wait()
        provider.may_continue.set()
        assert (await checkout)["__typename"] == "OrderPlaced"
        provider.may_respond.set()
        await sweep_task
        await age_orders(postgres)
        await sweep(replace(shop, payments=provider))

    assert await _list_statuses(postgres) == ["CONFIRMED"]
    assert provider.refunded == []


@dataclass(slots=True)
class UncertainPayments(SlowPayments):
    """Looks up a charge before it exists, and reports that only when `may_respond` is set."""

    lookup_started: asyncio.Event = field(default_factory=asyncio.Event)
    may_respond: asyncio.Event = field(default_factory=asyncio.Event)

    async def find(self, idempotency_key: str) -> None:
        self.lookup_started.set()
        await self.may_respond.wait()


async def _list_statuses(postgres: asyncpg.Connection) -> list[str]:
    return [record["status"] for record in await postgres.fetch("SELECT status FROM orders")]
