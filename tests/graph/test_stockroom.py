"""The stockroom: books as administrators add, change and delete them."""

import asyncio
from decimal import Decimal
from typing import Any

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.catalog import Book
from tests.client import Visitor
from tests.customers import Customer, add_customer
from tests.factories import add_book, add_genre, book_id
from tests.locks import holding, until_waiting
from tests.memory import movements_of, stock_is_explained
from tests.stockroom import (
    CLEARABLE,
    CREATE,
    DELETE,
    HOBBIT,
    LEAST,
    MOST,
    UPDATE,
    add_hobbit,
    add_manager,
    told,
)


@pytest.fixture
async def administrator(visitor: Visitor, shop: Shop) -> Customer:
    return await add_manager(visitor, shop)


@pytest.fixture
async def hobbit(shop: Shop) -> Book:
    return await add_hobbit(shop)


# ── Adding ────────────────────────────────────────────────────────────────────────────────


async def test_a_book_is_added_with_all_that_is_told_of_it(
    administrator: Customer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    genre = await add_genre(shop, "Fantasy")
    given = MOST | {"genreId": global_id("Genre", genre.id), "stockQuantity": 7}
    book = (await administrator.ask(CREATE, input=given))["end"]["book"]
    assert told(book) == MOST
    assert (book["slug"], book["stockQuantity"], book["genre"]) == ("the-hobbit", 7, {"slug": "fantasy"})
    [row] = await postgres.fetch("SELECT id, price, isbn FROM books")
    assert (row["price"], row["isbn"]) == (Decimal("12.50"), HOBBIT)
    assert [tuple(move) for move in await postgres.fetch("SELECT book_id, change, reason FROM stock_movements")] == [
        (row["id"], 7, "NEW_BOOK")
    ]


async def test_a_book_needs_little(administrator: Customer, postgres: asyncpg.Connection) -> None:
    book = (await administrator.ask(CREATE, input={"title": "Beowulf", "authors": [], "price": 1}))["end"]["book"]
    assert told(book) == dict.fromkeys(MOST) | {"title": "Beowulf", "authors": [], "price": "1.00"}
    assert (book["stockQuantity"], book["genre"]) == (0, None)
    assert await postgres.fetchval("SELECT count(*) FROM stock_movements") == 0


async def test_what_is_told_is_tidied(administrator: Customer) -> None:
    given = {
        "title": "  E\u0301lan ",
        "subtitle": "   ",
        "authors": ["  Jane   Austen ", "JANE AUSTEN", "Émile Zola"],
        "price": "9.9",
        "isbn": "0-261-10328-8",
        "description": "one\r\ntwo\n",
        "language": "PT-br",
    }
    book = (await administrator.ask(CREATE, input=given))["end"]["book"]
    assert told(book) == dict.fromkeys(MOST) | {
        "title": "Élan",
        "authors": ["Jane Austen", "Émile Zola"],
        "price": "9.90",
        "isbn": HOBBIT,
        "description": "one\ntwo",
        "language": "pt-BR",
    }


async def test_books_share_their_authors_and_never_their_slugs(
    administrator: Customer, postgres: asyncpg.Connection
) -> None:
    first = (await administrator.ask(CREATE, input=LEAST))["end"]["book"]
    again = (await administrator.ask(CREATE, input=LEAST | {"authors": ["New One", "jane AUSTEN"]}))["end"]["book"]
    assert (first["slug"], again["slug"]) == ("emma", "emma-2")
    assert again["authors"] == [{"name": "New One", "slug": "new-one"}, {"name": "Jane Austen", "slug": "jane-austen"}]
    assert await postgres.fetchval("SELECT count(*) FROM authors") == 2


async def test_at_the_same_moment_one_isbn_makes_one_book(
    administrator: Customer, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    given = LEAST | {"isbn": HOBBIT, "stockQuantity": 2}
    async with holding(database_url, "LOCK TABLE books IN SHARE MODE"):
        tries = [asyncio.create_task(administrator.ask(CREATE, input=given)) for _ in range(3)]
        await until_waiting(postgres, 3)
    ends = sorted([(await each)["end"]["__typename"] for each in tries])
    assert ends == ["BookSaved", "IsbnTaken", "IsbnTaken"]
    assert await postgres.fetchval("SELECT count(*) FROM books") == 1
    assert await stock_is_explained(postgres, shop)


async def test_at_the_same_moment_one_title_makes_several_slugs_and_one_author(
    administrator: Customer, postgres: asyncpg.Connection, database_url: str
) -> None:
    async with holding(database_url, "LOCK TABLE books IN SHARE MODE"):
        tries = [asyncio.create_task(administrator.ask(CREATE, input=LEAST)) for _ in range(2)]
        await until_waiting(postgres, 2)
    slugs = {(await each)["end"]["book"]["slug"] for each in tries}
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
        *({name: None} for name in CLEARABLE),
    ],
)
async def test_what_is_left_out_stays_and_null_clears(
    administrator: Customer, hobbit: Book, postgres: asyncpg.Connection, change: dict[str, Any]
) -> None:
    book = (await administrator.ask(UPDATE, input={"bookId": book_id(hobbit)} | change))["end"]["book"]
    assert told(book) == MOST | change
    assert (book["slug"], book["stockQuantity"], book["genre"]) == ("the-hobbit", 3, {"slug": "fantasy"})
    assert await postgres.fetchval("SELECT updated_at FROM books") > hobbit.updated_at
    assert await movements_of(postgres, hobbit) == [("NEW_BOOK", 3)]


