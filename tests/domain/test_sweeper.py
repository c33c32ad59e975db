"""The sweeper finalizes only stale orders, retries after failures, and handles each order once."""

import asyncio
import uuid
from dataclasses import replace

import asyncpg
import pytest

from domain.errors import Overloaded
from domain.orders import CheckoutRequest, cancel_order, checkout, finalize
from domain.payments import Approved, Declined, PaymentOutcome
from domain.shop import Shop
from domain.stock import set_stock
from domain.sweeper import run_sweeper, sweep
from persistence import accounts
from persistence.accounts import UserRow
from persistence.catalog import BookRow
from persistence.postgres.errors import Unavailable
from tests.support.database.db_snapshots import age_orders, is_stock_consistent, list_stock_movements
from tests.support.shop.factories import SignedInUser, add_book, add_user, fill_cart
from tests.support.shop.payment_providers import UnreachablePayments

CONNECTION_ERRORS = [OSError(), TimeoutError(), Unavailable()]
PROVIDER_BUG = ValueError("unexpected response")


@pytest.fixture
def provider() -> UnreachablePayments:
    return UnreachablePayments(OSError())


@pytest.fixture
def shop_without_provider(shop: Shop, provider: UnreachablePayments) -> Shop:
    """Return a shop whose payment provider is unreachable."""
    return replace(shop, payments=provider)


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, stock=9)


async def _add_pending_order(shop: Shop, book: BookRow) -> SignedInUser:
    """Add a user whose checkout received no response from the payment provider."""
    user = await add_user(shop)
    await fill_cart(shop, user, (book, 2))
    with pytest.raises(Overloaded):
        await checkout(shop, user.id, CheckoutRequest("key"))
    return user


async def _get_statuses(postgres: asyncpg.Connection) -> list[str]:
    return [row["status"] for row in await postgres.fetch("SELECT status FROM orders ORDER BY id")]


# ── Pending orders ────────────────────────────────────────────────────────────────────────


async def test_pending_order_is_not_swept_for_two_minutes(
    shop_without_provider: Shop, provider: UnreachablePayments, book: BookRow, postgres: asyncpg.Connection
) -> None:
    await _add_pending_order(shop_without_provider, book)
    provider.error = None
    await postgres.execute("UPDATE orders SET placed_at = placed_at - interval '110 seconds'")
    assert await sweep(shop_without_provider) == 0
    assert await _get_statuses(postgres) == ["PENDING"]
    await postgres.execute("UPDATE orders SET placed_at = placed_at - interval '10 seconds'")
    await sweep(shop_without_provider)
    assert await _get_statuses(postgres) == ["PAYMENT_FAILED"]


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (Approved(), "CONFIRMED", None),
        (Declined("No money."), "PAYMENT_FAILED", "No money."),
        (None, "PAYMENT_FAILED", "The payment provider did not respond."),
    ],
)
async def test_order_is_finalized_as_the_provider_reports(
    shop_without_provider: Shop,
    provider: UnreachablePayments,
    book: BookRow,
    postgres: asyncpg.Connection,
    outcome: PaymentOutcome | None,
    status: str,
    reason: str | None,
) -> None:
    await _add_pending_order(shop_without_provider, book)
    provider.error, provider.outcome = None, outcome
    await age_orders(postgres)
    await sweep(shop_without_provider)
    order = await postgres.fetchrow("SELECT id, status, decline_reason FROM orders")
    assert order is not None
    assert (order["status"], order["decline_reason"]) == (status, reason)
    assert provider.refunded == ([str(order["id"])] if outcome is None else [])
    assert await is_stock_consistent(postgres)


@pytest.mark.parametrize("error", CONNECTION_ERRORS)
async def test_unreachable_provider_finalizes_no_order(
    shop_without_provider: Shop,
    provider: UnreachablePayments,
    book: BookRow,
    postgres: asyncpg.Connection,
    error: Exception,
) -> None:
    for _ in range(2):
        await _add_pending_order(shop_without_provider, book)
    provider.error, provider.call_count = error, 0
    await age_orders(postgres)
    assert await sweep(shop_without_provider) == 2
    assert await sweep(shop_without_provider) == 0  # the claims have not expired
    assert (provider.call_count, await _get_statuses(postgres)) == (2, ["PENDING", "PENDING"])

    provider.error, provider.outcome = None, Approved()
    await age_orders(postgres)
    assert await sweep(shop_without_provider) == 2
    assert await _get_statuses(postgres) == ["CONFIRMED", "CONFIRMED"]


async def test_concurrent_sweepers_do_not_repeat_work(
    shop_without_provider: Shop, provider: UnreachablePayments, book: BookRow, postgres: asyncpg.Connection
) -> None:
    for _ in range(3):
        await _add_pending_order(shop_without_provider, book)
    provider.error, provider.outcome, provider.call_count = None, Declined(), 0
    await age_orders(postgres)
    assert sum(await asyncio.gather(*(sweep(shop_without_provider) for _ in range(4)))) == 3
    assert provider.call_count == 3
    assert await list_stock_movements(postgres, book) == [
        ("NEW_BOOK", 9),
        *[("SALE", -2)] * 3,
        *[("PAYMENT_FAILED", 2)] * 3,
    ]


