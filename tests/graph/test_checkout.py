"""Checkout over HTTP: its input, its results and the shipping address."""

import asyncio

import asyncpg
import pytest

from domain.payments import Declined
from domain.shop import Shop
from server.settings import Settings
from tests.support.database.db_snapshots import get_stock, is_stock_consistent, take_snapshot
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.shop.customers import CHECKOUT_MUTATION, Customer, add_customer
from tests.support.shop.factories import add_book, fill_cart
from tests.support.shop.payment_providers import SlowPayments

ADDRESS = {"recipient": "Ada Lovelace", "line1": "12 St James's Square", "city": "London", "country": "GB"}
FULL_ADDRESS = ADDRESS | {"line2": "Flat 3", "region": "Greater London", "postalCode": "SW1Y 4JH", "phone": "+44 20 1"}


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    """Return a customer with two copies of Emma in the cart."""
    return await add_customer(client, shop, (await add_book(shop, "Emma", stock=5, price="7.50"), 2))


# ── User errors ───────────────────────────────────────────────────────────────────────────


async def test_anonymous_callers_cannot_check_out(
    client: ApiClient, customer: Customer, postgres: asyncpg.Connection
) -> None:
    before = await take_snapshot(postgres)
    response = await client.execute(CHECKOUT_MUTATION, input={"idempotencyKey": "k"})
    assert (response.data, response.codes) == ({"checkout": None}, ["UNAUTHENTICATED"])
    assert await take_snapshot(postgres) == before


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
async def test_keys_and_tokens_of_invalid_length_are_rejected(
    customer: Customer, postgres: asyncpg.Connection, path: str, value: str, rule: str
) -> None:
    before = await take_snapshot(postgres)
    response = await customer.execute(CHECKOUT_MUTATION, input={"idempotencyKey": "k", path: value})
    assert response["checkout"]["issues"][0] | {"message": ""} == {"path": [path], "rule": rule, "message": ""}
    assert await take_snapshot(postgres) == before


@pytest.mark.parametrize("total", ["abc", "NaN", "Infinity", "1e3", "", "1" * 21, True, [], "１"])
async def test_malformed_total_is_a_request_error(
    customer: Customer, postgres: asyncpg.Connection, total: object
) -> None:
    before = await take_snapshot(postgres)
    response = await customer.try_checkout(expectedTotal=total)
    assert (response.data, response.codes) == (None, ["BAD_USER_INPUT"])
    assert await take_snapshot(postgres) == before


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
        ("recipient", "\u2061\u2062", "MALFORMED"),
        ("line2", "Flat\u007f", "MALFORMED"),
        ("country", "EU", "MALFORMED"),
        ("country", "XX", "MALFORMED"),
        ("country", "GBR", "MALFORMED"),
        ("country", "", "MALFORMED"),
        ("country", "ß", "MALFORMED"),
    ],
)
async def test_invalid_shipping_addresses_are_rejected(
    customer: Customer, postgres: asyncpg.Connection, field: str, value: str, rule: str
) -> None:
    before = await take_snapshot(postgres)
    result = await customer.checkout(shippingAddress=ADDRESS | {field: value})
    assert [(issue["path"], issue["rule"]) for issue in result["issues"]] == [(["shippingAddress", field], rule)]
    assert await take_snapshot(postgres) == before


async def test_all_validation_errors_are_reported(customer: Customer) -> None:
    result = await customer.checkout("", shippingAddress={"recipient": "", "line1": "", "city": "", "country": "?"})
    paths = [".".join(issue["path"]) for issue in result["issues"]]
    names = ("recipient", "line1", "city", "country")
    assert paths == ["idempotencyKey", *(f"shippingAddress.{name}" for name in names)]


