"""Checkout over HTTP: what it takes, what it answers, and where the parcel goes."""

import asyncio

import asyncpg
import pytest

from domain.payments import Declined
from domain.shop import Shop
from server.settings import Settings
from tests.client import Visitor
from tests.customers import CHECKOUT, Customer, add_customer
from tests.factories import add_book, fill_cart
from tests.memory import remembered, stock_is_explained, stock_of
from tests.providers import SlowPayments, paid_through

ADDRESS = {"recipient": "Ada Lovelace", "line1": "12 St James's Square", "city": "London", "country": "GB"}
WHOLE_ADDRESS = ADDRESS | {"line2": "Flat 3", "region": "Greater London", "postalCode": "SW1Y 4JH", "phone": "+44 20 1"}


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop) -> Customer:
    """With two copies of Emma in the cart."""
    return await add_customer(visitor, shop, (await add_book(shop, "Emma", stock=5, price="7.50"), 2))


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


async def test_visitors_cannot_buy(visitor: Visitor, customer: Customer, postgres: asyncpg.Connection) -> None:
    before = await remembered(postgres)
    reply = await visitor.ask(CHECKOUT, input={"idempotencyKey": "k"})
    assert (reply.data, reply.codes) == ({"checkout": None}, ["UNAUTHENTICATED"])
    assert await remembered(postgres) == before


@pytest.mark.parametrize(
    ("path", "value", "rule"),
    [
        ("idempotencyKey", "", "REQUIRED"),
        ("idempotencyKey", " \t ", "REQUIRED"),
        ("idempotencyKey", "k" * 201, "TOO_LONG"),
        ("idempotencyKey", "k\0", "MALFORMED"),
        ("paymentToken", "t" * 501, "TOO_LONG"),
        ("paymentToken", "t\nt", "MALFORMED"),
    ],
)
async def test_keys_and_tokens_out_of_bounds_are_refused(
    customer: Customer, postgres: asyncpg.Connection, path: str, value: str, rule: str
) -> None:
    before = await remembered(postgres)
    reply = await customer.ask(CHECKOUT, input={"idempotencyKey": "k", path: value})
    assert reply["checkout"]["issues"][0] | {"message": ""} == {"path": [path], "rule": rule, "message": ""}
    assert await remembered(postgres) == before


@pytest.mark.parametrize("total", ["abc", "NaN", "Infinity", "1e3", "", "1" * 21, True, [], "１"])
async def test_what_is_no_total_is_a_wrong_call(
    customer: Customer, postgres: asyncpg.Connection, total: object
) -> None:
    before = await remembered(postgres)
    reply = await customer.tries_to_buy(expectedTotal=total)
    assert (reply.data, reply.codes) == (None, ["BAD_USER_INPUT"])
    assert await remembered(postgres) == before


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("recipient", " ", "REQUIRED"),
        ("line1", "", "REQUIRED"),
        ("city", "x" * 201, "TOO_LONG"),
        ("line2", "x" * 201, "TOO_LONG"),
        ("region", "a\x07", "MALFORMED"),
        ("postalCode", "x" * 201, "TOO_LONG"),
        ("phone", "1\n2", "MALFORMED"),
        ("country", "XX", "MALFORMED"),
        ("country", "GBR", "MALFORMED"),
        ("country", "", "MALFORMED"),
        ("country", "ß", "MALFORMED"),
    ],
)
async def test_addresses_nobody_can_deliver_to_are_refused(
    customer: Customer, postgres: asyncpg.Connection, field: str, value: str, rule: str
) -> None:
    before = await remembered(postgres)
    end = await customer.buys(shippingAddress=ADDRESS | {field: value})
    assert [(issue["path"], issue["rule"]) for issue in end["issues"]] == [(["shippingAddress", field], rule)]
    assert await remembered(postgres) == before


async def test_every_issue_is_named_at_once(customer: Customer) -> None:
    end = await customer.buys("", shippingAddress={"recipient": "", "line1": "", "city": "", "country": "?"})
    paths = [".".join(issue["path"]) for issue in end["issues"]]
    names = ("recipient", "line1", "city", "country")
    assert paths == ["idempotencyKey", *(f"shippingAddress.{name}" for name in names)]


async def test_a_total_beyond_what_is_counted_in_is_refused(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    dear = await add_book(shop, price="99999999.99", stock=999)
    customer = await add_customer(visitor, shop, (dear, 999))
    assert (await customer.cart())["total"]["amount"] == "99899999990.01"
    before = await remembered(postgres)
    end = await customer.buys()
    assert [(issue["path"], issue["rule"]) for issue in end["issues"]] == [(["expectedTotal"], "TOO_LARGE")]
    assert await remembered(postgres) == before


# ── Outcomes ──────────────────────────────────────────────────────────────────────────────


async def test_an_order_tells_what_was_bought(customer: Customer, shop: Shop, postgres: asyncpg.Connection) -> None:
    persuasion = await add_book(shop, "Persuasion", stock=1, price="0.99")
    await fill_cart(shop, customer.member, (persuasion, 1))
    end = await customer.buys(expectedTotal="15.99", shippingAddress=WHOLE_ADDRESS)

    assert end["__typename"] == "OrderPlaced"
    order = end["order"]
    assert [(item["title"], item["quantity"]) for item in order["items"]] == [("Emma", 2), ("Persuasion", 1)]
    assert (order["status"], order["totalQuantity"], order["viewerCanCancel"]) == ("CONFIRMED", 3, True)
    assert order["total"] == {"amount": "15.99", "currency": "EUR"}
    assert order["shippingAddress"] == WHOLE_ADDRESS
    assert order["customer"]["id"] == customer.member.global_id
    assert (order["trackingUrl"], order["shippedAt"], order["cancelledAt"]) == (None, None, None)
    assert await customer.cart_lines() == []
    assert await stock_of(postgres, persuasion) == 0
    assert await stock_is_explained(postgres, shop)


async def test_without_an_address_it_is_picked_up(customer: Customer) -> None:
    assert (await customer.buys())["order"]["shippingAddress"] is None


async def test_an_address_is_kept_tidy(customer: Customer) -> None:
    end = await customer.buys(shippingAddress=ADDRESS | {"city": "  London ", "country": "gb", "line2": " "})
    nothing = {"line2": None, "region": None, "postalCode": None, "phone": None}
    assert end["order"]["shippingAddress"] == ADDRESS | nothing


async def test_a_declined_payment_puts_the_books_back_on_top_of_what_was_added_meanwhile(
    visitor: Visitor, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    emma, persuasion = await add_book(shop, "Emma", stock=3), await add_book(shop, "Persuasion", stock=2000)
    customer = await add_customer(visitor, shop, (emma, 2), (persuasion, 600))
    provider = SlowPayments(outcome=Declined("No money."))
    async with paid_through(provider, settings) as slow:
        purchase = asyncio.create_task(customer.at(slow).buys())
        await provider.asked.wait()
        await fill_cart(shop, customer.member, (emma, 1), (persuasion, 500))
        provider.go_on.set()
        end = await purchase

    assert (end["__typename"], end["code"]) == ("PaymentFailed", "ORDER_PAYMENT_FAILED")
    assert "No money." in end["message"]
    assert (end["order"]["status"], end["order"]["viewerCanCancel"]) == ("PAYMENT_FAILED", False)
    assert sorted(await customer.cart_lines()) == [("Emma", 3), ("Persuasion", 999)]
    assert await stock_of(postgres, emma) == 3
    assert await stock_is_explained(postgres, shop)
