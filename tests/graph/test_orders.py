"""Orders over HTTP: finding and listing a customer's own orders, which others cannot find."""

from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from persistence.tables import new_id
from server.settings import Settings
from tests.support.database.db_snapshots import take_snapshot
from tests.support.http.apps import running_client
from tests.support.http.client import ApiClient
from tests.support.shop.customers import CANCEL_ORDER, ORDER_FRAGMENT, Customer, add_customer
from tests.support.shop.factories import add_book, fill_cart

ORDER_QUERY = ORDER_FRAGMENT + "query ($by: OrderLookup!) { order(by: $by) { ...OrderFields } }"
NODE_QUERY = "query ($id: ID!) { node(id: $id) { __typename id } }"
NODES_QUERY = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
ORDERS_QUERY = """
query ($statuses: [OrderStatus!], $first: Int, $after: String, $last: Int, $before: String) {
  me {
    orders(statuses: $statuses, first: $first, after: $after, last: $last, before: $before) {
      totalCount
      nodes { number status }
      pageInfo { hasNextPage hasPreviousPage startCursor endCursor }
    }
  }
}
"""


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", stock=50)


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop)


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop, role="ADMIN")


async def _place_order(
    shop: Shop, customer: Customer, book: BookRow, key: str = "key", token: str = "mock-approve"
) -> Any:
    await fill_cart(shop, customer.user, (book, 1))
    return (await customer.checkout(key, token))["order"]


# ── Orders of other users ─────────────────────────────────────────────────────────────────


