"""The `admin` queries: every filter of every list, and sales figures compared with hand-written SQL."""

import datetime as dt
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.tables import new_id
from tests.support.http.client import ApiClient
from tests.support.shop.catalog_admin import add_admin_customer
from tests.support.shop.customers import Customer
from tests.support.shop.factories import add_admin, add_book, add_user, book_id
from tests.support.shop.past_orders import add_past_order
from tests.support.shop.reviews import add_buyer, submit_review

USERS = "query ($filter: UserFilter) { admin { users(filter: $filter) { totalCount nodes { email } } } }"
ORDERS = "query ($filter: OrderFilter) { admin { orders(filter: $filter) { totalCount nodes { id } } } }"
REVIEWS = """query ($filter: ReviewFilter, $sort: ReviewSort! = NEWEST) { admin { reviews(filter: $filter, sort: $sort) {
    totalCount nodes { rating reviewer { displayName account { email } } } } } }"""
LOW_STOCK = "query ($threshold: Int! = 5) { admin { lowStockBooks(threshold: $threshold) { totalCount nodes { title waitingPrebookings } } } }"
SALES = """query ($period: SalesPeriod!) { admin { salesSummary(period: $period) {
    current { ...FigureFields } previous { ...FigureFields } revenueChangePercent } } }
fragment FigureFields on SalesFigures { from to revenue { amount currency } orderCount averageOrderValue { amount } }"""
BEST_SELLERS = """query ($first: Int! = 10, $by: BestSellerRank! = REVENUE) { admin {
    bestSellers(period: THIS_MONTH, rankBy: $by, first: $first) { unitsSold revenue { amount } book { title } } } }"""


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_admin_customer(client, shop)


# ── Invalid input ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("document", "variables"),
    [
        (ORDERS, {"filter": {"placedFrom": "2026-03-02T00:00:00Z", "placedBefore": "2026-03-01T00:00:00Z"}}),
        (ORDERS, {"filter": {"placedFrom": "2026-03-01T01:00:00Z", "placedBefore": "2026-03-01T01:30:00+01:00"}}),
        (ORDERS, {"filter": {"placedFrom": "2026-03-02T00:00:00"}}),
        (ORDERS, {"filter": {"placedFrom": "2026-02-30T00:00:00Z"}}),
        (ORDERS, {"filter": {"userId": to_global_id("Book", new_id())}}),
        (ORDERS, {"filter": {"search": "x" * 201}}),
        (ORDERS, {"filter": {"search": "a\0b"}}),
        (USERS, {"filter": {"search": "\x1b"}}),
        (REVIEWS, {"filter": {"bookId": "x"}}),
        (REVIEWS, {"filter": {"userId": to_global_id("Book", new_id())}}),
        (LOW_STOCK, {"threshold": -1}),
        (LOW_STOCK, {"threshold": 2**31 - 1}),
        (BEST_SELLERS, {"first": -1}),
        (BEST_SELLERS, {"first": 101}),
    ],
)
async def test_invalid_arguments_are_request_errors(admin: Customer, document: str, variables: Any) -> None:
    assert set((await admin.execute(document, **variables)).codes) == {"BAD_USER_INPUT"}


async def test_zero_length_period_is_empty(admin: Customer) -> None:
    instant = "2026-03-01T00:00:00Z"
    page = (await admin.execute(ORDERS, filter={"placedFrom": instant, "placedBefore": instant}))["admin"]["orders"]
    assert page == {"totalCount": 0, "nodes": []}


# ── Users ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ({}, ["frodo@shire.test", "sam_gamgee@shire.test", "boss@shop.test"]),
        ({"role": "ADMIN"}, ["boss@shop.test"]),
        ({"role": "USER", "isActive": True}, ["frodo@shire.test"]),
        ({"isActive": False}, ["sam_gamgee@shire.test"]),
        ({"search": " SHIRE "}, ["frodo@shire.test", "sam_gamgee@shire.test"]),
        ({"search": "baggins"}, ["frodo@shire.test"]),
        ({"search": "_"}, ["sam_gamgee@shire.test"]),
        ({"search": "%"}, []),
        ({"search": "\\"}, []),
        ({"search": ""}, ["frodo@shire.test", "sam_gamgee@shire.test", "boss@shop.test"]),
        ({"role": None, "isActive": None, "search": None}, ["frodo@shire.test", "sam_gamgee@shire.test", "boss@shop.test"]),
    ],
)  # fmt: skip
async def test_users_are_filtered_by_role_state_and_search(
    client: ApiClient, shop: Shop, filters: dict[str, Any], expected: list[str]
) -> None:
    admin_user = await add_user(shop, "boss@shop.test", role="ADMIN", display_name="The boss")
    await add_user(shop, "sam_gamgee@shire.test", is_active=False)
    await add_user(shop, "frodo@shire.test", display_name="Mr. Baggins")
    result = (await client.with_token(admin_user.token).execute(USERS, filter=filters))["admin"]["users"]
    assert [node["email"] for node in result["nodes"]] == expected
    assert result["totalCount"] == len(expected)


