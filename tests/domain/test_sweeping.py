"""The sweeper: it waits for those who are not dead, comes back when it could not do its work, and does it once."""

import asyncio
import uuid
from dataclasses import replace

import asyncpg
import pytest

from domain.errors import Busy
from domain.orders import Purchase, cancel_order, checkout, settle
from domain.payments import Approved, Declined, Outcome
from domain.shop import Shop
from domain.stock import take_stock
from domain.sweeping import sweep, sweep_for_ever
from persistence import accounts
from persistence.accounts import User
from persistence.catalog import Book
from persistence.faults import Unavailable
from tests.factories import Member, add_book, add_member, fill_cart
from tests.memory import movements_of, stock_is_explained, time_passes
from tests.providers import SilentPayments

AWAY = [OSError(), TimeoutError(), Unavailable()]
BROKEN = ValueError("not what was agreed")


@pytest.fixture
def provider() -> SilentPayments:
    return SilentPayments(OSError())


@pytest.fixture
def hurt_shop(shop: Shop, provider: SilentPayments) -> Shop:
    """A shop whose provider cannot be reached."""
    return replace(shop, payments=provider)


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, stock=9)


async def _hanging_order(shop: Shop, book: Book) -> Member:
    """Someone whose checkout got no answer."""
    member = await add_member(shop)
    await fill_cart(shop, member, (book, 2))
    with pytest.raises(Busy):
        await checkout(shop, member.id, Purchase("key"))
    return member


async def _statuses(postgres: asyncpg.Connection) -> list[str]:
    return [row["status"] for row in await postgres.fetch("SELECT status FROM orders ORDER BY id")]


# ── Orders that hang ──────────────────────────────────────────────────────────────────────


async def test_an_order_is_left_alone_for_two_minutes(
    hurt_shop: Shop, provider: SilentPayments, book: Book, postgres: asyncpg.Connection
) -> None:
    await _hanging_order(hurt_shop, book)
    provider.error = None
    await postgres.execute("UPDATE orders SET placed_at = placed_at - interval '110 seconds'")
    assert await sweep(hurt_shop) == 0
    assert await _statuses(postgres) == ["PENDING"]
    await postgres.execute("UPDATE orders SET placed_at = placed_at - interval '10 seconds'")
    await sweep(hurt_shop)
    assert await _statuses(postgres) == ["PAYMENT_FAILED"]


@pytest.mark.parametrize(
    ("outcome", "status", "reason"),
    [
        (Approved(), "CONFIRMED", None),
        (Declined("No money."), "PAYMENT_FAILED", "No money."),
        (None, "PAYMENT_FAILED", "No answer came from the payment provider."),
    ],
)
async def test_an_order_ends_as_the_provider_says(
    hurt_shop: Shop,
    provider: SilentPayments,
    book: Book,
    postgres: asyncpg.Connection,
    outcome: Outcome | None,
    status: str,
    reason: str | None,
) -> None:
    await _hanging_order(hurt_shop, book)
    provider.error, provider.outcome = None, outcome
    await time_passes(postgres)
    await sweep(hurt_shop)
    order = await postgres.fetchrow("SELECT id, status, decline_reason FROM orders")
    assert order is not None
    assert (order["status"], order["decline_reason"]) == (status, reason)
    assert provider.refunded == ([str(order["id"])] if outcome is None else [])
    assert await stock_is_explained(postgres, hurt_shop)


@pytest.mark.parametrize("error", AWAY)
async def test_while_the_provider_is_away_nothing_is_decided(
    hurt_shop: Shop, provider: SilentPayments, book: Book, postgres: asyncpg.Connection, error: Exception
) -> None:
    for _ in range(2):
        await _hanging_order(hurt_shop, book)
    provider.error, provider.asked = error, 0
    await time_passes(postgres)
    assert await sweep(hurt_shop) == 2
    assert await sweep(hurt_shop) == 0  # each is left to the sweeper that took it up
    assert (provider.asked, await _statuses(postgres)) == (2, ["PENDING", "PENDING"])

    provider.error, provider.outcome = None, Approved()
    await time_passes(postgres)
    assert await sweep(hurt_shop) == 2
    assert await _statuses(postgres) == ["CONFIRMED", "CONFIRMED"]


async def test_sweepers_do_not_do_the_same_work_twice(
    hurt_shop: Shop, provider: SilentPayments, book: Book, postgres: asyncpg.Connection
) -> None:
    for _ in range(3):
        await _hanging_order(hurt_shop, book)
    provider.error, provider.outcome, provider.asked = None, Declined(), 0
    await time_passes(postgres)
    assert sum(await asyncio.gather(*(sweep(hurt_shop) for _ in range(4)))) == 3
    assert provider.asked == 3
    assert await movements_of(postgres, book) == [("NEW_BOOK", 9), *[("SALE", -2)] * 3, *[("PAYMENT_FAILED", 2)] * 3]


