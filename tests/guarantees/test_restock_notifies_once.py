"""A restock notifies each waiting customer once."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from domain.book_import import ImportSummary, RowParser, import_batch
from domain.shop import Shop
from domain.stock import adjust_stock, set_stock
from persistence.catalog import BookRow
from persistence.prebookings import add_prebooking
from server.settings import Settings
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.database.query_counter import start_counting_proxy
from tests.support.http.apps import get_shop, running_client
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, add_user, book_id

PREBOOK_MUTATION = """
mutation ($book: ID!) {
  prebook(input: {bookId: $book}) {
    __typename
    ... on UserError { code }
    ... on Prebooked { prebooking { id status notifiedAt } }
    ... on AlreadyPrebooked { prebooking { id } }
    ... on BookInStock { book { stockQuantity } }
  }
}
"""
CANCEL_PREBOOKING = "mutation ($id: ID!) { cancelPrebooking(input: {prebookingId: $id}) { __typename } }"
UPDATE_STOCK = """
mutation ($book: ID!, $change: StockChangeInput!) {
  updateStock(input: {bookId: $book, change: $change}) {
    ... on StockUpdated { prebookingsNotified book { stockQuantity waitingPrebookings } }
  }
}
"""
COUNT_UNNOTIFIED_PREBOOKINGS = (
    "SELECT count(*) FROM prebookings JOIN books b ON b.id = book_id WHERE status = 'WAITING' AND stock_quantity > 0"
)


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop, role="ADMIN")


async def _prebook(customer: Customer, book: BookRow) -> Any:
    return (await customer.execute(PREBOOK_MUTATION, book=book_id(book)))["prebook"]


async def _add_waiting(client: ApiClient, shop: Shop, book: BookRow, count: int = 3) -> list[Customer]:
    customers = [await add_customer(client, shop) for _ in range(count)]
    for customer in customers:
        assert (await _prebook(customer, book))["__typename"] == "Prebooked"
    return customers


async def _count_notifications(postgres: asyncpg.Connection) -> Counter[Any]:
    """Count the queued emails by the user they notify."""
    rows = await postgres.fetch(
        """SELECT p.user_id FROM prebookings p JOIN letters l ON l.subject_id = p.id AND l.user_id = p.user_id
        JOIN pgqueuer q ON convert_from(q.payload, 'UTF8') = l.id::text
        WHERE p.status = 'NOTIFIED' AND l.kind = 'BOOK_BACK'"""
    )
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'BOOK_BACK'") == len(rows)
    return Counter(row["user_id"] for row in rows)


async def _are_all_notified_once(postgres: asyncpg.Connection, customers: list[Customer]) -> bool:
    return await _count_notifications(postgres) == Counter(customer.user.id for customer in customers)


@pytest.mark.parametrize("change", [{"setTo": 2}, {"adjustBy": 1}])
async def test_restock_notifies_the_waiting_list(
    admin: Customer, client: ApiClient, shop: Shop, postgres: asyncpg.Connection, change: dict[str, int]
) -> None:
    book, other_book = await add_book(shop, stock=0), await add_book(shop, stock=0)
    waiting_customers = await _add_waiting(client, shop, book)
    cancelling_customer = await add_customer(client, shop)
    prebooking_id = (await _prebook(cancelling_customer, book))["prebooking"]["id"]
    assert (await cancelling_customer.execute(CANCEL_PREBOOKING, id=prebooking_id))["cancelPrebooking"][
        "__typename"
    ] == "PrebookingCancelled"
    await _prebook(cancelling_customer, other_book)

    first_result = (await admin.execute(UPDATE_STOCK, book=book_id(book), change=change))["updateStock"]
    second_result = (await admin.execute(UPDATE_STOCK, book=book_id(book), change={"adjustBy": 5}))["updateStock"]

    assert (first_result["prebookingsNotified"], first_result["book"]["waitingPrebookings"]) == (3, 0)
    assert second_result["prebookingsNotified"] == 0
    assert await _are_all_notified_once(postgres, waiting_customers)


@pytest.mark.parametrize("change", [{"setTo": 0}, {"adjustBy": 0}])
async def test_changes_without_new_stock_send_no_notification(
    admin: Customer, client: ApiClient, shop: Shop, postgres: asyncpg.Connection, change: dict[str, int]
) -> None:
    book = await add_book(shop, stock=0)
    await _add_waiting(client, shop, book, 1)
    result = (await admin.execute(UPDATE_STOCK, book=book_id(book), change=change))["updateStock"]
    assert (result["prebookingsNotified"], result["book"]["waitingPrebookings"]) == (0, 1)
    assert await _count_notifications(postgres) == Counter()


async def test_user_who_prebooks_again_is_notified_again(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, stock=0)
    [customer] = await _add_waiting(client, shop, book, 1)
    for _ in range(2):
        _, notified_count = await set_stock(shop, book.id, 1)
        assert notified_count == 1
        await set_stock(shop, book.id, 0)
        await _prebook(customer, book)
    assert await _count_notifications(postgres) == Counter({customer.user.id: 2})


async def test_cancelled_orders_and_declined_payments_notify(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, stock=2)
    buyer = await add_customer(client, shop, (book, 2))
    order = (await buyer.checkout("one"))["order"]
    first_customers = await _add_waiting(client, shop, book)
    assert (await buyer.cancel_order(order["id"]))["__typename"] == "OrderCancelled"
    assert await _are_all_notified_once(postgres, first_customers)

    other_buyer = await add_customer(client, shop, (book, 2))
    async with shop.database.transaction() as tx:  # a user joins the waiting list during the payment
        later_user = await add_user(shop)
        await add_prebooking(tx, later_user.id, book.id)
    assert (await other_buyer.checkout("two", "mock-decline"))["__typename"] == "PaymentFailed"
    assert await _count_notifications(postgres) == Counter(
        [*(customer.user.id for customer in first_customers), later_user.id]
    )


async def test_stock_import_notifies(client: ApiClient, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, "Emma", stock=0, isbn="9780141439587")
    customers = await _add_waiting(client, shop, book)
    row = {"isbn": "9780141439587", "title": "Emma", "price": "10.00", "stock": "4"}
    for _ in range(2):
        await import_batch(shop, [RowParser().parse(2, row)], ImportSummary(), set_stock=True, dry_run=False)
    assert await _are_all_notified_once(postgres, customers)


async def test_prebooking_during_restock_is_rejected(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=0)
    customers = [await add_customer(client, shop) for _ in range(4)]
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        first_prebookings = [asyncio.create_task(_prebook(customer, book)) for customer in customers[:2]]
        await wait_for_blocked(postgres, 2)
        restock = asyncio.create_task(adjust_stock(shop, book.id, 1))
        await wait_for_blocked(postgres, 3)
        later_prebookings = [asyncio.create_task(_prebook(customer, book)) for customer in customers[2:]]
        await wait_for_blocked(postgres, 5)
    typenames = [result["__typename"] for result in await asyncio.gather(*first_prebookings, *later_prebookings)]
    _, notified_count = await restock

    assert await postgres.fetchval(COUNT_UNNOTIFIED_PREBOOKINGS) == 0
    assert typenames.count("Prebooked") == notified_count
    assert set(typenames) <= {"Prebooked", "BookInStock"}
    assert sum((await _count_notifications(postgres)).values()) == notified_count


async def test_restock_waits_for_a_concurrent_prebooking(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """Otherwise a prebooking that read no stock, and is not stored yet, would miss the restock."""
    book, customer = await add_book(shop, stock=0), await add_customer(client, shop)
    async with hold_lock(database_url, "SELECT FROM users WHERE id = $1 FOR UPDATE", customer.user.id):
        prebooking = asyncio.create_task(_prebook(customer, book))  # its row references the user
        await wait_for_blocked(postgres, 1)
        restock = asyncio.create_task(adjust_stock(shop, book.id, 1))
        both_blocked = asyncio.create_task(wait_for_blocked(postgres, 2))
        await asyncio.wait([restock, both_blocked], return_when=asyncio.FIRST_COMPLETED)
        both_blocked.cancel()
    assert (await prebooking)["__typename"] == "Prebooked"
    assert (await restock)[1] == 1
    assert await postgres.fetchval(COUNT_UNNOTIFIED_PREBOOKINGS) == 0
    assert await _are_all_notified_once(postgres, [customer])


async def test_concurrent_restocks_notify_once(
    client: ApiClient, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=0)
    customers = await _add_waiting(client, shop, book)
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        restocks = [asyncio.create_task(adjust_stock(shop, book.id, 1)) for _ in range(2)]
        await wait_for_blocked(postgres, 2)
    assert sorted([notified_count for _, notified_count in await asyncio.gather(*restocks)]) == [0, 3]
    assert await _are_all_notified_once(postgres, customers)


async def test_statement_count_of_1000_notifications_equals_10(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    assert settings.database_url is not None
    counts = {}
    async with (
        start_counting_proxy(settings.database_url) as proxy,
        running_client(settings, database_url=proxy.url) as client,
    ):
        for count in (1, 10, 1_000):
            book = await add_book(shop, stock=0)
            await postgres.execute(
                """WITH added AS (INSERT INTO users (id, email, display_name)
                SELECT gen_random_uuid(), $1 || '-' || n || '@example.com', 'Reader' FROM generate_series(1, $2) n
                RETURNING id) INSERT INTO prebookings (id, user_id, book_id) SELECT gen_random_uuid(), id, $3 FROM added""",
                f"waiting-{count}", count, book.id,
            )  # fmt: skip
            before = proxy.statements
            _, notified_count = await adjust_stock(get_shop(client), book.id, 1)
            counts[count] = proxy.statements - before
            assert notified_count == count
    assert counts[10] == counts[1_000]
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 1_011
