"""The sweeper: heals checkouts that died half-way, gives back money that is owed, lets old sales go."""

import asyncio
import datetime as dt
from collections.abc import Coroutine
from typing import Any

import structlog

from domain.orders import finalize
from domain.shop import Shop
from persistence import orders, sales
from persistence.limits import throttles
from persistence.orders import OrderRow
from persistence.postgres.errors import Unavailable

log = structlog.get_logger()

SWEEP_INTERVAL = 5.0  # seconds between rounds
PROVIDER_TIMEOUT = 30  # seconds
LEASE = dt.timedelta(minutes=1)  # how long an order is left to the sweeper that took it up
INITIAL_REFUND_DELAY = dt.timedelta(seconds=10)
MAX_REFUND_DELAY = dt.timedelta(hours=6)


async def run_sweeper(shop: Shop, interval: float = SWEEP_INTERVAL) -> None:
    """Runs in each server process; whichever comes first takes an order up."""
    while True:
        await asyncio.sleep(interval)
        try:
            await sweep(shop)
        except Unavailable:
            log.warning("sweep_postponed")
        except Exception:  # the next round must come, whatever happened in this one
            log.exception("sweep_failed")


async def sweep(shop: Shop) -> int:
    """Settles every order left PENDING too long and pays every refund that is due; how many it touched."""
    order_count = 0
    while (order := await _claim_stale_pending(shop)) is not None:
        order_count += 1
        await _log_failures(_finalize_pending(shop, order), order)
    while (order := await _claim_due_refund(shop)) is not None:
        order_count += 1
        await _log_failures(_refund(shop, order), order)
    async with shop.database.transaction() as tx:
        await sales.advance_sales_window(tx)
        await throttles.delete_expired(tx)
    await shop.rate_limiter.store.evict_full()
    await shop.secret_key_check.check_if_due(shop.database)
    return order_count


async def _log_failures(operation: Coroutine[Any, Any, None], order: OrderRow) -> None:
    """What cannot be done for one order now does not keep the others waiting: its next try comes after its lease."""
    try:
        await operation
    except (TimeoutError, OSError, Unavailable):
        log.warning("order_postponed", order=order.number)
    except Exception:
        log.exception("order_postponed", order=order.number)


async def _claim_stale_pending(shop: Shop) -> OrderRow | None:
    async with shop.database.transaction() as tx:
        lease = min(LEASE, shop.policy.sweep_after)
        return await orders.claim_stale_pending_order(tx, older_than=shop.policy.sweep_after, lease=lease)


async def _finalize_pending(shop: Shop, order: OrderRow) -> None:
    async with asyncio.timeout(PROVIDER_TIMEOUT):
        outcome = await shop.payments.find(str(order.id))
    finalized = await finalize(shop, order.id, outcome)
    log.info("order_swept", order=order.number, status=finalized.status)


async def _claim_due_refund(shop: Shop) -> OrderRow | None:
    async with shop.database.transaction() as tx:
        return await orders.claim_due_refund(tx, INITIAL_REFUND_DELAY, MAX_REFUND_DELAY)


async def _refund(shop: Shop, order: OrderRow) -> None:
    """Gives the money back, or calls off a charge that may still be on its way."""
    async with asyncio.timeout(PROVIDER_TIMEOUT):
        await shop.payments.refund(str(order.id))
    async with shop.database.transaction() as tx:
        await orders.update_order(tx, order.id, refunded_at=dt.datetime.now(dt.UTC), refund_due_at=None)
    log.info("refunded", order=order.number)
