"""Orders over HTTP: shipping by an administrator, and cancelling before shipment."""

import asyncio

import asyncpg
import pytest

from domain import catalog
from domain.shop import Shop
from domain.sweeper import sweep
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from persistence.tables import new_id
from server.settings import Settings
from tests.support.database.db_snapshots import (
    age_orders,
    is_stock_consistent,
    list_payments,
    list_stock_movements,
    take_snapshot,
)
from tests.support.database.locks import LOCK_ORDERS, hold_lock, wait_for_blocked
from tests.support.email.emails import (
    get_text_and_html,
    list_email_statuses,
    run_worker,
    wait_until_queue_is_empty,
    with_smtp_url,
)
from tests.support.email.smtp import start_mail_server
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.shop.customers import CANCEL_ORDER, ORDER_FRAGMENT, SHIP_ORDER, Customer, add_customer
from tests.support.shop.factories import add_book
from tests.support.shop.payment_providers import SlowPayments

ORDER_QUERY = ORDER_FRAGMENT + "query ($id: ID!) { order(by: {id: $id}) { ...OrderFields } }"


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", stock=5)


@pytest.fixture
async def customer(client: ApiClient, shop: Shop, book: BookRow) -> Customer:
    """Return a customer with two copies of Emma in the cart."""
    return await add_customer(client, shop, (book, 2))


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop, role="ADMIN")


# ── User errors ───────────────────────────────────────────────────────────────────────────


async def test_customers_cannot_ship(customer: Customer, postgres: asyncpg.Connection) -> None:
    order = (await customer.checkout())["order"]
    before = await take_snapshot(postgres)
    response = await customer.execute(SHIP_ORDER, id=order["id"])
    assert (response.data, response.codes) == ({"shipOrder": None}, ["FORBIDDEN"])
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize("document", [CANCEL_ORDER, SHIP_ORDER])
async def test_unknown_order_is_not_found(admin: Customer, document: str) -> None:
    unknown_id = to_global_id("Order", new_id())
    response = await admin.execute(document, id=unknown_id)
    assert response.data is not None
    [result] = response.data.values()
    assert (result["__typename"], result["code"], result["id"]) == ("NotFound", "NOT_FOUND", unknown_id)


@pytest.mark.parametrize("document", [CANCEL_ORDER, SHIP_ORDER])
async def test_invalid_order_id_is_a_request_error(admin: Customer, book: BookRow, document: str) -> None:
    for id_ in ("", "1", to_global_id("Book", book.id)):
        assert (await admin.execute(document, id=id_)).codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "www.example.com", "http://", "https://a b", "http://a\0", "x"])
async def test_tracking_url_must_be_a_web_url(
    customer: Customer, admin: Customer, postgres: asyncpg.Connection, url: str
) -> None:
    order = (await customer.checkout())["order"]
    before = await take_snapshot(postgres)
    result = await admin.ship_order(order["id"], url)
    assert {(*issue["path"], issue["rule"]) for issue in result["issues"]} == {("trackingUrl", "MALFORMED")}
    assert await take_snapshot(postgres) == before


async def test_only_a_confirmed_order_is_shipped_or_cancelled(
    customer: Customer,
    admin: Customer,
    shop: Shop,
    book: BookRow,
    settings: Settings,
    postgres: asyncpg.Connection,
) -> None:
    failed = (await customer.checkout("failed", "mock-decline"))["order"]
    shipped = (await customer.checkout("shipped"))["order"]
    await admin.ship_order(shipped["id"])
    other = await add_customer(admin.client, shop, (book, 1))
    cancelled = (await other.checkout())["order"]
    await other.cancel_order(cancelled["id"])

    before = await take_snapshot(postgres)
    for order, status in ((failed, "PAYMENT_FAILED"), (shipped, "SHIPPED"), (cancelled, "CANCELLED")):
        ship_result, cancel_result = (
            await admin.ship_order(order["id"]),
            await admin.cancel_order(order["id"]),
        )
        assert (ship_result["__typename"], ship_result["code"]) == ("OrderNotShippable", "ORDER_NOT_SHIPPABLE")
        assert (cancel_result["__typename"], cancel_result["code"]) == ("OrderNotCancellable", "ORDER_NOT_CANCELLABLE")
        assert ship_result["order"]["status"] == cancel_result["order"]["status"] == status
        assert not cancel_result["order"]["viewerCanCancel"]
    assert await take_snapshot(postgres) == before


