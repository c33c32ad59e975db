"""A clock step of minutes ends no session and loses no order."""

import asyncio
import datetime as dt
from contextlib import ExitStack

import asyncpg
import pytest
import time_machine

from domain.shop import Shop
from domain.sweeper import sweep
from tests.support.auth.sessions import ME_QUERY, log_in, refresh_session
from tests.support.database.db_snapshots import age_orders, get_stock, list_payments
from tests.support.database.locks import LOCK_PAYMENTS, hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book, add_user

pytestmark = pytest.mark.usefixtures("check_invariants")

STEPS = pytest.mark.parametrize(
    "step", [dt.timedelta(minutes=5), dt.timedelta(minutes=-5)], ids=["forward", "backward"]
)


def step_clock(step: dt.timedelta) -> time_machine.travel:
    """Move the server's clock; PostgreSQL's does not move."""
    return time_machine.travel(dt.datetime.now(dt.UTC) + step, tick=True)


async def assert_authenticated(client: ApiClient, token: str) -> None:
    assert (await client.with_token(token).execute(ME_QUERY))["me"] is not None


@STEPS
async def test_signed_in_users_stay_signed_in(client: ApiClient, shop: Shop, step: dt.timedelta) -> None:
    user = await add_user(shop)
    tokens = await log_in(client, user.row.email)
    with step_clock(step):
        await assert_authenticated(client, tokens.access_token)
        refreshed = await refresh_session(client, tokens)
        await assert_authenticated(client, refreshed.access_token)
    await assert_authenticated(client, refreshed.access_token)
    await refresh_session(client, refreshed)


@STEPS
async def test_clock_step_during_checkout(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str, step: dt.timedelta
) -> None:
    book = await add_book(shop, stock=3)
    customer = await add_customer(client, shop, (book, 1))
    with ExitStack() as clock:
        async with hold_lock(database_url, LOCK_PAYMENTS):
            checkout = asyncio.create_task(customer.checkout())
            await wait_for_blocked(postgres, 1)
            clock.enter_context(step_clock(step))
            assert await sweep(shop) == 0
        result = await checkout
        repeated_result = await customer.checkout()
    assert (result["__typename"], result["order"]["status"]) == ("OrderPlaced", "CONFIRMED")
    assert repeated_result == result
    assert (await list_payments(postgres), await get_stock(postgres, book)) == ([("APPROVED", False)], 2)


async def test_postgresql_clock_step_during_checkout(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """The checkout looks abandoned: the sweeper and the checkout race, and finalize the order once."""
    book = await add_book(shop, stock=3)
    customer = await add_customer(client, shop, (book, 1))
    async with hold_lock(database_url, LOCK_PAYMENTS):
        checkout = asyncio.create_task(customer.checkout())
        await wait_for_blocked(postgres, 1)
        await age_orders(postgres)
        sweep_task = asyncio.create_task(sweep(shop))
        await wait_for_blocked(postgres, 2)
    result, _ = await asyncio.gather(checkout, sweep_task)
    await sweep(shop)
    [(status, is_refunded)] = await list_payments(postgres)
    stock, cart_lines = await get_stock(postgres, book), await customer.get_cart_lines()
    if result["__typename"] == "OrderPlaced":
        assert (status, is_refunded, stock, cart_lines) == ("APPROVED", False, 2, [])
    else:
        assert (result["__typename"], stock, cart_lines) == ("PaymentFailed", 3, [(book.title, 1)])
        assert status == "VOIDED" or is_refunded
