"""A restock tells everyone who waits, once, wherever the copies came from; nobody waits for a book that is there."""

import asyncio
from collections import Counter
from typing import Any

import asyncpg
import pytest

from domain.importing import Feed, Summary, import_batch
from domain.shop import Shop
from domain.stock import restock, take_stock
from persistence.catalog import Book
from persistence.prebookings import add_prebooking
from server.app import create_app
from server.settings import Settings
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, add_member, book_id
from tests.locks import BOOKS, holding, until_waiting
from tests.wire import tapped

PREBOOK = """
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
CANCEL = "mutation ($id: ID!) { cancelPrebooking(input: {prebookingId: $id}) { __typename } }"
RESTOCK = """
mutation ($book: ID!, $change: StockChangeInput!) {
  updateStock(input: {bookId: $book, change: $change}) {
    ... on StockUpdated { prebookingsNotified book { stockQuantity waitingPrebookings } }
  }
}
"""
WAITING = (
    "SELECT count(*) FROM prebookings JOIN books b ON b.id = book_id WHERE status = 'WAITING' AND stock_quantity > 0"
)


@pytest.fixture
async def administrator(visitor: Visitor, shop: Shop) -> Customer:
    return await add_customer(visitor, shop, role="ADMIN")


async def _waits(customer: Customer, book: Book) -> Any:
    return (await customer.ask(PREBOOK, book=book_id(book)))["prebook"]


async def _add_waiting(visitor: Visitor, shop: Shop, book: Book, count: int = 3) -> list[Customer]:
    customers = [await add_customer(visitor, shop) for _ in range(count)]
    for customer in customers:
        assert (await _waits(customer, book))["__typename"] == "Prebooked"
    return customers


async def _told(postgres: asyncpg.Connection) -> Counter[Any]:
    """Who was told, and by how many letters that are on their way."""
    rows = await postgres.fetch(
        """SELECT p.user_id FROM prebookings p JOIN letters l ON l.subject_id = p.id AND l.user_id = p.user_id
        JOIN pgqueuer q ON convert_from(q.payload, 'UTF8') = l.id::text
        WHERE p.status = 'NOTIFIED' AND l.kind = 'BOOK_BACK'"""
    )
    assert await postgres.fetchval("SELECT count(*) FROM letters WHERE kind = 'BOOK_BACK'") == len(rows)
    return Counter(row["user_id"] for row in rows)


async def _once_each(postgres: asyncpg.Connection, customers: list[Customer]) -> bool:
    return await _told(postgres) == Counter(customer.member.id for customer in customers)


@pytest.mark.parametrize("change", [{"setTo": 2}, {"adjustBy": 1}])
async def test_a_delivery_tells_them(
    administrator: Customer, visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, change: dict[str, int]
) -> None:
    book, other = await add_book(shop, stock=0), await add_book(shop, stock=0)
    customers = await _add_waiting(visitor, shop, book)
    gone = await add_customer(visitor, shop)
    left = (await _waits(gone, book))["prebooking"]["id"]
    assert (await gone.ask(CANCEL, id=left))["cancelPrebooking"]["__typename"] == "PrebookingCancelled"
    await _waits(gone, other)

    first = (await administrator.ask(RESTOCK, book=book_id(book), change=change))["updateStock"]
    more = (await administrator.ask(RESTOCK, book=book_id(book), change={"adjustBy": 5}))["updateStock"]

    assert (first["prebookingsNotified"], first["book"]["waitingPrebookings"]) == (3, 0)
    assert more["prebookingsNotified"] == 0
    assert await _once_each(postgres, customers)


@pytest.mark.parametrize("change", [{"setTo": 0}, {"adjustBy": 0}])
async def test_what_brings_no_copies_tells_nobody(
    administrator: Customer, visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, change: dict[str, int]
) -> None:
    book = await add_book(shop, stock=0)
    await _add_waiting(visitor, shop, book, 1)
    told = (await administrator.ask(RESTOCK, book=book_id(book), change=change))["updateStock"]
    assert (told["prebookingsNotified"], told["book"]["waitingPrebookings"]) == (0, 1)
    assert await _told(postgres) == Counter()


async def test_who_waits_again_is_told_again(visitor: Visitor, shop: Shop, postgres: asyncpg.Connection) -> None:
    book = await add_book(shop, stock=0)
    [customer] = await _add_waiting(visitor, shop, book, 1)
    for _ in range(2):
        _, told = await take_stock(shop, book.id, 1)
        assert told == 1
        await take_stock(shop, book.id, 0)
        await _waits(customer, book)
    assert await _told(postgres) == Counter({customer.member.id: 2})


async def test_a_cancelled_order_and_a_declined_payment_bring_copies_back(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, stock=2)
    buyer = await add_customer(visitor, shop, (book, 2))
    order = (await buyer.buys("one"))["order"]
    first = await _add_waiting(visitor, shop, book)
    assert (await buyer.cancels(order["id"]))["__typename"] == "OrderCancelled"
    assert await _once_each(postgres, first)

    other = await add_customer(visitor, shop, (book, 2))
    async with shop.database.transaction() as tx:  # somebody waits while the payment is under way
        late = await add_member(shop)
        await add_prebooking(tx, late.id, book.id)
    assert (await other.buys("two", "mock-decline"))["__typename"] == "PaymentFailed"
    assert await _told(postgres) == Counter([*(customer.member.id for customer in first), late.id])


async def test_an_import_that_sets_the_stock_tells_them(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection
) -> None:
    book = await add_book(shop, "Emma", stock=0, isbn="9780141439587")
    customers = await _add_waiting(visitor, shop, book)
    row = {"isbn": "9780141439587", "title": "Emma", "price": "10.00", "stock": "4"}
    for _ in range(2):
        await import_batch(shop, [Feed().read(2, row)], Summary(), set_stock=True, dry_run=False)
    assert await _once_each(postgres, customers)


async def test_nobody_waits_for_a_book_that_comes_back_at_this_moment(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=0)
    customers = [await add_customer(visitor, shop) for _ in range(4)]
    async with holding(database_url, BOOKS, [book.id]):
        early = [asyncio.create_task(_waits(customer, book)) for customer in customers[:2]]
        await until_waiting(postgres, 2)
        delivery = asyncio.create_task(restock(shop, book.id, 1))
        await until_waiting(postgres, 3)
        late = [asyncio.create_task(_waits(customer, book)) for customer in customers[2:]]
        await until_waiting(postgres, 5)
    ends = [end["__typename"] for end in await asyncio.gather(*early, *late)]
    _, told = await delivery

    assert await postgres.fetchval(WAITING) == 0
    assert ends.count("Prebooked") == told
    assert set(ends) <= {"Prebooked", "BookInStock"}
    assert sum((await _told(postgres)).values()) == told


async def test_a_delivery_waits_for_who_is_joining_the_list(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    """Who has seen the empty shelf and is not on the list yet would wait for ever for what is there."""
    book, customer = await add_book(shop, stock=0), await add_customer(visitor, shop)
    async with holding(database_url, "SELECT FROM users WHERE id = $1 FOR UPDATE", customer.member.id):
        joining = asyncio.create_task(_waits(customer, book))  # its row refers to the user
        await until_waiting(postgres, 1)
        delivery = asyncio.create_task(restock(shop, book.id, 1))
        both_wait = asyncio.create_task(until_waiting(postgres, 2))
        await asyncio.wait([delivery, both_wait], return_when=asyncio.FIRST_COMPLETED)
        both_wait.cancel()
    assert (await joining)["__typename"] == "Prebooked"
    assert (await delivery)[1] == 1
    assert await postgres.fetchval(WAITING) == 0
    assert await _once_each(postgres, [customer])


async def test_two_deliveries_at_once_tell_each_customer_once(
    visitor: Visitor, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book = await add_book(shop, stock=0)
    customers = await _add_waiting(visitor, shop, book)
    async with holding(database_url, BOOKS, [book.id]):
        deliveries = [asyncio.create_task(restock(shop, book.id, 1)) for _ in range(2)]
        await until_waiting(postgres, 2)
    assert sorted([told for _, told in await asyncio.gather(*deliveries)]) == [0, 3]
    assert await _once_each(postgres, customers)


async def test_a_thousand_are_told_by_as_many_statements_as_ten(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection
) -> None:
    assert settings.database_url is not None
    counts = {}
    async with tapped(settings.database_url) as wire:
        app = create_app(settings.model_copy(update={"database_url": wire.url}))
        async with app.router.lifespan_context(app):
            for many in (1, 10, 1_000):
                book = await add_book(shop, stock=0)
                await postgres.execute(
                    """WITH added AS (INSERT INTO users (id, email, display_name)
                    SELECT gen_random_uuid(), $1 || '-' || n || '@example.com', 'Reader' FROM generate_series(1, $2) n
                    RETURNING id) INSERT INTO prebookings (id, user_id, book_id) SELECT gen_random_uuid(), id, $3 FROM added""",
                    f"waiting-{many}", many, book.id,
                )  # fmt: skip
                before = wire.statements
                _, told = await restock(app.state.shop, book.id, 1)
                counts[many] = wire.statements - before
                assert told == many
    assert counts[10] == counts[1_000]
    assert await postgres.fetchval("SELECT count(*) FROM pgqueuer") == 1_011
