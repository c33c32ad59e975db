"""What becomes of an order over HTTP: sent by an administrator, or called off while that is still possible."""

import asyncio

import asyncpg
import pytest

from domain import catalog
from domain.shop import Shop
from domain.sweeping import sweep
from graph.ids import global_id
from persistence.catalog import Book
from persistence.models import new_id
from server.settings import Settings
from tests.client import Visitor
from tests.customers import CANCEL, ORDER, SHIP, Customer, add_customer
from tests.factories import add_book
from tests.locks import ORDERS, holding, until_waiting
from tests.memory import movements_of, payments, remembered, stock_is_explained, time_passes
from tests.providers import SlowPayments, paid_through

BY = ORDER + "query ($id: ID!) { order(by: {id: $id}) { ...OrderTold } }"


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", stock=5)


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop, book: Book) -> Customer:
    """With two copies of Emma in the cart."""
    return await add_customer(visitor, shop, (book, 2))


@pytest.fixture
async def administrator(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop, role="ADMIN")


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


async def test_customers_do_not_ship(customer: Customer, postgres: asyncpg.Connection) -> None:
    order = (await customer.buys())["order"]
    before = await remembered(postgres)
    reply = await customer.ask(SHIP, id=order["id"])
    assert (reply.data, reply.codes) == ({"shipOrder": None}, ["FORBIDDEN"])
    assert await remembered(postgres) == before


@pytest.mark.parametrize("document", [CANCEL, SHIP])
async def test_an_order_that_is_not_there_is_not_found(administrator: Customer, document: str) -> None:
    nowhere = global_id("Order", new_id())
    reply = await administrator.ask(document, id=nowhere)
    assert reply.data is not None
    [end] = reply.data.values()
    assert (end["__typename"], end["code"], end["id"]) == ("NotFound", "NOT_FOUND", nowhere)


@pytest.mark.parametrize("document", [CANCEL, SHIP])
async def test_what_is_no_id_of_an_order_is_a_wrong_call(administrator: Customer, book: Book, document: str) -> None:
    for id_ in ("", "1", global_id("Book", book.id)):
        assert (await administrator.ask(document, id=id_)).codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "www.example.com", "http://", "https://a b", "http://a\0", "x"])
async def test_a_tracking_link_is_an_address_on_the_web(
    customer: Customer, administrator: Customer, postgres: asyncpg.Connection, url: str
) -> None:
    order = (await customer.buys())["order"]
    before = await remembered(postgres)
    end = await administrator.ships(order["id"], url)
    assert {(*issue["path"], issue["rule"]) for issue in end["issues"]} == {("trackingUrl", "MALFORMED")}
    assert await remembered(postgres) == before


async def test_only_a_confirmed_order_is_shipped_or_cancelled(
    customer: Customer,
    administrator: Customer,
    shop: Shop,
    book: Book,
    settings: Settings,
    postgres: asyncpg.Connection,
) -> None:
    failed = (await customer.buys("failed", "mock-decline"))["order"]
    shipped = (await customer.buys("shipped"))["order"]
    await administrator.ships(shipped["id"])
    other = await add_customer(administrator.visitor, shop, (book, 1))
    cancelled = (await other.buys())["order"]
    await other.cancels(cancelled["id"])

    before = await remembered(postgres)
    for order, status in ((failed, "PAYMENT_FAILED"), (shipped, "SHIPPED"), (cancelled, "CANCELLED")):
        not_shipped, not_cancelled = await administrator.ships(order["id"]), await administrator.cancels(order["id"])
        assert (not_shipped["__typename"], not_shipped["code"]) == ("OrderNotShippable", "ORDER_NOT_SHIPPABLE")
        assert (not_cancelled["__typename"], not_cancelled["code"]) == ("OrderNotCancellable", "ORDER_NOT_CANCELLABLE")
        assert not_shipped["order"]["status"] == not_cancelled["order"]["status"] == status
        assert not not_cancelled["order"]["viewerCanCancel"]
    assert await remembered(postgres) == before