# ── Refunds ───────────────────────────────────────────────────────────────────────────────


@pytest.fixture
async def cancelled(shop: Shop, book: Book) -> str:
    """The key of an order that was paid and called off."""
    member = await add_member(shop)
    await fill_cart(shop, member, (book, 1))
    order = await checkout(shop, member.id, Purchase("key", payment_token="mock-approve"))
    return str((await cancel_order(shop, member.user, order.id)).id)


@pytest.mark.parametrize("error", AWAY)
async def test_a_refund_that_fails_is_tried_again_later(
    hurt_shop: Shop, provider: SilentPayments, cancelled: str, postgres: asyncpg.Connection, error: Exception
) -> None:
    provider.error = error
    waits = []
    for _ in range(3):
        assert [await sweep(hurt_shop), await sweep(hurt_shop)] == [1, 0]
        waits.append(await postgres.fetchval("SELECT date_trunc('second', refund_due_at - now()) FROM orders"))
        await time_passes(postgres)
    assert sorted(set(waits)) == waits
    provider.error = None
    assert [await sweep(hurt_shop), await sweep(hurt_shop)] == [1, 0]
    await time_passes(postgres)
    assert await sweep(hurt_shop) == 0
    assert provider.refunded == [cancelled]
    assert await postgres.fetchval("SELECT refunded_at IS NOT NULL AND refund_due_at IS NULL FROM orders")


async def test_two_sweepers_give_the_money_back_once(hurt_shop: Shop, provider: SilentPayments, cancelled: str) -> None:
    provider.error = None
    assert sorted(await asyncio.gather(sweep(hurt_shop), sweep(hurt_shop))) == [0, 1]
    assert provider.refunded == [cancelled]


# ── For ever ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("error", [Unavailable(), RuntimeError("a mistake of ours")])
async def test_the_next_round_comes_whatever_happened_in_this_one(
    hurt_shop: Shop, provider: SilentPayments, book: Book, postgres: asyncpg.Connection, error: Exception
) -> None:
    await _hanging_order(hurt_shop, book)
    provider.error, provider.outcome, provider.asked = error, Approved(), 0
    await time_passes(postgres)
    sweeper = asyncio.create_task(sweep_for_ever(hurt_shop, every=0.01))
    async with asyncio.timeout(20):
        while not provider.asked:
            await asyncio.sleep(0.01)
        provider.error = None
        while await _statuses(postgres) == ["PENDING"]:
            await time_passes(postgres)
            await asyncio.sleep(0.01)
    sweeper.cancel()
    assert await _statuses(postgres) == ["CONFIRMED"]


# ── One that cannot be healed ─────────────────────────────────────────────────────────────


async def test_an_order_that_nobody_can_settle_does_not_keep_the_others_waiting(
    shop: Shop, book: Book, postgres: asyncpg.Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    provider = SilentPayments(OSError())
    hurt = replace(shop, payments=provider)
    first, second = await _hanging_order(hurt, book), await _hanging_order(hurt, book)
    cancelled = await _hanging_order(hurt, book)
    provider.error, provider.outcome = None, Approved()
    await settle(hurt, await _order_of(postgres, cancelled), Approved())
    await cancel_order(hurt, await _user(shop, cancelled), await _order_of(postgres, cancelled))
    bad = str(await _order_of(postgres, first))
    find = provider.find

    async def find_all_but_one(key: str) -> Outcome | None:
        if key == bad:
            raise BROKEN
        return await find(key)

    monkeypatch.setattr(SilentPayments, "find", lambda _, key: find_all_but_one(key))
    await time_passes(postgres)
    await sweep(hurt)
    status = "SELECT status FROM orders WHERE user_id = $1"
    assert await postgres.fetchval(status, first.id) == "PENDING"
    assert await postgres.fetchval(status, second.id) == "CONFIRMED"
    assert provider.refunded == [str(await _order_of(postgres, cancelled))]


async def test_copies_come_back_though_the_shelf_was_filled_meanwhile(shop: Shop, postgres: asyncpg.Connection) -> None:
    full = await add_book(shop, stock=1_000_000)
    hurt = replace(shop, payments=SilentPayments(OSError()))
    await _hanging_order(hurt, full)
    await take_stock(shop, full.id, 1_000_000)
    await time_passes(postgres)
    await sweep(replace(shop, payments=SilentPayments(None)))
    assert await _statuses(postgres) == ["PAYMENT_FAILED"]
    assert await postgres.fetchval("SELECT stock_quantity FROM books") == 1_000_002
    assert await stock_is_explained(postgres, shop)


async def _order_of(postgres: asyncpg.Connection, member: Member) -> uuid.UUID:
    order_id: uuid.UUID = await postgres.fetchval("SELECT id FROM orders WHERE user_id = $1", member.id)
    return order_id


async def _user(shop: Shop, member: Member) -> User:
    user = await accounts.find_user(shop.database.reading, member.id)
    assert user is not None
    return user
