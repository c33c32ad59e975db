"""Two servers on one database behave as one: sessions, carts and orders continue on either."""

import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from domain import orders
from domain.orders import CheckoutRequest
from domain.shop import Shop
from server.settings import Settings
from tests.support.auth.sessions import ME_QUERY, log_in, log_out, refresh_session
from tests.support.database.db_snapshots import age_orders
from tests.support.email.emails import wait_until_queue_is_empty, with_smtp_url
from tests.support.email.smtp import FakeMailServer, start_mail_server
from tests.support.processes.servers import Server, start_server
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, add_user, fill_cart
from tests.support.waiting import wait_until

pytestmark = pytest.mark.usefixtures("check_invariants")

UNFINISHED_ORDER_COUNT = 12


@pytest.fixture
async def mailbox() -> AsyncIterator[FakeMailServer]:
    async with start_mail_server() as mailbox:
        yield mailbox


@pytest.fixture
async def two_servers(
    shop: Shop, settings: Settings, tmp_path: Path, mailbox: FakeMailServer
) -> AsyncIterator[tuple[Server, Server]]:
    """Start two servers that deliver emails and sweep as often as possible."""
    environment = {
        "SMTP_URL": str(with_smtp_url(mailbox, settings).smtp_url),
        "WORKER": "true",
        "SWEEP_EVERY_SECONDS": "0.05",
        "LOG_FORMAT": "json",
    }
    async with (
        start_server(settings, tmp_path, **environment) as first,
        start_server(settings, tmp_path, **environment) as second,
    ):
        yield first, second


async def test_flows_continue_on_the_other_server(
    two_servers: tuple[Server, Server], shop: Shop, postgres: asyncpg.Connection, mailbox: FakeMailServer
) -> None:
    first_client, second_client = (server.client for server in two_servers)
    user = await add_user(shop, "ann@example.com")
    await fill_cart(shop, user, (await add_book(shop, "Emma"), 1))
    tokens = await log_in(first_client, "ann@example.com")
    ann = Customer(user, second_client.with_token(tokens.access_token))
    result = await ann.checkout("once")
    assert result["__typename"] == "OrderPlaced"
    assert await Customer(user, first_client.with_token(tokens.access_token)).checkout("once") == result

    tokens = await refresh_session(second_client, tokens)
    assert await log_out(first_client, tokens.refresh_token) == 1
    assert (await second_client.with_token(tokens.access_token).execute(ME_QUERY)).codes == ["UNAUTHENTICATED"]
    assert await wait_until_queue_is_empty(postgres) == [("ORDER_CONFIRMED", "SENT")]
    assert len(mailbox.find_messages("ann@example.com")) == 1


async def test_unfinished_work_is_completed_once(
    two_servers: tuple[Server, Server], shop: Shop, postgres: asyncpg.Connection, mailbox: FakeMailServer
) -> None:
    """Half of the pending orders are paid already."""
    book = await add_book(shop, stock=UNFINISHED_ORDER_COUNT)
    for number in range(UNFINISHED_ORDER_COUNT):
        customer = await add_customer(two_servers[0].client, shop, (book, 1))
        order = await orders._reserve(shop, customer.user.id, CheckoutRequest("once", payment_token="mock-approve"))
        assert order is not None
        if number % 2:
            await shop.payments.charge(str(order.id), order.total, order.currency, order.payment_token)
    await age_orders(postgres)

    async def are_final() -> bool:
        return not await postgres.fetchval("SELECT count(*) FROM orders WHERE status = 'PENDING'")

    await wait_until(are_final, 60)
    assert await wait_until_queue_is_empty(postgres) == [("ORDER_CONFIRMED", "SENT")] * (UNFINISHED_ORDER_COUNT // 2)
    assert len(mailbox.messages) == UNFINISHED_ORDER_COUNT // 2
    finalizations = Counter(
        line["order"]
        for server in two_servers
        for line in _read_log(server)
        if line["event"] == "pending_order_finalized"
    )
    assert set(finalizations.values()) == {1}
    assert len(finalizations) == UNFINISHED_ORDER_COUNT


def _read_log(server: Server) -> list[dict[str, str]]:
    return [json.loads(line) for line in server.log.read_text("utf-8").splitlines() if line.startswith("{")]
