"""Kills a server at defined points of a checkout, where it waits for a lock of another connection."""

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
from tests.support.waiting import wait_until


async def kill_before_charge(
    customer: Customer, server: Server, postgres: asyncpg.Connection, database_url: str
) -> None:
    """Kill the server when the stock is reserved and the payment provider has not been called."""
    async with hold_lock(database_url, LOCK_PAYMENTS):
        checkout = asyncio.create_task(customer.checkout("once"))
        blocked_pids = await wait_for_blocked(postgres, 1)
        await server.kill()
        assert await has_no_response(checkout)
    await wait_until_disconnected(postgres, blocked_pids)


async def kill_before_finalize(
    customer: Customer, server: Server, postgres: asyncpg.Connection, database_url: str, token: str
) -> None:
    """Kill the server when the provider has decided and the order is not finalized yet."""
    async with AsyncExitStack() as payments_lock:
        await payments_lock.enter_async_context(hold_lock(database_url, LOCK_PAYMENTS))
        checkout = asyncio.create_task(customer.checkout("once", token))
        await wait_for_blocked(postgres, 1)
        async with hold_lock(database_url, LOCK_ORDERS, customer.user.id):
            await payments_lock.aclose()
            await wait_until(lambda: list_payments(postgres), 20)
            blocked_pids = await wait_for_blocked(postgres, 1)
            await server.kill()
            assert await has_no_response(checkout)
    await wait_until_disconnected(postgres, blocked_pids)


async def has_no_response(checkout: "asyncio.Task[Any]") -> bool:
    """Return whether the connection broke before any response arrived."""
    await asyncio.wait({checkout})
    return isinstance(checkout.exception(), (httpx2.TransportError, TransportError))
