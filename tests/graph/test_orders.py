"""Orders over HTTP: finding them, listing them, and not finding those of others."""

from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.catalog import Book
from persistence.models import new_id
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor
from tests.customers import CANCEL, ORDER, Customer, add_customer
from tests.factories import add_book, fill_cart
from tests.memory import remembered

BY = ORDER + "query ($by: OrderLookup!) { order(by: $by) { ...OrderTold } }"
NODE = "query ($id: ID!) { node(id: $id) { __typename id } }"
NODES = "query ($ids: [ID!]!) { nodes(ids: $ids) { __typename id } }"
PAGE = """
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
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", stock=50)


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop)


@pytest.fixture
async def administrator(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop, role="ADMIN")


async def _order(shop: Shop, customer: Customer, book: Book, key: str = "key", token: str = "mock-approve") -> Any:
    await fill_cart(shop, customer.member, (book, 1))
    return (await customer.buys(key, token))["order"]


# ── Somebody else's order is not there ────────────────────────────────────────────────────


async def test_somebody_elses_order_is_not_there(
    customer: Customer, visitor: Visitor, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    order = await _order(shop, customer, book)
    stranger, before = await add_customer(visitor, shop), await remembered(postgres)

    for by in ({"id": order["id"]}, {"number": order["number"]}):
        assert (await stranger.ask(BY, by=by))["order"] is None
    assert (await stranger.ask(NODE, id=order["id"]))["node"] is None
    assert (await stranger.ask(NODES, ids=[order["id"]]))["nodes"] == [None]
    assert await stranger.orders() == []
    assert (await stranger.cancels(order["id"]))["__typename"] == "NotFound"
    assert await remembered(postgres) == before


async def test_somebody_elses_order_looks_like_one_that_never_was(
    customer: Customer, visitor: Visitor, shop: Shop, book: Book
) -> None:
    there, nowhere = (await _order(shop, customer, book))["id"], global_id("Order", new_id())
    stranger = await add_customer(visitor, shop)
    answers = [(await stranger.ask(CANCEL, id=id_))["cancelOrder"] for id_ in (there, nowhere)]
    assert [answer.pop("id") for answer in answers] == [there, nowhere]
    assert answers[0] == answers[1]


async def test_a_visitor_sees_no_order(customer: Customer, visitor: Visitor, shop: Shop, book: Book) -> None:
    order = await _order(shop, customer, book)
    reply = await visitor.ask(BY, by={"id": order["id"]})
    assert (reply.data, reply.codes) == ({"order": None}, ["UNAUTHENTICATED"])
    assert (await visitor.ask(NODE, id=order["id"]))["node"] is None
    reply = await visitor.ask(CANCEL, id=order["id"])
    assert (reply.data, reply.codes) == ({"cancelOrder": None}, ["UNAUTHENTICATED"])


async def test_administrators_see_every_order(
    customer: Customer, administrator: Customer, shop: Shop, book: Book
) -> None:
    order = await _order(shop, customer, book)
    assert (await administrator.ask(BY, by={"number": order["number"]}))["order"] == order
    assert (await administrator.ask(NODE, id=order["id"]))["node"] == {"__typename": "Order", "id": order["id"]}
    assert await administrator.orders() == []


# ── Looking one up ────────────────────────────────────────────────────────────────────────


async def test_an_order_is_found_by_id_and_by_number(customer: Customer, shop: Shop, book: Book) -> None:
    order = await _order(shop, customer, book)
    as_dictated = order["number"].lower().replace("-", " ").replace("0", "o").replace("1", "l")
    for by in ({"id": order["id"]}, {"number": order["number"]}, {"number": as_dictated}):
        assert (await customer.ask(BY, by=by))["order"] == order
    assert (await customer.ask(NODES, ids=[order["id"]]))["nodes"] == [{"__typename": "Order", "id": order["id"]}]


@pytest.mark.parametrize("number", ["", "0000-0000-0000", "UUUU-UUUU-UUUU", "x" * 5000, "\0", "1234-5678-90", "'"])
async def test_a_number_that_is_none_finds_nothing(customer: Customer, number: str) -> None:
    assert (await customer.ask(BY, by={"number": number}))["order"] is None


@pytest.mark.parametrize(
    "by", [{"id": ""}, {"id": "1"}, {"id": global_id("Book", new_id())}, {}, {"id": None}, {"id": "x", "number": "y"}]
)
async def test_what_is_no_key_is_a_wrong_call(customer: Customer, by: dict[str, Any]) -> None:
    assert (await customer.ask(BY, by=by)).codes == ["BAD_USER_INPUT"]


# ── The list ──────────────────────────────────────────────────────────────────────────────


async def _page(customer: Customer, **arguments: Any) -> tuple[list[str], Any]:
    page = (await customer.ask(PAGE, **arguments))["me"]["orders"]
    return [order["number"] for order in page["nodes"]], page


async def test_orders_are_listed_the_latest_first_and_cut_into_pages(
    customer: Customer, shop: Shop, book: Book
) -> None:
    numbers = [(await _order(shop, customer, book, str(key)))["number"] for key in range(5)][::-1]

    everything, page = await _page(customer)
    assert (everything, page["totalCount"]) == (numbers, 5)
    first, page = await _page(customer, first=2)
    assert (first, page["totalCount"]) == (numbers[:2], 5)
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (True, False)
    second, page = await _page(customer, first=2, after=page["pageInfo"]["endCursor"])
    assert second == numbers[2:4]
    before, page = await _page(customer, last=2, before=page["pageInfo"]["startCursor"])
    assert before == numbers[:2]
    last, page = await _page(customer, last=2)
    assert last == numbers[3:]
    assert (page["pageInfo"]["hasNextPage"], page["pageInfo"]["hasPreviousPage"]) == (False, True)


async def test_orders_are_narrowed_by_status(customer: Customer, shop: Shop, book: Book) -> None:
    confirmed = (await _order(shop, customer, book, "1"))["number"]
    cancelled = await _order(shop, customer, book, "2")
    await customer.cancels(cancelled["id"])
    failed = (await _order(shop, customer, book, "3", "mock-decline"))["number"]

    for statuses, expected in (
        (None, [failed, cancelled["number"], confirmed]),
        (["CONFIRMED"], [confirmed]),
        (["CANCELLED", "PAYMENT_FAILED", "CANCELLED"], [failed, cancelled["number"]]),
        (["SHIPPED"], []),
        ([], []),
    ):
        numbers, page = await _page(customer, statuses=statuses)
        assert (numbers, page["totalCount"]) == (expected, len(expected))


async def test_cursors_of_another_list_are_a_wrong_call(
    customer: Customer, visitor: Visitor, shop: Shop, book: Book
) -> None:
    await _order(shop, customer, book)
    _, page = await _page(customer)
    cursor, stranger = page["pageInfo"]["endCursor"], await add_customer(visitor, shop)
    for asker, arguments in (
        (stranger, {"after": cursor}),
        (customer, {"after": cursor, "statuses": ["CONFIRMED"]}),
        (customer, {"before": cursor[:-1]}),
        (customer, {"after": ""}),
    ):
        assert (await asker.ask(PAGE, **arguments)).codes == ["BAD_USER_INPUT"]


@pytest.mark.parametrize("arguments", [{"first": -1}, {"first": 101}, {"last": 101}, {"first": 1, "last": 1}])
async def test_pages_out_of_bounds_are_a_wrong_call(customer: Customer, arguments: dict[str, int]) -> None:
    assert (await customer.ask(PAGE, **arguments)).codes == ["BAD_USER_INPUT"]


async def test_unknown_statuses_are_a_wrong_call(customer: Customer) -> None:
    assert (await customer.ask(PAGE, statuses=["LOST"])).codes == ["BAD_USER_INPUT"]


async def test_an_order_keeps_the_currency_of_its_day(
    customer: Customer, shop: Shop, book: Book, settings: Settings
) -> None:
    await _order(shop, customer, book)
    app = create_app(settings.model_copy(update={"currency": "USD"}))
    async with app.router.lifespan_context(app):
        document = (
            "{ me { orders { nodes { total { currency } items { unitPrice { currency } lineTotal { currency } } } } } }"
        )
        [order] = (await customer.at(Visitor(app)).ask(document))["me"]["orders"]["nodes"]
    [line] = order["items"]
    assert [money["currency"] for money in (order["total"], line["unitPrice"], line["lineTotal"])] == ["EUR"] * 3