async def test_pending_order_is_neither_shipped_nor_cancelled(
    customer: Customer, admin: Customer, settings: Settings, postgres: asyncpg.Connection
) -> None:
    provider = SlowPayments()
    async with running_client(settings, provider) as slow_client:
        checkout = asyncio.create_task(customer.with_client(slow_client).checkout())
        await provider.charge_started.wait()
        [pending_order] = await customer.list_orders()
        before = await take_snapshot(postgres)
        assert (pending_order["status"], pending_order["viewerCanCancel"]) == ("PENDING", False)
        assert (await customer.cancel_order(pending_order["id"]))["__typename"] == "OrderNotCancellable"
        assert (await admin.ship_order(pending_order["id"]))["__typename"] == "OrderNotShippable"
        assert await take_snapshot(postgres) == before
        provider.may_continue.set()
        assert (await checkout)["order"]["status"] == "CONFIRMED"


# ── Shipping ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "expected"), [("https://dhl.test/1?a=b", "https://dhl.test/1?a=b"), (None, None), ("", None), (" ", None)]
)
async def test_shipped_order_has_time_and_tracking_url(
    customer: Customer, admin: Customer, postgres: asyncpg.Connection, url: str | None, expected: str | None
) -> None:
    order = (await customer.checkout())["order"]
    result = await admin.ship_order(order["id"], url)
    assert (result["__typename"], result["order"]["status"], result["order"]["trackingUrl"]) == (
        "OrderShipped",
        "SHIPPED",
        expected,
    )
    assert result["order"]["shippedAt"] is not None
    [order_in_list] = await customer.list_orders()
    assert order_in_list == result["order"] | {"viewerCanCancel": False}
    assert await list_payments(postgres) == [("APPROVED", False)]


