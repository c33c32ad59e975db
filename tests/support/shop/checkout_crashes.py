"""Where a checkout can be killed: the places made certain by locks that a third connection holds."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import httpx2
from gql.transport.exceptions import TransportError

from tests.support.database.db_snapshots import list_payments
from tests.support.database.locks import (
    LOCK_ORDERS,
    LOCK_PAYMENTS,
    hold_lock,
    wait_for_blocked,
    wait_until_disconnected,
)
from tests.support.processes.servers import Server
from tests.support.shop.customers import Customer


async def kill_before_charge(
    customer: Customer, server: Server, postgres: asyncpg.Connection, database_url: str
) -> None:
    """The books are reserved, and the provider has not been told."""
    async with hold_lock(database_url, LOCK_PAYMENTS):
        checkout = asyncio.create_task(customer.checkout("once"))
        blocked_pids = await wait_for_blocked(postgres, 1)
        await server.kill()
        assert await has_no_response(checkout)
    await wait_until_disconnected(postgres, blocked_pids)


async def kill_before_finalize(
    customer: Customer, server: Server, postgres: asyncpg.Connection, database_url: str, token: str
) -> None:
    """The provider has decided, and the shop has not written it down."""
    async with AsyncExitStack() as payments_lock:
        await payments_lock.enter_async_context(hold_lock(database_url, LOCK_PAYMENTS))
        checkout = asyncio.create_task(customer.checkout("once", token))
        await wait_for_blocked(postgres, 1)
        async with hold_lock(database_url, LOCK_ORDERS, customer.user.id):
            await payments_lock.aclose()
            async with asyncio.timeout(20):
                while not await list_payments(postgres):
                    await asyncio.sleep(0.01)
            blocked_pids = await wait_for_blocked(postgres, 1)
            await server.kill()
            assert await has_no_response(checkout)
    await wait_until_disconnected(postgres, blocked_pids)


async def has_no_response(checkout: "asyncio.Task[Any]") -> bool:
    """Whether the buyer was left without an answer, and not with one that says no."""
    await asyncio.wait({checkout})
    return isinstance(checkout.exception(), (httpx2.TransportError, TransportError))