# ── Refunds ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def cancelled_order(shop: Shop, book: BookRow) -> str:
    """Return the idempotency key of an order that was paid and then cancelled."""
    user = await add_user(shop)
    await fill_cart(shop, user, (book, 1))
    order = await checkout(shop, user.id, CheckoutRequest("key", payment_token="mock-approve"))
    return str((await cancel_order(shop, user.row, order.id)).id)


@pytest.mark.parametrize("error", CONNECTION_ERRORS)
async def test_failed_refund_is_retried(
    shop_without_provider: Shop,
    provider: UnreachablePayments,
    cancelled_order: str,
    postgres: asyncpg.Connection,
    error: Exception,
) -> None:
    provider.error = error
    delays = []
    for _ in range(3):
        assert [await sweep(shop_without_provider), await sweep(shop_without_provider)] == [1, 0]
        delays.append(await postgres.fetchval("SELECT date_trunc('second', refund_due_at - now()) FROM orders"))
        await age_orders(postgres)
    assert sorted(set(delays)) == delays
    provider.error = None
    assert [await sweep(shop_without_provider), await sweep(shop_without_provider)] == [1, 0]
    await age_orders(postgres)
    assert await sweep(shop_without_provider) == 0
    assert provider.refunded == [cancelled_order]
    assert await postgres.fetchval("SELECT refunded_at IS NOT NULL AND refund_due_at IS NULL FROM orders")


async def test_two_sweepers_refund_once(
    shop_without_provider: Shop, provider: UnreachablePayments, cancelled_order: str
) -> None:
    provider.error = None
    assert sorted(await asyncio.gather(sweep(shop_without_provider), sweep(shop_without_provider))) == [0, 1]
    assert provider.refunded == [cancelled_order]


# ── The loop ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError("internal error")])
async def test_sweeper_continues_after_errors(
    shop_without_provider: Shop,
    provider: UnreachablePayments,
    book: BookRow,
    postgres: asyncpg.Connection,
    error: Exception,
) -> None:
    await _add_pending_order(shop_without_provider, book)
    provider.error, provider.outcome, provider.call_count = error, Approved(), 0
    await age_orders(postgres)
    sweeper = asyncio.create_task(run_sweeper(shop_without_provider, interval=0.01))
    async with asyncio.timeout(20):
        while not provider.call_count:
            await asyncio.sleep(0.01)
        provider.error = None
        while await _get_statuses(postgres) == ["PENDING"]:
            await age_orders(postgres)
            await asyncio.sleep(0.01)
    sweeper.cancel()
    assert await _get_statuses(postgres) == ["CONFIRMED"]


# ── Orders that cannot be finalized ───────────────────────────────────────────────────────


async def test_unfinalizable_order_does_not_block_others(
    shop: Shop, book: BookRow, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = UnreachablePayments(OSError())
    unreachable_shop = replace(shop, payments=provider)
    first, second = await _add_pending_order(unreachable_shop, book), await _add_pending_order(unreachable_shop, book)
    cancelled_user = await _add_pending_order(unreachable_shop, book)
    provider.error, provider.outcome = None, Approved()
    await finalize(unreachable_shop, await _get_order_id(postgres, cancelled_user), Approved())
    await cancel_order(
        unreachable_shop, await _get_user(shop, cancelled_user), await _get_order_id(postgres, cancelled_user)
    )
    failing_order_id = str(await _get_order_id(postgres, first))
    original_find = provider.find

    async def find_or_fail(key: str) -> PaymentOutcome | None:
        if key == failing_order_id:
            raise PROVIDER_BUG
        return await original_find(key)

    monkeypatch.setattr(UnreachablePayments, "find", lambda _, key: find_or_fail(key))
    await age_orders(postgres)
    await sweep(unreachable_shop)
    status_query = "SELECT status FROM orders WHERE user_id = $1"
    assert await postgres.fetchval(status_query, first.id) == "PENDING"
    assert await postgres.fetchval(status_query, second.id) == "CONFIRMED"
    assert provider.refunded == [str(await _get_order_id(postgres, cancelled_user))]


async def test_stock_is_released_on_top_of_stock_set_meanwhile(shop: Shop, postgres: asyncpg.Connection) -> None:
    book_with_maximum_stock = await add_book(shop, stock=1_000_000)
    unreachable_shop = replace(shop, payments=UnreachablePayments(OSError()))
    await _add_pending_order(unreachable_shop, book_with_maximum_stock)
    await set_stock(shop, book_with_maximum_stock.id, 1_000_000)
    await age_orders(postgres)
    await sweep(replace(shop, payments=UnreachablePayments(None)))
    assert await _get_statuses(postgres) == ["PAYMENT_FAILED"]
    assert await postgres.fetchval("SELECT stock_quantity FROM books") == 1_000_002
    assert await is_stock_consistent(postgres)


async def _get_order_id(postgres: asyncpg.Connection, user: SignedInUser) -> uuid.UUID:
    order_id: uuid.UUID = await postgres.fetchval("SELECT id FROM orders WHERE user_id = $1", user.id)
    return order_id


async def _get_user(shop: Shop, signed_in_user: SignedInUser) -> UserRow:
    user = await accounts.find_user(shop.database.read_session, signed_in_user.id)
    assert user is not None
    return user