async def test_an_order_that_is_being_paid_is_neither_shipped_nor_cancelled(
    customer: Customer, administrator: Customer, settings: Settings, postgres: asyncpg.Connection
) -> None:
    provider = SlowPayments()
    async with paid_through(provider, settings) as slow:
        purchase = asyncio.create_task(customer.at(slow).buys())
        await provider.asked.wait()
        [pending] = await customer.orders()
        before = await remembered(postgres)
        assert (pending["status"], pending["viewerCanCancel"]) == ("PENDING", False)
        assert (await customer.cancels(pending["id"]))["__typename"] == "OrderNotCancellable"
        assert (await administrator.ships(pending["id"]))["__typename"] == "OrderNotShippable"
        assert await remembered(postgres) == before
        provider.go_on.set()
        assert (await purchase)["order"]["status"] == "CONFIRMED"


# ── Shipping ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "kept"), [("https://dhl.test/1?a=b", "https://dhl.test/1?a=b"), (None, None), ("", None)]
)
async def test_a_shipped_order_tells_when_and_where_to_follow_it(
    customer: Customer, administrator: Customer, postgres: asyncpg.Connection, url: str | None, kept: str | None
) -> None:
    order = (await customer.buys())["order"]
    end = await administrator.ships(order["id"], url)
    assert (end["__typename"], end["order"]["status"], end["order"]["trackingUrl"]) == ("OrderShipped", "SHIPPED", kept)
    assert end["order"]["shippedAt"] is not None
    [seen] = await customer.orders()
    assert seen == end["order"] | {"viewerCanCancel": False}
    assert await payments(postgres) == [("APPROVED", False)]


async def test_an_order_is_shipped_or_cancelled_but_not_both(
    customer: Customer, administrator: Customer, book: Book, postgres: asyncpg.Connection, database_url: str
) -> None:
    order_id = (await customer.buys())["order"]["id"]
    async with holding(database_url, ORDERS, customer.member.id):
        shipping, cancelling = (
            asyncio.create_task(administrator.ships(order_id)),
            asyncio.create_task(customer.cancels(order_id)),
        )
        await until_waiting(postgres, 2)
    ends = ((await shipping)["__typename"], (await cancelling)["__typename"])

    sold, back = [("NEW_BOOK", 5), ("SALE", -2)], ("CANCELLATION", 2)
    if ends == ("OrderShipped", "OrderNotCancellable"):
        assert await movements_of(postgres, book) == sold
    else:
        assert ends == ("OrderNotShippable", "OrderCancelled")
        assert await movements_of(postgres, book) == [*sold, back]


# ── Cancelling ────────────────────────────────────────────────────────────────────────────


async def test_cancelling_puts_the_books_back_and_the_money_follows_once(
    customer: Customer, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    order = (await customer.buys())["order"]
    assert order["viewerCanCancel"]
    end = await customer.cancels(order["id"])

    assert (end["__typename"], end["order"]["status"]) == ("OrderCancelled", "CANCELLED")
    assert end["order"]["cancelledAt"] is not None
    assert not end["order"]["viewerCanCancel"]
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("CANCELLATION", 2)]
    assert await stock_is_explained(postgres, shop)
    assert await customer.cart_lines() == []

    assert [await sweep(shop), await sweep(shop)] == [1, 0]
    await time_passes(postgres)
    assert await sweep(shop) == 0
    assert await payments(postgres) == [("APPROVED", True)]


async def test_two_clicks_on_cancel_put_the_books_back_once(
    customer: Customer, book: Book, postgres: asyncpg.Connection, database_url: str
) -> None:
    order_id = (await customer.buys())["order"]["id"]
    async with holding(database_url, ORDERS, customer.member.id):
        clicks = [asyncio.create_task(customer.cancels(order_id)) for _ in range(2)]
        await until_waiting(postgres, 2)
    ends = {end["__typename"] for end in await asyncio.gather(*clicks)}
    assert ends == {"OrderCancelled", "OrderNotCancellable"}
    assert await movements_of(postgres, book) == [("NEW_BOOK", 5), ("SALE", -2), ("CANCELLATION", 2)]


async def test_an_administrator_cancels_for_a_customer(customer: Customer, administrator: Customer) -> None:
    order = (await customer.buys())["order"]
    assert (await administrator.ask(BY, id=order["id"]))["order"]["viewerCanCancel"]
    assert (await administrator.cancels(order["id"]))["order"]["customer"]["id"] == customer.member.global_id


async def test_an_order_is_cancelled_though_its_book_is_gone(
    customer: Customer, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    order = (await customer.buys())["order"]
    await catalog.delete_book(shop, book.id)
    assert (await customer.cancels(order["id"]))["__typename"] == "OrderCancelled"
    assert await sweep(shop) == 1
    assert await payments(postgres) == [("APPROVED", True)]
