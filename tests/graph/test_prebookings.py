"""Pre-bookings over HTTP: joining and leaving a waiting list, and who can see it."""

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
PREBOOK = f"""mutation ($id: ID!) {{ end: prebook(input: {{bookId: $id}}) {{
    __typename ... on UserError {{ code }} ... on NotFound {{ id }}
    ... on Prebooked {{ prebooking {_SELECTION} }} ... on AlreadyPrebooked {{ prebooking {_SELECTION} }}
    ... on BookInStock {{ book {{ id stockQuantity }} }} }} }}"""
CANCEL_PREBOOKING = f"""mutation ($id: ID!) {{ end: cancelPrebooking(input: {{prebookingId: $id}}) {{
    __typename ... on NotFound {{ code id }} ... on PrebookingCancelled {{ prebooking {_SELECTION} }} }} }}"""
MY_PREBOOKINGS = """query ($statuses: [PrebookingStatus!]) { me { prebookings(statuses: $statuses) {
    totalCount nodes { status book { title } } } } }"""
FOUND = "query ($id: ID!) { node(id: $id) { id ... on Prebooking { status } } nodes(ids: [$id]) { id } }"


@pytest.fixture
async def book(shop: Shop) -> BookRow:
    return await add_book(shop, "Emma", stock=0)


@pytest.fixture
async def customer(client: ApiClient, shop: Shop) -> Customer:
    return await add_customer(client, shop)


async def prebook(customer: Customer, book: BookRow) -> Any:
    return (await customer.execute(PREBOOK, id=book_id(book)))["end"]


async def cancel_prebooking(customer: Customer, prebooking_id: str) -> Any:
    return (await customer.execute(CANCEL_PREBOOKING, id=prebooking_id))["end"]


async def list_prebooking_rows(postgres: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await postgres.fetch("SELECT * FROM prebookings ORDER BY id")]


# ── User errors ───────────────────────────────────────────────────────────────────────────


async def test_unknown_ids_are_not_found(customer: Customer, postgres: asyncpg.Connection) -> None:
    for document, kind in ((PREBOOK, "Book"), (CANCEL_PREBOOKING, "Prebooking")):
        nowhere = to_global_id(kind, new_id())
        assert (await customer.execute(document, id=nowhere))["end"] == {
            "__typename": "NotFound",
            "code": "NOT_FOUND",
            "id": nowhere,
        }
        for bad in (to_global_id("Genre", new_id()), "x", ""):
            assert (await customer.execute(document, id=bad)).codes == ["BAD_USER_INPUT"]
    assert await list_prebooking_rows(postgres) == []


async def test_book_in_stock_cannot_be_prebooked(customer: Customer, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, stock=1)
    end = await prebook(customer, book)
    assert (end["__typename"], end["code"]) == ("BookInStock", "PREBOOK_BOOK_IN_STOCK")
    assert end["book"] == {"id": book_id(book), "stockQuantity": 1}
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


async def test_prebooking_of_another_user_is_not_mine(
    client: ApiClient, shop: Shop, customer: Customer, book: BookRow
) -> None:
    await prebook(await add_customer(client, shop), book)
    own_id = (await prebook(customer, book))["prebooking"]
    await prebook(await add_customer(client, shop), book)
    assert (await prebook(customer, book))["prebooking"] == own_id


async def test_concurrent_prebookings_create_one(
    customer: Customer, book: BookRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, LOCK_BOOKS, [book.id]):
        tabs = [asyncio.create_task(prebook(customer, book)) for _ in range(2)]
        await wait_for_blocked(postgres, 2)
    ends = await asyncio.gather(*tabs)
    assert sorted(end["__typename"] for end in ends) == ["AlreadyPrebooked", "Prebooked"]
    assert ends[0]["prebooking"] == ends[1]["prebooking"]
    assert len(await list_prebooking_rows(postgres)) == 1


