"""Pre-bookings over HTTP: joining and leaving a waiting list, and its visibility."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from domain.stock import set_stock
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from persistence.tables import new_id
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, book_id

_SELECTION = "{ id status createdAt notifiedAt cancelledAt book { id } }"
PREBOOK = f"""mutation ($id: ID!) {{ result: prebook(input: {{bookId: $id}}) {{
    __typename ... on UserError {{ code }} ... on NotFound {{ id }}
    ... on Prebooked {{ prebooking {_SELECTION} }} ... on AlreadyPrebooked {{ prebooking {_SELECTION} }}
    ... on BookInStock {{ book {{ id stockQuantity }} }} }} }}"""
CANCEL_PREBOOKING = f"""mutation ($id: ID!) {{ result: cancelPrebooking(input: {{prebookingId: $id}}) {{
    __typename ... on NotFound {{ code id }} ... on PrebookingCancelled {{ prebooking {_SELECTION} }} }} }}"""
MY_PREBOOKINGS = """query ($statuses: [PrebookingStatus!]) { me { prebookings(statuses: $statuses) {
    totalCount nodes { status book { title } } } } }"""
NODE_QUERY = "query ($id: ID!) { node(id: $id) { id ... on Prebooking { status } } nodes(ids: [$id]) { id } }"


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", stock=0)


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop)


async def prebook(customer: Customer, book: BookRow) -> Any:
    return (await customer.execute(PREBOOK, id=book_id(book)))["result"]


async def cancel_prebooking(customer: Customer, prebooking_id: str) -> Any:
    return (await customer.execute(CANCEL_PREBOOKING, id=prebooking_id))["result"]


async def list_prebooking_rows(postgres: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await postgres.fetch("SELECT * FROM prebookings ORDER BY id")]


# ── User errors ───────────────────────────────────────────────────────────────────────────


async def test_unknown_ids_are_not_found(customer: Customer, postgres: asyncpg.Connection) -> None:
    for document, kind in ((PREBOOK, "Book"), (CANCEL_PREBOOKING, "Prebooking")):
        unknown_id = to_global_id(kind, new_id())
        assert (await customer.execute(document, id=unknown_id))["result"] == {
            "__typename": "NotFound",
            "code": "NOT_FOUND",
            "id": unknown_id,
        }
        for invalid_id in (to_global_id("Genre", new_id()), "x", ""):
            assert (await customer.execute(document, id=invalid_id)).codes == ["BAD_USER_INPUT"]
    assert await list_prebooking_rows(postgres) == []


async def test_book_in_stock_cannot_be_prebooked(customer: Customer, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, stock=1)
    result = await prebook(customer, book)
    assert (result["__typename"], result["code"]) == ("BookInStock", "PREBOOK_BOOK_IN_STOCK")
    assert result["book"] == {"id": book_id(book), "stockQuantity": 1}
    assert await list_prebooking_rows(postgres) == []


async def test_second_prebooking_returns_the_first(
    customer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    first = await prebook(customer, book)
    before = await list_prebooking_rows(postgres)
    second = await prebook(customer, book)
    assert (second["__typename"], second["code"]) == ("AlreadyPrebooked", "PREBOOK_DUPLICATE")
    assert second["prebooking"] == first["prebooking"]
    assert await list_prebooking_rows(postgres) == before


async def test_prebooking_of_another_user_is_not_returned(
    client: ApiClient, shop: Shop, customer: Customer, book: BookRow
) -> None:
    await prebook(await add_customer(client, shop), book)
    own_prebooking = (await prebook(customer, book))["prebooking"]
    await prebook(await add_customer(client, shop), book)
    assert (await prebook(customer, book))["prebooking"] == own_prebooking


async def test_concurrent_prebookings_create_one(
    customer: Customer, book: BookRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        attempts = [asyncio.create_task(prebook(customer, book)) for _ in range(2)]
        await wait_for_blocked(postgres, 2)
    results = await asyncio.gather(*attempts)
    assert sorted(result["__typename"] for result in results) == ["AlreadyPrebooked", "Prebooked"]
    assert results[0]["prebooking"] == results[1]["prebooking"]
    assert len(await list_prebooking_rows(postgres)) == 1


async def test_prebooking_of_another_user_is_not_found(
    client: ApiClient, shop: Shop, customer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    own_id = (await prebook(customer, book))["prebooking"]["id"]
    before, not_found = await list_prebooking_rows(postgres), {"node": None, "nodes": [None]}
    other_customer, admin = await add_customer(client, shop), await add_customer(client, shop, role="ADMIN")
    for caller in (other_customer, admin):
        assert await cancel_prebooking(caller, own_id) == {"__typename": "NotFound", "code": "NOT_FOUND", "id": own_id}
    assert await list_prebooking_rows(postgres) == before
    assert (await client.execute(NODE_QUERY, id=own_id)).data == not_found
    assert (await other_customer.execute(NODE_QUERY, id=own_id)).data == not_found
    visible = {"node": {"id": own_id, "status": "WAITING"}, "nodes": [{"id": own_id}]}
    assert (await customer.execute(NODE_QUERY, id=own_id)).data == visible
    assert (await admin.execute(NODE_QUERY, id=own_id)).data == visible


# ── Joining and leaving ───────────────────────────────────────────────────────────────────


async def test_cancelling_is_idempotent_and_allows_prebooking_again(
    customer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    first = (await prebook(customer, book))["prebooking"]
    assert (first["status"], first["notifiedAt"], first["cancelledAt"]) == ("WAITING", None, None)
    cancelled = await cancel_prebooking(customer, first["id"])
    assert cancelled["prebooking"]["status"] == "CANCELLED"
    assert cancelled["prebooking"]["cancelledAt"] is not None
    assert await cancel_prebooking(customer, first["id"]) == cancelled
    new_prebooking = (await prebook(customer, book))["prebooking"]
    assert new_prebooking["id"] != first["id"]
    assert [row[3] for row in await list_prebooking_rows(postgres)] == ["CANCELLED", "WAITING"]


async def test_notified_prebooking_cannot_be_cancelled(
    customer: Customer, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    own_id = (await prebook(customer, book))["prebooking"]["id"]
    await set_stock(shop, book.id, 1)
    before = await list_prebooking_rows(postgres)
    result = (await cancel_prebooking(customer, own_id))["prebooking"]
    assert (result["status"], result["cancelledAt"]) == ("NOTIFIED", None)
    assert result["notifiedAt"] is not None
    assert await list_prebooking_rows(postgres) == before


@pytest.mark.parametrize("restock_first", [False, True])
async def test_concurrent_cancellation_and_restock(
    customer: Customer,
    shop: Shop,
    book: BookRow,
    postgres: asyncpg.Connection,
    database_url: str,
    restock_first: bool,
) -> None:
    """Either the pre-booking is cancelled and no email is sent, or it is notified and cannot be cancelled."""
    own_id = (await prebook(customer, book))["prebooking"]["id"]
    operations: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: cancel_prebooking(customer, own_id),
        lambda: set_stock(shop, book.id, 1),
    ]
    async with hold_lock(database_url, "SELECT FROM prebookings FOR UPDATE"):
        first = asyncio.create_task(operations[restock_first]())
        await wait_for_blocked(postgres, 1)
        second = asyncio.create_task(operations[not restock_first]())
        await wait_for_blocked(postgres, 2)
    results = await asyncio.gather(first, second)
    cancelled, (_, notified_count) = results[::-1] if restock_first else results
    assert (cancelled["prebooking"]["status"], notified_count) == (
        ("NOTIFIED", 1) if restock_first else ("CANCELLED", 0)
    )
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'BOOK_BACK'") == notified_count


async def test_my_prebookings_by_status_newest_first(customer: Customer, shop: Shop) -> None:
    books = [await add_book(shop, title, stock=0) for title in ("Notified", "Cancelled", "Waiting")]
    ids = [(await prebook(customer, book))["prebooking"]["id"] for book in books]
    await set_stock(shop, books[0].id, 1)
    await cancel_prebooking(customer, ids[1])
    for statuses, titles in (
        (None, ["Waiting", "Cancelled", "Notified"]),
        (["WAITING"], ["Waiting"]),
        (["NOTIFIED", "CANCELLED", "NOTIFIED"], ["Cancelled", "Notified"]),
        ([], []),
    ):
        page = (await customer.execute(MY_PREBOOKINGS, statuses=statuses))["me"]["prebookings"]
        assert [node["book"]["title"] for node in page["nodes"]] == titles
        assert page["totalCount"] == len(titles)


async def test_deleted_book_cancels_prebookings(
    client: ApiClient, shop: Shop, customer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    await prebook(customer, book)
    admin = await add_customer(client, shop, role="ADMIN")
    response = await admin.execute(
        "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }", id=book_id(book)
    )
    assert response["deleteBook"]["__typename"] == "BookDeleted"
    assert await list_prebooking_rows(postgres) == []
    assert (await customer.execute(MY_PREBOOKINGS))["me"]["prebookings"]["totalCount"] == 0
