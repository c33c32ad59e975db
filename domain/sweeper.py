"""The sweeper: finalizes stale pending orders, issues due refunds and does housekeeping."""

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

SWEEP_INTERVAL = 5.0  # seconds
PROVIDER_TIMEOUT = 30  # seconds
LEASE = dt.timedelta(minutes=1)
"""How long other sweepers skip an order that one sweeper has claimed."""
INITIAL_REFUND_DELAY = dt.timedelta(seconds=10)
MAX_REFUND_DELAY = dt.timedelta(hours=6)


async def run_sweeper(shop: Shop, interval: float = SWEEP_INTERVAL) -> None:
    """Sweep every `interval` seconds until cancelled. Each server process runs one; claims keep them apart."""
    while True:
        await asyncio.sleep(interval)
        try:
            await sweep(shop)
        except Unavailable:
            log.warning("sweep_skipped")
        except Exception:  # one failed sweep must not end the loop
            log.exception("sweep_failed")


async def sweep(shop: Shop) -> int:
    """Finalize stale PENDING orders, issue due refunds and do housekeeping. Return the number of claimed orders."""
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
    """Await `operation` and log its failure, so that one order does not block others; the next sweeper retries it."""
    try:
        await operation
    except (TimeoutError, OSError, Unavailable):
        log.warning("order_sweep_failed", order=order.number)
    except Exception:
        log.exception("order_sweep_failed", order=order.number)


async def _claim_stale_pending(shop: Shop) -> OrderRow | None:
    async with shop.database.transaction() as tx:
        lease = min(LEASE, shop.policy.sweep_after)
        return await orders.claim_stale_pending_order(tx, older_than=shop.policy.sweep_after, lease=lease)


async def _finalize_pending(shop: Shop, order: OrderRow) -> None:
    async with asyncio.timeout(PROVIDER_TIMEOUT):
        outcome = await shop.payments.find(str(order.id))
    finalized = await finalize(shop, order.id, outcome)
    log.info("pending_order_finalized", order=order.number, status=finalized.status)


async def _claim_due_refund(shop: Shop) -> OrderRow | None:
    async with shop.database.transaction() as tx:
        return await orders.claim_due_refund(tx, INITIAL_REFUND_DELAY, MAX_REFUND_DELAY)


async def _refund(shop: Shop, order: OrderRow) -> None:
    """Refund the order's charge, or void a charge that may still arrive."""
    async with asyncio.timeout(PROVIDER_TIMEOUT):
        await shop.payments.refund(str(order.id))
    async with shop.database.transaction() as tx:
        await orders.update_order(tx, order.id, refunded_at=dt.datetime.now(dt.UTC), refund_due_at=None)
    log.info("order_refunded", order=order.number)
