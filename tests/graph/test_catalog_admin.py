"""The catalog's administration: adding, changing and deleting books."""

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from tests.support.database.db_snapshots import is_stock_consistent, list_stock_movements
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.http.client import ApiClient
from tests.support.shop.catalog_admin import (
    CLEARABLE_FIELDS,
    CREATE_BOOK,
    DELETE_BOOK,
    FULL_INPUT,
    HOBBIT,
    MINIMAL_INPUT,
    UPDATE_BOOK,
    add_admin_customer,
    add_hobbit,
    to_input,
)
from tests.support.shop.customers import Customer, add_customer
from tests.support.shop.factories import add_book, add_genre, book_id


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_admin_customer(client, shop)


@pytest.fixture
async def hobbit(shop: Shop) -> BookRow:
    return await add_hobbit(shop)


# ── Adding ────────────────────────────────────────────────────────────────────────────────


async def test_create_book_with_all_fields(admin: Customer, shop: Shop, postgres: asyncpg.Connection) -> None:
    genre = await add_genre(shop, "Fantasy")
    book_input = FULL_INPUT | {"genreId": to_global_id("Genre", genre.id), "stockQuantity": 7}
    book = (await admin.execute(CREATE_BOOK, input=book_input))["result"]["book"]
    assert to_input(book) == FULL_INPUT
    assert (book["slug"], book["stockQuantity"], book["genre"]) == ("the-hobbit", 7, {"slug": "fantasy"})
    [row] = await postgres.fetch("SELECT id, price, isbn FROM books")
    assert (row["price"], row["isbn"]) == (Decimal("12.50"), HOBBIT)
    assert [
        tuple(movement) for movement in await postgres.fetch("SELECT book_id, change, reason FROM stock_movements")
    ] == [(row["id"], 7, "NEW_BOOK")]


async def test_create_book_with_required_fields_only(admin: Customer, postgres: asyncpg.Connection) -> None:
    book = (await admin.execute(CREATE_BOOK, input={"title": "Beowulf", "authors": [], "price": 1}))["result"]["book"]
    assert to_input(book) == dict.fromkeys(FULL_INPUT) | {"title": "Beowulf", "authors": [], "price": "1.00"}
    assert (book["stockQuantity"], book["genre"]) == (0, None)
    assert await postgres.fetchval("SELECT count(*) FROM stock_movements") == 0


async def test_input_is_normalized(admin: Customer) -> None:
    book_input = {
        "title": "  E\u0301lan \u00a0 vital ",
        "subtitle": "   ",
        "authors": ["  Jane   Austen ", "JANE AUSTEN", "Émile Zola"],
        "price": "9.9",
        "isbn": "ISBN-10: 0\u2013261\u201310328\u20138",
        "description": "one\r\ntwo\u2028\n",
        "language": "PT-br",
    }
    book = (await admin.execute(CREATE_BOOK, input=book_input))["result"]["book"]
    assert to_input(book) == dict.fromkeys(FULL_INPUT) | {
        "title": "Élan vital",
        "authors": ["Jane Austen", "Émile Zola"],
        "price": "9.90",
        "isbn": HOBBIT,
        "description": "one\ntwo",
        "language": "pt-BR",
    }


async def test_books_share_authors_but_not_slugs(admin: Customer, postgres: asyncpg.Connection) -> None:
    first = (await admin.execute(CREATE_BOOK, input=MINIMAL_INPUT))["result"]["book"]
    second = (await admin.execute(CREATE_BOOK, input=MINIMAL_INPUT | {"authors": ["New One", "jane AUSTEN"]}))[
        "result"
    ]["book"]
    assert (first["slug"], second["slug"]) == ("emma", "emma-2")
    assert second["authors"] == [{"name": "New One", "slug": "new-one"}, {"name": "Jane Austen", "slug": "jane-austen"}]
    assert await postgres.fetchval("SELECT count(*) FROM authors") == 2