async def test_prebooking_of_another_user_is_not_found(
    client: ApiClient, shop: Shop, customer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    own_id = (await prebook(customer, book))["prebooking"]["id"]
    before, nobodys = await list_prebooking_rows(postgres), {"node": None, "nodes": [None]}
    stranger, manager = await add_customer(client, shop), await add_customer(client, shop, role="ADMIN")
    for other in (stranger, manager):
        assert await cancel_prebooking(other, own_id) == {"__typename": "NotFound", "code": "NOT_FOUND", "id": own_id}
    assert await list_prebooking_rows(postgres) == before
    assert (await client.execute(FOUND, id=own_id)).data == nobodys
    assert (await stranger.execute(FOUND, id=own_id)).data == nobodys
    visible = {"node": {"id": own_id, "status": "WAITING"}, "nodes": [{"id": own_id}]}
    assert (await customer.execute(FOUND, id=own_id)).data == visible
    assert (await manager.execute(FOUND, id=own_id)).data == visible


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
    again = (await prebook(customer, book))["prebooking"]
    assert again["id"] != first["id"]
    assert [row[3] for row in await list_prebooking_rows(postgres)] == ["CANCELLED", "WAITING"]


async def test_notified_prebooking_cannot_be_cancelled(
    customer: Customer, shop: Shop, book: BookRow, postgres: asyncpg.Connection
) -> None:
    own_id = (await prebook(customer, book))["prebooking"]["id"]
    await set_stock(shop, book.id, 1)
    before = await list_prebooking_rows(postgres)
    end = (await cancel_prebooking(customer, own_id))["prebooking"]
    assert (end["status"], end["cancelledAt"]) == ("NOTIFIED", None)
    assert end["notifiedAt"] is not None
    assert await list_prebooking_rows(postgres) == before


@pytest.mark.parametrize("delivery_first", [False, True])
async def test_concurrent_cancellation_and_restock(
    customer: Customer,
    shop: Shop,
    book: BookRow,
    postgres: asyncpg.Connection,
    database_url: str,
    delivery_first: bool,
) -> None:
    """Either the pre-booking is cancelled and no email is sent, or it is notified and cannot be cancelled."""
    own_id = (await prebook(customer, book))["prebooking"]["id"]
    both: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: cancel_prebooking(customer, own_id),
        lambda: set_stock(shop, book.id, 1),
    ]
    async with hold_lock(database_url, "SELECT FROM prebookings FOR UPDATE"):
        first = asyncio.create_task(both[delivery_first]())
        await wait_for_blocked(postgres, 1)
        second = asyncio.create_task(both[not delivery_first]())
        await wait_for_blocked(postgres, 2)
    ends = await asyncio.gather(first, second)
    cancelled, (_, notified) = ends[::-1] if delivery_first else ends
    assert (cancelled["prebooking"]["status"], notified) == (("NOTIFIED", 1) if delivery_first else ("CANCELLED", 0))
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'BOOK_BACK'") == notified


async def test_my_prebookings_by_status_newest_first(customer: Customer, shop: Shop) -> None:
    books = [await add_book(shop, title, stock=0) for title in ("Told", "Left", "Waiting")]
    ids = [(await prebook(customer, book))["prebooking"]["id"] for book in books]
    await set_stock(shop, books[0].id, 1)
    await cancel_prebooking(customer, ids[1])
    for statuses, titles in (
        (None, ["Waiting", "Left", "Told"]),
        (["WAITING"], ["Waiting"]),
        (["NOTIFIED", "CANCELLED", "NOTIFIED"], ["Left", "Told"]),
        ([], []),
    ):
        notified = (await customer.execute(MY_PREBOOKINGS, statuses=statuses))["me"]["prebookings"]
        assert [node["book"]["title"] for node in notified["nodes"]] == titles
        assert notified["totalCount"] == len(titles)


async def test_deleted_book_cancels_prebookings(
    client: ApiClient, shop: Shop, customer: Customer, book: BookRow, postgres: asyncpg.Connection
) -> None:
    await prebook(customer, book)
    manager = await add_customer(client, shop, role="ADMIN")
    deleted = await manager.execute(
        "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }", id=book_id(book)
    )
    assert deleted["deleteBook"]["__typename"] == "BookDeleted"
    assert await list_prebooking_rows(postgres) == []
    assert (await customer.execute(MY_PREBOOKINGS))["me"]["prebookings"]["totalCount"] == 0