async def test_an_order_is_shipped_or_cancelled_but_not_both(
    customer: Customer, admin: Customer, book: BookRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    order_id = (await customer.checkout())["order"]["id"]
    async with hold_lock(database_url, LOCK_ORDERS, customer.user.id):
        shipment, cancellation = (
            asyncio.create_task(admin.ship_order(order_id)),
            asyncio.create_task(customer.cancel_order(order_id)),
        )
        await wait_for_blocked(postgres, 2)
    typenames = ((await shipment)["__typename"], (await cancellation)["__typename"])

    sale_movements, return_movement = [("NEW_BOOK", 5), ("SALE", -2)], ("CANCELLATION", 2)
    if typenames == ("OrderShipped", "OrderNotCancellable"):
        assert await list_stock_movements(postgres, book) == sale_movements
    else:
        assert typenames == ("OrderNotShippable", "OrderCancelled")
        assert await list_stock_movements(postgres, book) == [*sale_movements, return_movement]


# ── Correcting the tracking link ──────────────────────────────────────────────────────────


LINKS = [f"https://parcels.example.com/{number}" for number in range(3)]


async def test_corrected_tracking_link_is_emailed_again(
    customer: Customer, admin: Customer, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    order_id = (await customer.checkout())["order"]["id"]
    results = []
    async with start_mail_server() as mailbox, run_worker(shop, with_smtp_url(mailbox, settings)):
        for link in LINKS:
            results.append(await admin.ship_order(order_id, link))
            statuses = await wait_until_queue_is_empty(postgres)
    assert [(result["__typename"], result["order"]["trackingUrl"]) for result in results] == [
        ("OrderShipped", link) for link in LINKS
    ]
    assert len({result["order"]["shippedAt"] for result in results}) == 1
    assert statuses == [("ORDER_CONFIRMED", "SENT"), *[("ORDER_SHIPPED", "SENT")] * 3]
    messages = mailbox.find_messages(customer.user.row.email)
    texts = [get_text_and_html(message)[0] for message in messages if "on its way" in message["Subject"]]
    assert [[link in text for link in LINKS] for text in texts] == [
        [True, False, False],
        [False, True, False],
        [False, False, True],
    ]


async def test_link_corrected_before_the_email_is_sent_is_emailed_once(
    customer: Customer, admin: Customer, postgres: asyncpg.Connection
) -> None:
    order_id = (await customer.checkout())["order"]["id"]
    for link in LINKS:
        assert (await admin.ship_order(order_id, link))["order"]["trackingUrl"] == link
    assert await list_email_statuses(postgres) == [("ORDER_CONFIRMED", "QUEUED"), ("ORDER_SHIPPED", "QUEUED")]


async def test_link_corrected_while_the_email_is_being_sent_is_emailed_again(
    customer: Customer, admin: Customer, postgres: asyncpg.Connection
) -> None:
    order_id = (await customer.checkout())["order"]["id"]
    await admin.ship_order(order_id, LINKS[0])
    await postgres.execute("UPDATE letters SET taken_until = clock_timestamp() + interval '3 minutes'")
    for link in LINKS[1:]:
        await admin.ship_order(order_id, link)
    assert await list_email_statuses(postgres) == [("ORDER_CONFIRMED", "QUEUED"), *[("ORDER_SHIPPED", "QUEUED")] * 2]


@pytest.mark.parametrize("link", [None, "", LINKS[0], "javascript:alert(1)"])
async def test_missing_same_or_invalid_link_changes_nothing(
    customer: Customer, admin: Customer, postgres: asyncpg.Connection, link: str | None
) -> None:
    order_id = (await customer.checkout())["order"]["id"]
    await admin.ship_order(order_id, LINKS[0])
    before = await take_snapshot(postgres)
    expected = {LINKS[0]: "OrderShipped", "javascript:alert(1)": "InvalidInput"}.get(link or "", "OrderNotShippable")
    assert (await admin.ship_order(order_id, link))["__typename"] == expected
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize("links", [LINKS[:2], [LINKS[0], LINKS[0]]])
async def test_concurrent_corrections_leave_the_last_link(
    customer: Customer, admin: Customer, postgres: asyncpg.Connection, database_url: str, links: list[str]
) -> None:
    order_id = (await customer.checkout())["order"]["id"]
    await admin.ship_order(order_id, LINKS[2])
    await postgres.execute("UPDATE letters SET status = 'SENT', settled_at = now()")
    async with hold_lock(database_url, LOCK_ORDERS, customer.user.id):
        corrections = [asyncio.create_task(admin.ship_order(order_id, link)) for link in links]
        await wait_for_blocked(postgres, 2)
    assert [(await correction)["__typename"] for correction in corrections] == ["OrderShipped"] * 2
    assert (await list_email_statuses(postgres))[2:] == [("ORDER_SHIPPED", "QUEUED")]
    assert await postgres.fetchval("SELECT tracking_url FROM orders") in links


# ── Cancelling ────────────────────────────────────────────────────────────────────────────


async def test_cancelling_restores_stock_and_refunds_once(
    customer: Customer, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    order = (await customer.checkout())["order"]
    assert order["viewerCanCancel"]
    result = await customer.cancel_order(order["id"])

    assert (result["__typename"], result["order"]["status"]) == ("OrderCancelled", "CANCELLED")
    assert result["order"]["cancelledAt"] is not None
    assert not result["order"]["viewerCanCancel"]
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("CANCELLATION", 2)]
    assert await is_stock_consistent(postgres)
    assert await customer.get_cart_lines() == []

    assert [await sweep(shop), await sweep(shop)] == [1, 0]
    await age_orders(postgres)
    assert await sweep(shop) == 0
    assert await list_payments(postgres) == [("APPROVED", True)]


async def test_concurrent_cancellations_restore_stock_once(
    customer: Customer, book: BookRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    order_id = (await customer.checkout())["order"]["id"]
    async with hold_lock(database_url, LOCK_ORDERS, customer.user.id):
        cancellations = [asyncio.create_task(customer.cancel_order(order_id)) for _ in range(2)]
        await wait_for_blocked(postgres, 2)
    typenames = {result["__typename"] for result in await asyncio.gather(*cancellations)}
    assert typenames == {"OrderCancelled", "OrderNotCancellable"}
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("CANCELLATION", 2)]


async def test_an_administrator_cancels_for_a_customer(customer: Customer, admin: Customer) -> None:
    order = (await customer.checkout())["order"]
    assert (await admin.execute(ORDER_QUERY, id=order["id"]))["order"]["viewerCanCancel"]
    assert (await admin.cancel_order(order["id"]))["order"]["customer"]["id"] == customer.user.global_id


async def test_order_with_deleted_book_can_be_cancelled(
    customer: Customer, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    order = (await customer.checkout())["order"]
    await catalog.delete_book(shop, book.id)
    assert (await customer.cancel_order(order["id"]))["__typename"] == "OrderCancelled"
    assert await sweep(shop) == 1
    assert await list_payments(postgres) == [("APPROVED", True)]
