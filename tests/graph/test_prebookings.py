"""Pre-booking over HTTP: joining and leaving a waiting list, and who sees that."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from domain.stock import take_stock
from graph.ids import global_id
from persistence.catalog import Book
from persistence.models import new_id
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, book_id
from tests.locks import BOOKS, holding, until_waiting

_TOLD = "{ id status createdAt notifiedAt cancelledAt book { id } }"
JOIN = f"""mutation ($id: ID!) {{ end: prebook(input: {{bookId: $id}}) {{
    __typename ... on UserError {{ code }} ... on NotFound {{ id }}
    ... on Prebooked {{ prebooking {_TOLD} }} ... on AlreadyPrebooked {{ prebooking {_TOLD} }}
    ... on BookInStock {{ book {{ id stockQuantity }} }} }} }}"""
LEAVE = f"""mutation ($id: ID!) {{ end: cancelPrebooking(input: {{prebookingId: $id}}) {{
    __typename ... on NotFound {{ code id }} ... on PrebookingCancelled {{ prebooking {_TOLD} }} }} }}"""
MINE = """query ($statuses: [PrebookingStatus!]) { me { prebookings(statuses: $statuses) {
    totalCount nodes { status book { title } } } } }"""
FOUND = "query ($id: ID!) { node(id: $id) { id ... on Prebooking { status } } nodes(ids: [$id]) { id } }"


@pytest.fixture
async def book(shop: Shop) -> Book:
    return await add_book(shop, "Emma", stock=0)


@pytest.fixture
async def customer(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop)


async def joins(customer: Customer, book: Book) -> Any:
    return (await customer.ask(JOIN, id=book_id(book)))["end"]


async def leaves(customer: Customer, prebooking_id: str) -> Any:
    return (await customer.ask(LEAVE, id=prebooking_id))["end"]


async def kept(postgres: asyncpg.Connection) -> list[tuple[Any, ...]]:
    return [tuple(row) for row in await postgres.fetch("SELECT * FROM prebookings ORDER BY id")]


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


async def test_ids_that_lead_nowhere(customer: Customer, postgres: asyncpg.Connection) -> None:
    for document, kind in ((JOIN, "Book"), (LEAVE, "Prebooking")):
        nowhere = global_id(kind, new_id())
        assert (await customer.ask(document, id=nowhere))["end"] == {
            "__typename": "NotFound",
            "code": "NOT_FOUND",
            "id": nowhere,
        }
        for bad in (global_id("Genre", new_id()), "x", ""):
            assert (await customer.ask(document, id=bad)).codes == ["BAD_USER_INPUT"]
    assert await kept(postgres) == []


async def test_nobody_waits_for_what_is_there(customer: Customer, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, stock=1)
    end = await joins(customer, book)
    assert (end["__typename"], end["code"]) == ("BookInStock", "PREBOOK_BOOK_IN_STOCK")
    assert end["book"] == {"id": book_id(book), "stockQuantity": 1}
    assert await kept(postgres) == []


async def test_a_second_try_is_shown_the_first(customer: Customer, book: Book, postgres: asyncpg.Connection) -> None:
    first = await joins(customer, book)
    before = await kept(postgres)
    second = await joins(customer, book)
    assert (second["__typename"], second["code"]) == ("AlreadyPrebooked", "PREBOOK_DUPLICATE")
    assert second["prebooking"] == first["prebooking"]
    assert await kept(postgres) == before


async def test_a_strangers_place_is_not_taken_for_ones_own(
    visitor: Visitor, shop: Shop, customer: Customer, book: Book
) -> None:
    await joins(await add_customer(visitor, shop), book)
    mine = (await joins(customer, book))["prebooking"]
    await joins(await add_customer(visitor, shop), book)
    assert (await joins(customer, book))["prebooking"] == mine


async def test_of_two_tabs_one_joins(
    customer: Customer, book: Book, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with holding(database_url, BOOKS, [book.id]):
        tabs = [asyncio.create_task(joins(customer, book)) for _ in range(2)]
        await until_waiting(postgres, 2)
    ends = await asyncio.gather(*tabs)
    assert sorted(end["__typename"] for end in ends) == ["AlreadyPrebooked", "Prebooked"]
    assert ends[0]["prebooking"] == ends[1]["prebooking"]
    assert len(await kept(postgres)) == 1


async def test_a_foreign_one_is_not_there(
    visitor: Visitor, shop: Shop, customer: Customer, book: Book, postgres: asyncpg.Connection
) -> None:
    mine = (await joins(customer, book))["prebooking"]["id"]
    before, nobodys = await kept(postgres), {"node": None, "nodes": [None]}
    stranger, manager = await add_customer(visitor, shop), await add_customer(visitor, shop, role="ADMIN")
    for other in (stranger, manager):
        assert await leaves(other, mine) == {"__typename": "NotFound", "code": "NOT_FOUND", "id": mine}
    assert await kept(postgres) == before
    assert (await visitor.ask(FOUND, id=mine)).data == nobodys
    assert (await stranger.ask(FOUND, id=mine)).data == nobodys
    there = {"node": {"id": mine, "status": "WAITING"}, "nodes": [{"id": mine}]}
    assert (await customer.ask(FOUND, id=mine)).data == there
    assert (await manager.ask(FOUND, id=mine)).data == there


# ── Joining and leaving ───────────────────────────────────────────────────────────────────


async def test_leaving_twice_leaves_once_and_then_one_may_join_again(
    customer: Customer, book: Book, postgres: asyncpg.Connection
) -> None:
    first = (await joins(customer, book))["prebooking"]
    assert (first["status"], first["notifiedAt"], first["cancelledAt"]) == ("WAITING", None, None)
    left = await leaves(customer, first["id"])
    assert left["prebooking"]["status"] == "CANCELLED"
    assert left["prebooking"]["cancelledAt"] is not None
    assert await leaves(customer, first["id"]) == left
    again = (await joins(customer, book))["prebooking"]
    assert again["id"] != first["id"]
    assert [row[3] for row in await kept(postgres)] == ["CANCELLED", "WAITING"]


async def test_who_was_told_cannot_leave_any_more(
    customer: Customer, shop: Shop, book: Book, postgres: asyncpg.Connection
) -> None:
    mine = (await joins(customer, book))["prebooking"]["id"]
    await take_stock(shop, book.id, 1)
    before = await kept(postgres)
    end = (await leaves(customer, mine))["prebooking"]
    assert (end["status"], end["cancelledAt"]) == ("NOTIFIED", None)
    assert end["notifiedAt"] is not None
    assert await kept(postgres) == before


@pytest.mark.parametrize("delivery_first", [False, True])
async def test_leaving_and_a_delivery_at_the_same_moment(
    customer: Customer,
    shop: Shop,
    book: Book,
    postgres: asyncpg.Connection,
    database_url: str,
    delivery_first: bool,
) -> None:
    """Whoever comes first: either they left and nobody was told, or they were told and it is over."""
    mine = (await joins(customer, book))["prebooking"]["id"]
    both: list[Callable[[], Coroutine[Any, Any, Any]]] = [
        lambda: leaves(customer, mine),
        lambda: take_stock(shop, book.id, 1),
    ]
    async with holding(database_url, "SELECT FROM prebookings FOR UPDATE"):
        first = asyncio.create_task(both[delivery_first]())
        await until_waiting(postgres, 1)
        second = asyncio.create_task(both[not delivery_first]())
        await until_waiting(postgres, 2)
    ends = await asyncio.gather(first, second)
    left, (_, told) = ends[::-1] if delivery_first else ends
    assert (left["prebooking"]["status"], told) == (("NOTIFIED", 1) if delivery_first else ("CANCELLED", 0))
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'BOOK_BACK'") == told


async def test_my_list_by_status_the_latest_first(customer: Customer, shop: Shop) -> None:
    books = [await add_book(shop, title, stock=0) for title in ("Told", "Left", "Waiting")]
    ids = [(await joins(customer, book))["prebooking"]["id"] for book in books]
    await take_stock(shop, books[0].id, 1)
    await leaves(customer, ids[1])
    for statuses, titles in (
        (None, ["Waiting", "Left", "Told"]),
        (["WAITING"], ["Waiting"]),
        (["NOTIFIED", "CANCELLED", "NOTIFIED"], ["Left", "Told"]),
        ([], []),
    ):
        told = (await customer.ask(MINE, statuses=statuses))["me"]["prebookings"]
        assert [node["book"]["title"] for node in told["nodes"]] == titles
        assert told["totalCount"] == len(titles)


async def test_a_deleted_book_is_waited_for_no_more(
    visitor: Visitor, shop: Shop, customer: Customer, book: Book, postgres: asyncpg.Connection
) -> None:
    await joins(customer, book)
    manager = await add_customer(visitor, shop, role="ADMIN")
    deleted = await manager.ask(
        "mutation ($id: ID!) { deleteBook(input: {bookId: $id}) { __typename } }", id=book_id(book)
    )
    assert deleted["deleteBook"]["__typename"] == "BookDeleted"
    assert await kept(postgres) == []
    assert (await customer.ask(MINE))["me"]["prebookings"]["totalCount"] == 0