async def test_concurrent_creations_with_one_isbn_create_one_book(
    admin: Customer, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    book_input = MINIMAL_INPUT | {"isbn": HOBBIT, "stockQuantity": 2}
    async with hold_lock(database_url, "LOCK TABLE books IN SHARE MODE"):
        attempts = [asyncio.create_task(admin.execute(CREATE_BOOK, input=book_input)) for _ in range(3)]
        await wait_for_blocked(postgres, 3)
    type_names = sorted([(await attempt)["result"]["__typename"] for attempt in attempts])
    assert type_names == ["BookSaved", "IsbnTaken", "IsbnTaken"]
    assert await postgres.fetchval("SELECT count(*) FROM books") == 1
    assert await is_stock_consistent(postgres)


async def test_concurrent_creations_with_one_title_get_unique_slugs(
    admin: Customer, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with hold_lock(database_url, "LOCK TABLE books IN SHARE MODE"):
        attempts = [asyncio.create_task(admin.execute(CREATE_BOOK, input=MINIMAL_INPUT)) for _ in range(2)]
        await wait_for_blocked(postgres, 2)
    slugs = {(await attempt)["result"]["book"]["slug"] for attempt in attempts}
    assert slugs == {"emma", "emma-2"}
    assert await postgres.fetchval("SELECT count(*) FROM authors") == 1


# ── Changing ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    "change",
    [
        {"title": "There and Back"},
        {"subtitle": "Or"},
        {"authors": ["Christopher Tolkien", "J. R. R. Tolkien"]},
        {"authors": []},
        {"price": "0.01"},
        {"isbn": "9780140449136"},
        {"description": "New"},
        {"coverUrl": "http://example.com/a.png"},
        {"format": "AUDIOBOOK"},
        {"publisher": "HarperCollins"},
        {"publishedOn": "2001-02-03"},
        {"pageCount": 1},
        {"language": "de"},
        *({name: None} for name in CLEARABLE_FIELDS),
    ],
)
async def test_omitted_fields_stay_and_null_clears(
    admin: Customer, hobbit: BookRow, postgres: asyncpg.Connection, change: dict[str, Any]
) -> None:
    book = (await admin.execute(UPDATE_BOOK, input={"bookId": book_id(hobbit)} | change))["result"]["book"]
    assert to_input(book) == FULL_INPUT | change
    assert (book["slug"], book["stockQuantity"], book["genre"]) == ("the-hobbit", 3, {"slug": "fantasy"})
    assert await postgres.fetchval("SELECT updated_at FROM books") > hobbit.updated_at
    assert await list_stock_movements(postgres, hobbit) == [("NEW_BOOK", 3)]


async def test_a_blank_text_clears_an_optional_field(admin: Customer, hobbit: BookRow) -> None:
    names = [
        name for name in CLEARABLE_FIELDS if isinstance(FULL_INPUT[name], str) and name not in ("format", "publishedOn")
    ]
    for name, blank in zip(names, ["", "  ", "\u3000"] * len(names), strict=False):
        book = (await admin.execute(UPDATE_BOOK, input={"bookId": book_id(hobbit)} | FULL_INPUT | {name: blank}))[
            "result"
        ]["book"]
        assert to_input(book) == FULL_INPUT | {name: None}
        created = (await admin.execute(CREATE_BOOK, input=MINIMAL_INPUT | {name: blank}))["result"]["book"]
        assert to_input(created) == dict.fromkeys(FULL_INPUT) | MINIMAL_INPUT


async def test_update_sets_every_field(admin: Customer, shop: Shop) -> None:
    emma = await add_book(shop, "Emma")
    book = (await admin.execute(UPDATE_BOOK, input={"bookId": book_id(emma)} | FULL_INPUT))["result"]["book"]
    assert to_input(book) == FULL_INPUT


async def test_book_changes_or_loses_its_genre(admin: Customer, shop: Shop, hobbit: BookRow) -> None:
    classics = await add_genre(shop, "Classics")
    for genre_id, genre in ((to_global_id("Genre", classics.id), {"slug": "classics"}), (None, None)):
        book = (await admin.execute(UPDATE_BOOK, input={"bookId": book_id(hobbit), "genreId": genre_id}))["result"][
            "book"
        ]
        assert (to_input(book), book["genre"]) == (FULL_INPUT, genre)


@pytest.mark.parametrize("change", [{}, {"isbn": "0-261-10328-8"}, FULL_INPUT])
async def test_update_with_unchanged_values(admin: Customer, hobbit: BookRow, change: dict[str, Any]) -> None:
    book = (await admin.execute(UPDATE_BOOK, input={"bookId": book_id(hobbit)} | change))["result"]["book"]
    assert (to_input(book), book["slug"]) == (FULL_INPUT, "the-hobbit")


async def test_racing_update_reports_isbn_taken(
    admin: Customer, shop: Shop, hobbit: BookRow, postgres: asyncpg.Connection, database_url: str
) -> None:
    emma = await add_book(shop, "Emma")
    set_isbn = "UPDATE books SET isbn = '9780140449136' WHERE id = $1"
    async with hold_lock(database_url, set_isbn, emma.id):
        change = {"bookId": book_id(hobbit), "isbn": "9780140449136", "title": "Changed"}
        racing_update = asyncio.create_task(admin.execute(UPDATE_BOOK, input=change))
        await wait_for_blocked(postgres, 1)
    result = (await racing_update)["result"]
    assert (result["__typename"], result["book"]) == ("IsbnTaken", {"id": book_id(emma)})
    assert await postgres.fetchval("SELECT title FROM books WHERE id = $1", hobbit.id) == "The Hobbit"


# ── Deleting ──────────────────────────────────────────────────────────────────────────────


async def test_deleted_book_leaves_carts_but_not_orders(
    client: ApiClient, shop: Shop, admin: Customer, hobbit: BookRow, postgres: asyncpg.Connection
) -> None:
    emma = await add_book(shop, "Emma", price="1.00")
    buyer = await add_customer(client, shop, (hobbit, 1))
    order = (await buyer.checkout())["order"]
    other_buyer = await add_customer(client, shop, (hobbit, 2), (emma, 1))

    result = (await admin.execute(DELETE_BOOK, id=book_id(hobbit)))["result"]
    assert result == {"__typename": "BookDeleted", "bookId": book_id(hobbit)}

    assert await other_buyer.get_cart_lines() == [("Emma", 1)]
    assert (await other_buyer.checkout(expectedTotal="26.00"))["__typename"] == "PriceChanged"
    [order_after_deletion] = await buyer.list_orders()
    assert order_after_deletion == order | {"items": [order["items"][0] | {"book": None}], "viewerCanCancel": True}
    ledger = await postgres.fetch("SELECT change, reason FROM stock_movements WHERE title = 'The Hobbit' ORDER BY id")
    assert [tuple(row) for row in ledger] == [(3, "NEW_BOOK"), (-1, "SALE")]
    assert (await admin.execute(DELETE_BOOK, id=book_id(hobbit)))["result"]["__typename"] == "NotFound"


async def test_deleted_book_frees_isbn_and_slug_and_keeps_author(admin: Customer, hobbit: BookRow) -> None:
    await admin.execute(DELETE_BOOK, id=book_id(hobbit))
    book = (await admin.execute(CREATE_BOOK, input=FULL_INPUT))["result"]["book"]
    assert to_input(book) == FULL_INPUT
    assert (book["slug"], book["id"] != book_id(hobbit)) == ("the-hobbit", True)
    assert book["authors"] == [{"name": "J. R. R. Tolkien", "slug": "j-r-r-tolkien"}]