async def test_a_book_moves_to_another_shelf_or_to_none(administrator: Customer, shop: Shop, hobbit: Book) -> None:
    classics = await add_genre(shop, "Classics")
    for genre_id, genre in ((global_id("Genre", classics.id), {"slug": "classics"}), (None, None)):
        book = (await administrator.ask(UPDATE, input={"bookId": book_id(hobbit), "genreId": genre_id}))["end"]["book"]
        assert (told(book), book["genre"]) == (MOST, genre)


@pytest.mark.parametrize("change", [{}, {"isbn": "0-261-10328-8"}, MOST])
async def test_a_book_may_be_told_what_it_is(administrator: Customer, hobbit: Book, change: dict[str, Any]) -> None:
    book = (await administrator.ask(UPDATE, input={"bookId": book_id(hobbit)} | change))["end"]["book"]
    assert (told(book), book["slug"]) == (MOST, "the-hobbit")


async def test_an_isbn_that_another_book_gets_at_the_same_moment_is_taken(
    administrator: Customer, shop: Shop, hobbit: Book, postgres: asyncpg.Connection, database_url: str
) -> None:
    emma = await add_book(shop, "Emma")
    gets_it = "UPDATE books SET isbn = '9780140449136' WHERE id = $1"
    async with holding(database_url, gets_it, emma.id):
        change = {"bookId": book_id(hobbit), "isbn": "9780140449136", "title": "Changed"}
        late = asyncio.create_task(administrator.ask(UPDATE, input=change))
        await until_waiting(postgres, 1)
    end = (await late)["end"]
    assert (end["__typename"], end["book"]) == ("IsbnTaken", {"id": book_id(emma)})
    assert await postgres.fetchval("SELECT title FROM books WHERE id = $1", hobbit.id) == "The Hobbit"


# ── Deleting ──────────────────────────────────────────────────────────────────────────────


async def test_a_deleted_book_leaves_carts_and_stays_in_orders(
    visitor: Visitor, shop: Shop, administrator: Customer, hobbit: Book, postgres: asyncpg.Connection
) -> None:
    emma = await add_book(shop, "Emma", price="1.00")
    buyer = await add_customer(visitor, shop, (hobbit, 1))
    order = (await buyer.buys())["order"]
    waiting = await add_customer(visitor, shop, (hobbit, 2), (emma, 1))

    end = (await administrator.ask(DELETE, id=book_id(hobbit)))["end"]
    assert end == {"__typename": "BookDeleted", "bookId": book_id(hobbit)}

    assert await waiting.cart_lines() == [("Emma", 1)]
    assert (await waiting.buys(expectedTotal="26.00"))["__typename"] == "PriceChanged"
    [kept] = await buyer.orders()
    assert kept == order | {"items": [order["items"][0] | {"book": None}], "viewerCanCancel": True}
    ledger = await postgres.fetch("SELECT change, reason FROM stock_movements WHERE title = 'The Hobbit' ORDER BY id")
    assert [tuple(row) for row in ledger] == [(3, "NEW_BOOK"), (-1, "SALE")]
    assert (await administrator.ask(DELETE, id=book_id(hobbit)))["end"]["__typename"] == "NotFound"


async def test_a_deleted_book_leaves_its_isbn_its_slug_and_its_author(administrator: Customer, hobbit: Book) -> None:
    await administrator.ask(DELETE, id=book_id(hobbit))
    book = (await administrator.ask(CREATE, input=MOST))["end"]["book"]
    assert told(book) == MOST
    assert (book["slug"], book["id"] != book_id(hobbit)) == ("the-hobbit", True)
    assert book["authors"] == [{"name": "J. R. R. Tolkien", "slug": "j-r-r-tolkien"}]
