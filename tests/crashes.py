"""Where a checkout can be killed: the places made certain by locks that a third connection holds."""

import asyncio
from contextlib import AsyncExitStack
from typing import Any

import asyncpg
import httpx2
from gql.transport.exceptions import TransportError

from tests.customers import Customer
from tests.locks import ORDERS, PAYMENTS, holding, until_gone, until_waiting
from tests.memory import payments
from tests.processes import Server


async def dies_before_the_charge(
    customer: Customer, server: Server, postgres: asyncpg.Connection, database_url: str
) -> None:
    """The books are reserved, and the provider has not been told."""
    async with holding(database_url, PAYMENTS):
        purchase = asyncio.create_task(customer.buys("once"))
        charging = await until_waiting(postgres, 1)
        await server.dies()
        assert await is_unanswered(purchase)
    await until_gone(postgres, charging)


async def dies_before_settling(
    customer: Customer, server: Server, postgres: asyncpg.Connection, database_url: str, token: str
) -> None:
    """The provider has decided, and the shop has not written it down."""
    async with AsyncExitStack() as provider:
        await provider.enter_async_context(holding(database_url, PAYMENTS))
        purchase = asyncio.create_task(customer.buys("once", token))
        await until_waiting(postgres, 1)
        async with holding(database_url, ORDERS, customer.member.id):
            await provider.aclose()
            async with asyncio.timeout(20):
                while not await payments(postgres):
                    await asyncio.sleep(0.01)
            settling = await until_waiting(postgres, 1)
            await server.dies()
            assert await is_unanswered(purchase)
    await until_gone(postgres, settling)


async def is_unanswered(purchase: "asyncio.Task[Any]") -> bool:
    """Whether the buyer was left without an answer, and not with one that says no."""
    await asyncio.wait({purchase})
    return isinstance(purchase.exception(), (httpx2.TransportError, TransportError))