# ── Orders ────────────────────────────────────────────────────────────────────────────────


async def test_orders_are_filtered(admin: Customer, shop: Shop, postgres: asyncpg.Connection) -> None:
    book, day = await add_book(shop), dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
    frodo, sam = await add_user(shop, "frodo@shire.test"), await add_user(shop, "sam_gamgee@shire.test")
    first = await add_past_order(postgres, frodo, (book, 1), at=day, status="SHIPPED")
    second = await add_past_order(postgres, sam, (book, 1), at=day + dt.timedelta(days=1))
    third = await add_past_order(postgres, frodo, (book, 1), at=day + dt.timedelta(days=2), status="CANCELLED")
    await postgres.execute("UPDATE orders SET number = 'ABCD-0123-WXYZ' WHERE id = $1", second)
    for filters, expected in (
        ({}, [third, second, first]),
        ({"statuses": ["SHIPPED", "CANCELLED", "SHIPPED"]}, [third, first]),
        ({"statuses": []}, []),
        ({"userId": frodo.global_id}, [third, first]),
        ({"userId": to_global_id("User", new_id())}, []),
        ({"search": "FRODO@"}, [third, first]),
        ({"search": "_gam"}, [second]),
        ({"search": "fr%do"}, []),
        ({"search": " abcd oi23-wxyz "}, [second]),
        ({"search": "#abcd\u20110123\u2011wxyz\u2060"}, [second]),
        ({"search": "ABCD-0123-WXY0"}, []),
        ({"placedFrom": "2026-03-02T00:00:00Z"}, [third, second]),
        ({"placedBefore": "2026-03-02T01:00:00+01:00"}, [first]),
        ({"placedFrom": "2026-03-02T00:00:00Z", "placedBefore": "2026-03-02T00:00:01Z"}, [second]),
        ({"search": "shire", "statuses": ["SHIPPED"], "userId": frodo.global_id}, [first]),
    ):
        result = (await admin.execute(ORDERS, filter=filters))["admin"]["orders"]
        assert [node["id"] for node in result["nodes"]] == [to_global_id("Order", id_) for id_ in expected], filters
        assert result["totalCount"] == len(expected)