async def test_total_above_maximum_is_rejected(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    expensive_book = await add_book(shop, price="99999999.99", stock=999)
    customer = await add_customer(client, shop, (expensive_book, 999))
    assert (await customer.get_cart())["total"]["amount"] == "99899999990.01"
    before = await take_snapshot(postgres)
    result = await customer.checkout()
    assert [(issue["path"], issue["rule"]) for issue in result["issues"]] == [(["expectedTotal"], "TOO_LARGE")]
    assert await take_snapshot(postgres) == before


# ── Results ───────────────────────────────────────────────────────────────────────────────


async def test_order_contains_purchased_items(customer: Customer, shop: Shop, postgres: asyncpg.Connection) -> None:
    persuasion = await add_book(shop, "Persuasion", stock=1, price="0.99")
    await fill_cart(shop, customer.user, (persuasion, 1))
    result = await customer.checkout(expectedTotal="15.99", shippingAddress=FULL_ADDRESS)

    assert result["__typename"] == "OrderPlaced"
    order = result["order"]
    assert [(item["title"], item["quantity"]) for item in order["items"]] == [("Emma", 2), ("Persuasion", 1)]
    assert (order["status"], order["totalQuantity"], order["viewerCanCancel"]) == ("CONFIRMED", 3, True)
    assert order["total"] == {"amount": "15.99", "currency": "EUR"}
    assert order["shippingAddress"] == FULL_ADDRESS
    assert order["customer"]["id"] == customer.user.global_id
    assert (order["trackingUrl"], order["shippedAt"], order["cancelledAt"]) == (None, None, None)
    assert await customer.get_cart_lines() == []
    assert await get_stock(postgres, persuasion) == 0
    assert await is_stock_consistent(postgres)


async def test_order_without_address_is_for_pickup(customer: Customer) -> None:
    assert (await customer.checkout())["order"]["shippingAddress"] is None


async def test_shipping_address_is_normalized(customer: Customer) -> None:
    result = await customer.checkout(shippingAddress=ADDRESS | {"city": "  London ", "country": "gb", "line2": " "})
    empty_fields = {"line2": None, "region": None, "postalCode": None, "phone": None}
    assert result["order"]["shippingAddress"] == ADDRESS | empty_fields


async def test_parcels_go_to_kosovo(customer: Customer) -> None:
    result = await customer.checkout(shippingAddress=ADDRESS | {"city": "Prizren", "country": "xk"})
    assert result["order"]["shippingAddress"]["country"] == "XK"


async def test_an_obsolete_country_code_is_rejected_with_the_current_one(
    customer: Customer, postgres: asyncpg.Connection
) -> None:
    before = await take_snapshot(postgres)
    result = await customer.checkout(shippingAddress=ADDRESS | {"country": "UK"})
    [issue] = result["issues"]
    assert issue["message"] == "The country must be a two-letter ISO 3166-1 code. Instead of UK, use GB."
    assert await take_snapshot(postgres) == before


async def test_expected_total_may_have_the_rounding_error_of_a_sum(client: ApiClient, shop: Shop) -> None:
    books = [(await add_book(shop, price=price), 1) for price in ("1.10", "2.20")]
    customer = await add_customer(client, shop, *books)
    total = 1.1 + 2.2
    assert str(total) == "3.3000000000000003"
    result = await customer.checkout(expectedTotal=total)
    assert (result["__typename"], result["order"]["total"]["amount"]) == ("OrderPlaced", "3.30")


@pytest.mark.parametrize("total", [15.001, 15.0000001, "15.000000001"])
async def test_expected_total_with_more_than_two_decimals_is_rejected(
    customer: Customer, postgres: asyncpg.Connection, total: float | str
) -> None:
    before = await take_snapshot(postgres)
    result = await customer.checkout(expectedTotal=total)
    assert [(issue["path"], issue["rule"]) for issue in result["issues"]] == [(["expectedTotal"], "MALFORMED")]
    assert await take_snapshot(postgres) == before


async def test_declined_payment_restores_books_to_changed_cart(
    client: ApiClient, shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    emma, persuasion = await add_book(shop, "Emma", stock=3), await add_book(shop, "Persuasion", stock=2000)
    customer = await add_customer(client, shop, (emma, 2), (persuasion, 600))
    provider = SlowPayments(outcome=Declined("No money."))
    async with running_client(settings, provider) as slow_client:
        checkout = asyncio.create_task(customer.with_client(slow_client).checkout())
        await provider.charge_started.wait()
        await fill_cart(shop, customer.user, (emma, 1), (persuasion, 500))
        provider.may_continue.set()
        result = await checkout

    assert (result["__typename"], result["code"]) == ("PaymentFailed", "ORDER_PAYMENT_FAILED")
    assert "No money." in result["message"]
    assert (result["order"]["status"], result["order"]["viewerCanCancel"]) == ("PAYMENT_FAILED", False)
    assert sorted(await customer.get_cart_lines()) == [("Emma", 3), ("Persuasion", 999)]
    assert await get_stock(postgres, emma) == 3
    assert await is_stock_consistent(postgres)
