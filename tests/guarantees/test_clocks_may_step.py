"""A clock that steps by five minutes signs nobody out, charges nobody twice and loses no order."""

import asyncio
import datetime as dt
from contextlib import ExitStack

import asyncpg
import pytest
import time_machine

from domain.shop import Shop
from domain.sweeping import sweep
from tests.client import Visitor
from tests.customers import add_customer
from tests.factories import add_book, add_member
from tests.locks import PAYMENTS, holding, until_waiting
from tests.memory import payments, stock_of, time_passes
from tests.sessions import ME, log_in, refreshed

pytestmark = pytest.mark.usefixtures("sound")

STEPS = pytest.mark.parametrize("step", [dt.timedelta(minutes=5), dt.timedelta(minutes=-5)], ids=["on", "back"])


def stepped(step: dt.timedelta) -> time_machine.travel:
    """The clock of the shop; PostgreSQL has one of its own."""
    return time_machine.travel(dt.datetime.now(dt.UTC) + step, tick=True)


async def is_known(visitor: Visitor, token: str) -> None:
    assert (await visitor.signed_in(token).ask(ME))["me"] is not None


@STEPS
async def test_whoever_is_signed_in_stays_so(visitor: Visitor, shop: Shop, step: dt.timedelta) -> None:
    member = await add_member(shop)
    held = await log_in(visitor, member.user.email)
    with stepped(step):
        await is_known(visitor, held.access)
        renewed = await refreshed(visitor, held)
        await is_known(visitor, renewed.access)
    await is_known(visitor, renewed.access)
    await refreshed(visitor, renewed)


@STEPS
async def test_in_the_middle_of_a_purchase(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str, step: dt.timedelta
) -> None:
    book = await add_book(shop, stock=3)
    customer = await add_customer(visitor, shop, (book, 1))
    with ExitStack() as clock:
        async with holding(database_url, PAYMENTS):
            purchase = asyncio.create_task(customer.buys())
            await until_waiting(postgres, 1)
            clock.enter_context(stepped(step))
            assert await sweep(shop) == 0
        bought = await purchase
        again = await customer.buys()
    assert (bought["__typename"], bought["order"]["status"]) == ("OrderPlaced", "CONFIRMED")
    assert again == bought
    assert (await payments(postgres), await stock_of(postgres, book)) == ([("APPROVED", False)], 2)


async def test_the_clock_of_postgresql_in_the_middle_of_a_purchase(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """The purchase looks as if it had died long ago: sweeper and customer settle it once, whoever comes first."""
    book = await add_book(shop, stock=3)
    customer = await add_customer(visitor, shop, (book, 1))
    async with holding(database_url, PAYMENTS):
        purchase = asyncio.create_task(customer.buys())
        await until_waiting(postgres, 1)
        await time_passes(postgres)
        sweeping = asyncio.create_task(sweep(shop))
        await until_waiting(postgres, 2)
    told, _ = await asyncio.gather(purchase, sweeping)
    await sweep(shop)
    [(status, is_back)] = await payments(postgres)
    left, lines = await stock_of(postgres, book), await customer.cart_lines()
    if told["__typename"] == "OrderPlaced":
        assert (status, is_back, left, lines) == ("APPROVED", False, 2, [])
    else:
        assert (told["__typename"], left, lines) == ("PaymentFailed", 3, [(book.title, 1)])
        assert status == "VOIDED" or is_back
