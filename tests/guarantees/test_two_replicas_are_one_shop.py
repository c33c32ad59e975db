"""Two servers on one database are one shop: what began at one goes on at the other, and nothing is done by both."""

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from domain import orders
from domain.orders import Purchase
from domain.shop import Shop
from server.settings import Settings
from tests.customers import Customer, add_customer
from tests.factories import add_book, add_member, fill_cart
from tests.letters import at, until_settled
from tests.memory import time_passes
from tests.processes import Server, serving
from tests.sessions import ME, log_in, logged_out, refreshed
from tests.smtp import Mailbox, mail_server

pytestmark = pytest.mark.usefixtures("sound")

LEFT_HALF_DONE = 12


@pytest.fixture
async def mailbox() -> AsyncIterator[Mailbox]:
    async with mail_server() as mailbox:
        yield mailbox


@pytest.fixture
async def both(
    shop: Shop, settings: Settings, tmp_path: Path, mailbox: Mailbox
) -> AsyncIterator[tuple[Server, Server]]:
    """Each posts letters, and sweeps as often as it can."""
    given = {
        "SMTP_URL": str(at(mailbox, settings).smtp_url),
        "WORKER": "true",
        "SWEEP_EVERY_SECONDS": "0.05",
        "LOG_FORMAT": "json",
    }
    async with serving(settings, tmp_path, **given) as first, serving(settings, tmp_path, **given) as second:
        yield first, second


async def test_what_began_at_one_goes_on_at_the_other(
    both: tuple[Server, Server], shop: Shop, postgres: asyncpg.Connection, mailbox: Mailbox
) -> None:
    here, there = (server.visitor for server in both)
    member = await add_member(shop, "ann@example.com")
    await fill_cart(shop, member, (await add_book(shop, "Emma"), 1))
    held = await log_in(here, "ann@example.com")
    ann = Customer(member, there.signed_in(held.access))
    bought = await ann.buys("once")
    assert bought["__typename"] == "OrderPlaced"
    assert await Customer(member, here.signed_in(held.access)).buys("once") == bought

    held = await refreshed(there, held)
    assert await logged_out(here, held.refresh) == 1
    assert (await there.signed_in(held.access).ask(ME)).codes == ["UNAUTHENTICATED"]
    assert await until_settled(postgres) == [("ORDER_CONFIRMED", "SENT")]
    assert len(mailbox.to("ann@example.com")) == 1


async def test_what_was_left_half_done_is_finished_by_one(
    both: tuple[Server, Server], shop: Shop, postgres: asyncpg.Connection, mailbox: Mailbox
) -> None:
    """Half of the orders were paid before whoever took them died."""
    book = await add_book(shop, stock=LEFT_HALF_DONE)
    for number in range(LEFT_HALF_DONE):
        customer = await add_customer(both[0].visitor, shop, (book, 1))
        order = await orders._reserve(shop, customer.member.id, Purchase("once", payment_token="mock-approve"))
        assert order is not None
        if number % 2:
            await shop.payments.charge(str(order.id), order.total, order.currency, order.payment_token)
    await time_passes(postgres)
    async with asyncio.timeout(60):
        while await postgres.fetchval("SELECT count(*) FROM orders WHERE status = 'PENDING'"):
            await asyncio.sleep(0.02)
    assert await until_settled(postgres) == [("ORDER_CONFIRMED", "SENT")] * (LEFT_HALF_DONE // 2)
    assert len(mailbox.letters) == LEFT_HALF_DONE // 2
    swept = Counter(line["order"] for server in both for line in _log(server) if line["event"] == "order_swept")
    assert set(swept.values()) == {1}
    assert len(swept) == LEFT_HALF_DONE


def _log(server: Server) -> list[dict[str, str]]:
    return [json.loads(line) for line in server.log.read_text("utf-8").splitlines() if line.startswith("{")]