async def test_search_like_an_order_number_also_matches_email(
    admin: Customer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book, user = await add_book(shop), await add_user(shop, "anna.schmidt2000@example.com")
    order = await add_past_order(postgres, user, (book, 1))
    for search in ("schmidt2000@", "schmidt2000", ".schmidt2000", "SCHMIDT2000@"):
        result = (await admin.execute(ORDERS, filter={"search": search}))["admin"]["orders"]["nodes"]
        assert result == [{"id": to_global_id("Order", order)}], search
    await postgres.execute("UPDATE users SET email = 'nannaschmidt@example.com' WHERE id = $1", user.id)
    result = (await admin.execute(ORDERS, filter={"search": "nannaschmidt"}))["admin"]["orders"]["nodes"]
    assert result == [{"id": to_global_id("Order", order)}]


# ── Reviews ───────────────────────────────────────────────────────────────────────────────


async def test_reviews_are_filtered_by_book_user_and_rating(client: ApiClient, admin: Customer, shop: Shop) -> None:
    books = [await add_book(shop) for _ in range(2)]
    readers = [await add_buyer(client, shop, *books) for _ in range(2)]
    for stars, (reader, book) in enumerate([(reader, book) for reader in readers for book in books], 1):
        await submit_review(reader, book, stars)
    own_filter = {"userId": readers[1].user.global_id}
    for filters, expected in (
        ({}, [4, 3, 2, 1]),
        ({"bookId": book_id(books[0])}, [3, 1]),
        (own_filter, [4, 3]),
        ({"minRating": 3}, [4, 3]),
        ({"maxRating": 3}, [3, 2, 1]),
        ({"minRating": 2, "maxRating": 3}, [3, 2]),
        ({"minRating": 4, "maxRating": 2}, []),
        ({"bookId": to_global_id("Book", new_id())}, []),
        (own_filter | {"bookId": book_id(books[1]), "minRating": 1}, [4]),
    ):
        result = (await admin.execute(REVIEWS, filter=filters, sort="HIGHEST_RATED"))["admin"]["reviews"]
        assert [node["rating"] for node in result["nodes"]] == expected, filters
        assert result["totalCount"] == len(expected)
        assert all(node["reviewer"]["account"]["email"].startswith("reader-") for node in result["nodes"])
    lowest = (await admin.execute(REVIEWS, sort="LOWEST_RATED"))["admin"]["reviews"]["nodes"]
    assert [node["rating"] for node in lowest] == [1, 2, 3, 4]
    newest = (await admin.execute(REVIEWS))["admin"]["reviews"]["nodes"]
    assert [node["rating"] for node in newest] == [4, 3, 2, 1]


# ── Stock and sales ───────────────────────────────────────────────────────────────────────


async def test_low_stock_is_sorted_by_stock_then_waiting_count(
    admin: Customer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    books = {name: await add_book(shop, name, stock=stock) for name, stock in
             (("none", 0), ("waited for", 0), ("most waited for", 0), ("one", 1), ("five", 5), ("six", 6))}  # fmt: skip
    for name, waiting_count in (("waited for", 1), ("most waited for", 2), ("none", 0)):
        for _ in range(waiting_count):
            await postgres.execute(
                "INSERT INTO prebookings (id, user_id, book_id) VALUES (gen_random_uuid(), $1, $2)",
                (await add_user(shop)).id,
                books[name].id,
            )
    await postgres.execute(
        "INSERT INTO prebookings (id, user_id, book_id, status, cancelled_at) VALUES (gen_random_uuid(), $1, $2, 'CANCELLED', now())",
        admin.user.id,
        books["none"].id,
    )
    result = (await admin.execute(LOW_STOCK))["admin"]["lowStockBooks"]
    assert [tuple(node.values()) for node in result["nodes"]] == [
        ("most waited for", 2),
        ("waited for", 1),
        ("none", 0),
        ("one", 0),
        ("five", 0),
    ]
    assert result["totalCount"] == 5
    sold_out = (await admin.execute(LOW_STOCK, threshold=0))["admin"]["lowStockBooks"]
    assert (sold_out["totalCount"], len(sold_out["nodes"])) == (3, 3)
    assert (await admin.execute(LOW_STOCK, threshold=1_000_000))["admin"]["lowStockBooks"]["totalCount"] == 6


@pytest.mark.parametrize("period", ["TODAY", "THIS_WEEK", "THIS_MONTH"])
async def test_sales_summary_covers_its_period(
    admin: Customer, shop: Shop, postgres: asyncpg.Connection, period: str
) -> None:
    now, book = dt.datetime.now(dt.UTC), await add_book(shop, price="7.25")
    for hours in range(0, 24 * 70, 7):
        await add_past_order(postgres, admin.user, (book, 1 + hours % 3), at=now - dt.timedelta(hours=hours))
    result = (await admin.execute(SALES, period=period))["admin"]["salesSummary"]
    for figures in (result["current"], result["previous"]):
        [(revenue, count)] = await postgres.fetch(
            "SELECT coalesce(sum(total), 0.00)::text, count(*) FROM orders WHERE placed_at >= $1 AND placed_at < $2",
            dt.datetime.fromisoformat(figures["from"]),
            dt.datetime.fromisoformat(figures["to"]),
        )
        assert (figures["revenue"], figures["orderCount"]) == ({"amount": revenue, "currency": "EUR"}, count)
    assert result["current"]["from"].endswith("T00:00:00.000Z")


async def test_best_sellers_are_in_requested_order(admin: Customer, shop: Shop, postgres: asyncpg.Connection) -> None:
    cheap, expensive = await add_book(shop, "Cheap", price="1.00"), await add_book(shop, "Dear", price="50.00")
    await add_past_order(postgres, (await add_admin(shop)), (cheap, 5), (expensive, 1))
    best_sellers = [
        {"unitsSold": 5, "revenue": {"amount": "5.00"}, "book": {"title": "Cheap"}},
        {"unitsSold": 1, "revenue": {"amount": "50.00"}, "book": {"title": "Dear"}},
    ]
    assert (await admin.execute(BEST_SELLERS, by="UNITS"))["admin"]["bestSellers"] == best_sellers
    assert (await admin.execute(BEST_SELLERS))["admin"]["bestSellers"] == best_sellers[::-1]
    assert (await admin.execute(BEST_SELLERS, first=1))["admin"]["bestSellers"] == best_sellers[1:]
    assert (await admin.execute(BEST_SELLERS, first=0))["admin"]["bestSellers"] == []
