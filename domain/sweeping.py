"""The sweeper: heals checkouts that died half-way, gives back money that is owed, lets old sales go."""

import asyncio
import datetime as dt
from collections.abc import Coroutine
from typing import Any

import structlog

from domain.orders import settle
from domain.shop import Shop
from persistence import orders, sales, throttles
from persistence.faults import Unavailable
from persistence.orders import Order

log = structlog.get_logger()

EVERY = 5.0  # seconds between rounds
ASK_TIMEOUT = 30  # seconds
LEASE = dt.timedelta(minutes=1)  # how long an order is left to the sweeper that took it up
FIRST_REFUND_DELAY = dt.timedelta(seconds=10)
LONGEST_REFUND_DELAY = dt.timedelta(hours=6)


async def sweep_for_ever(shop: Shop, every: float = EVERY) -> None:
    """Runs in each server process; whichever comes first takes an order up."""
    while True:
        await asyncio.sleep(every)
        try:
            await sweep(shop)
        except Unavailable:
            log.warning("sweep_postponed")
        except Exception:  # the next round must come, whatever happened in this one
            log.exception("sweep_failed")


async def sweep(shop: Shop) -> int:
    """Settles every order left PENDING too long and pays every refund that is due; how many it touched."""
    touched = 0
    while (order := await _next_pending(shop)) is not None:
        touched += 1
        await _left_for_later(_settle_pending(shop, order), order)
    while (order := await _next_refund(shop)) is not None:
        touched += 1
        await _left_for_later(_refund(shop, order), order)
    async with shop.database.transaction() as tx:
        await sales.move_sales_window(tx)
        await throttles.forget_old(tx)
    await shop.rate_limiter.limits.forget_full()
    await shop.secret_keys.look_when_due(shop.database)
    return touched


async def _left_for_later(work: Coroutine[Any, Any, None], order: Order) -> None:
    """What cannot be done for one order now does not keep the others waiting: its next try comes after its lease."""
    try:
        await work
    except (TimeoutError, OSError, Unavailable):
        log.warning("order_postponed", order=order.number)
    except Exception:
        log.exception("order_postponed", order=order.number)


async def _next_pending(shop: Shop) -> Order | None:
    async with shop.database.transaction() as tx:
        lease = min(LEASE, shop.policy.sweep_after)
        return await orders.take_up_pending(tx, older_than=shop.policy.sweep_after, lease=lease)


async def _settle_pending(shop: Shop, order: Order) -> None:
    async with asyncio.timeout(ASK_TIMEOUT):
        outcome = await shop.payments.find(str(order.id))
    settled = await settle(shop, order.id, outcome)
    log.info("order_swept", order=order.number, status=settled.status)


async def _next_refund(shop: Shop) -> Order | None:
    async with shop.database.transaction() as tx:
        return await orders.take_up_refund(tx, FIRST_REFUND_DELAY, LONGEST_REFUND_DELAY)


async def _refund(shop: Shop, order: Order) -> None:
    """Gives the money back, or calls off a charge that may still be on its way."""
    async with asyncio.timeout(ASK_TIMEOUT):
        await shop.payments.refund(str(order.id))
    async with shop.database.transaction() as tx:
        await orders.set_order(tx, order.id, refunded_at=dt.datetime.now(dt.UTC), refund_due_at=None)
    log.info("refunded", order=order.number)