async def test_order_of_another_user_is_not_found(
    customer: Customer, client: ApiClient, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    order = await _place_order(shop, customer, book)
    other_customer, before = await add_customer(client, shop), await take_snapshot(postgres)

    for by in ({"id": order["id"]}, {"number": order["number"]}):
        assert (await other_customer.execute(ORDER_QUERY, by=by))["order"] is None
    assert (await other_customer.execute(NODE_QUERY, id=order["id"]))["node"] is None
    assert (await other_customer.execute(NODES_QUERY, ids=[order["id"]]))["nodes"] == [None]
    assert await other_customer.list_orders() == []
    assert (await other_customer.cancel_order(order["id"]))["__typename"] == "NotFound"
    assert await take_snapshot(postgres) == before


async def test_order_of_another_user_and_missing_order_get_equal_responses(
    customer: Customer, client: ApiClient, shop: Shop, book: BookRow
) -> None:
    existing_id, missing_id = (await _place_order(shop, customer, book))["id"], to_global_id("Order", new_id())
    other_customer = await add_customer(client, shop)
    responses = [
        (await other_customer.execute(CANCEL_ORDER, id=id_))["cancelOrder"] for id_ in (existing_id, missing_id)
    ]
    assert [response.pop("id") for response in responses] == [existing_id, missing_id]
    assert responses[0] == responses[1]


async def test_anonymous_caller_sees_no_order(customer: Customer, client: ApiClient, shop: Shop, book: BookRow) -> None:
    order = await _place_order(shop, customer, book)
    response = await client.execute(ORDER_QUERY, by={"id": order["id"]})
    assert (response.data, response.codes) == ({"order": None}, ["UNAUTHENTICATED"])
    assert (await client.execute(NODE_QUERY, id=order["id"]))["node"] is None
    response = await client.execute(CANCEL_ORDER, id=order["id"])
    assert (response.data, response.codes) == ({"cancelOrder": None}, ["UNAUTHENTICATED"])


async def test_admins_see_every_order(customer: Customer, admin: Customer, shop: Shop, book: BookRow) -> None:
    order = await _place_order(shop, customer, book)
    assert (await admin.execute(ORDER_QUERY, by={"number": order["number"]}))["order"] == order
    assert (await admin.execute(NODE_QUERY, id=order["id"]))["node"] == {"__typename": "Order", "id": order["id"]}
    assert await admin.list_orders() == []


# ── One order ─────────────────────────────────────────────────────────────────────────────


async def test_an_order_is_found_by_id_and_by_number(customer: Customer, shop: Shop, book: BookRow) -> None:
    order = await _place_order(shop, customer, book)
    dictated_number = order["number"].lower().replace("-", " ").replace("0", "o").replace("1", "l")
    pasted_number = f" #{order['number']}\u200b".replace("-", "\u2013")
    for by in (
        {"id": order["id"]},
        *({"number": number} for number in (order["number"], dictated_number, pasted_number)),
    ):
        assert (await customer.execute(ORDER_QUERY, by=by))["order"] == order
    assert (await customer.execute(NODES_QUERY, ids=[order["id"]]))["nodes"] == [
        {"__typename": "Order", "id": order["id"]}
    ]


@pytest.mark.parametrize("number", ["", "0000-0000-0000", "UUUU-UUUU-UUUU", "x" * 5000, "\0", "1234-5678-90", "'"])
async def test_malformed_order_number_finds_nothing(customer: Customer, number: str) -> None:
    assert (await customer.execute(ORDER_QUERY, by={"number": number}))["order"] is None


@pytest.mark.parametrize(
    "by",
    [{"id": ""}, {"id": "1"}, {"id": to_global_id("Book", new_id())}, {}, {"id": None}, {"id": "x", "number": "y"}],
)
async def test_invalid_order_key_is_a_request_error(customer: Customer, by: dict[str, Any]) -> None:
    assert (await customer.execute(ORDER_QUERY, by=by)).codes == ["BAD_USER_INPUT"]


# ── Lists ─────────────────────────────────────────────────────────────────────────────────


async def _fetch_page(customer: Customer, **arguments: Any) -> tuple[list[str], Any]:
    page = (await customer.execute(ORDERS_QUERY, **arguments))["me"]["orders"]
    return [order["number"] for order in page["nodes"]], page


async def test_orders_are_listed_newest_first_in_pages(customer: Customer, shop: Shop, book: BookRow) -> None:
    numbers = [(await _place_order(shop, customer, book, str(key)))["number"] for key in range(5)][::-1]

    numbers_on_page, page = await _fetch_page(customer)
    assert (numbers_on_page, page["totalCount"]) == (numbers, 5)
    first, page = await _fetch_page(customer, first=2)
    assert (first, page["totalCount"]) == (numbers[:2], 5)
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (True, False)
    second, page = await _fetch_page(customer, first=2, after=page["pageInfo"]["endCursor"])
    assert second == numbers[2:4]
    before, page = await _fetch_page(customer, last=2, before=page["pageInfo"]["startCursor"])
    assert before == numbers[:2]
    last, page = await _fetch_page(customer, last=2)
    assert last == numbers[3:]
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (False, True)


async def test_orders_are_filtered_by_status(customer: Customer, shop: Shop, book: BookRow) -> None:
    confirmed_number = (await _place_order(shop, customer, book, "1"))["number"]
    cancelled = await _place_order(shop, customer, book, "2")
    await customer.cancel_order(cancelled["id"])
    failed_number = (await _place_order(shop, customer, book, "3", "mock-decline"))["number"]

    for statuses, expected in (
        (None, [failed_number, cancelled["number"], confirmed_number]),
        (["CONFIRMED"], [confirmed_number]),
        (["CANCELLED", "PAYMENT_FAILED", "CANCELLED"], [failed_number, cancelled["number"]]),
        (["SHIPPED"], []),
        ([], []),
    ):
        numbers, page = await _fetch_page(customer, statuses=statuses)
        assert (numbers, page["totalCount"]) == (expected, len(expected))


async def test_foreign_cursor_is_a_request_error(
    customer: Customer, client: ApiClient, shop: Shop, book: BookRow
) -> None:
    await _place_order(shop, customer, book)
    _, page = await _fetch_page(customer)
    cursor, other_customer = page["pageInfo"]["endCursor"], await add_customer(client, shop)
    for caller, arguments in (
        (other_customer, {"after": cursor}),
        (customer, {"after": cursor, "statuses": ["CONFIRMED"]}),
        (customer, {"before": cursor[:-1]}),
        (customer, {"after": " "}),
    ):
        assert (await caller.execute(ORDERS_QUERY, **arguments)).codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("arguments", [{"first": -1}, {"first": 101}, {"last": 101}, {"first": 1, "last": 1}])
async def test_page_size_out_of_range_is_a_request_error(customer: Customer, arguments: dict[str, int]) -> None:
    assert (await customer.execute(ORDERS_QUERY, **arguments)).codes == ["BAD_USER_INPUT"]


async def test_unknown_status_is_a_request_error(customer: Customer) -> None:
    assert (await customer.execute(ORDERS_QUERY, statuses=["LOST"])).codes == ["BAD_USER_INPUT"]


async def test_order_keeps_its_currency(customer: Customer, shop: Shop, book: BookRow, settings: Settings) -> None:
    await _place_order(shop, customer, book)
    async with running_client(settings, currency="USD") as client:
        document = (
            "{ me { orders { nodes { total { currency } items { unitPrice { currency } lineTotal { currency } } } } } }"
        )
        [order] = (await customer.with_client(client).execute(document))["me"]["orders"]["nodes"]
    [item] = order["items"]
    assert [money["currency"] for money in (order["total"], item["unitPrice"], item["lineTotal"])] == ["EUR"] * 3
