"""What the stockroom refuses, and that nothing has changed then."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from domain.shop import Shop
from graph.ids import global_id
from persistence.catalog import Book
from persistence.models import new_id
from tests.client import Visitor
from tests.customers import Customer
from tests.factories import add_book, book_id
from tests.stockroom import CREATE, DELETE, HOBBIT, LEAST, STOCK, UPDATE, add_hobbit, add_manager, shelved

INVALID: list[tuple[dict[str, Any], list[str], str]] = [
    ({"title": ""}, ["title"], "REQUIRED"),
    ({"title": " \t "}, ["title"], "REQUIRED"),
    ({"title": "x" * 501}, ["title"], "TOO_LONG"),
    ({"title": "a\nb"}, ["title"], "MALFORMED"),
    ({"title": "a\0b"}, ["title"], "MALFORMED"),
    ({"subtitle": "x" * 501}, ["subtitle"], "TOO_LONG"),
    ({"authors": ["Jane", " "]}, ["authors", "1"], "REQUIRED"),
    ({"authors": ["x" * 201]}, ["authors", "0"], "TOO_LONG"),
    ({"authors": ["a\nb"]}, ["authors", "0"], "MALFORMED"),
    ({"authors": [str(number) for number in range(51)]}, ["authors"], "TOO_LONG"),
    ({"price": "0"}, ["price"], "TOO_SMALL"),
    ({"price": "-1"}, ["price"], "TOO_SMALL"),
    ({"price": "100000000"}, ["price"], "TOO_LARGE"),
    ({"price": "9.999"}, ["price"], "MALFORMED"),
    ({"isbn": "9780261103284"}, ["isbn"], "MALFORMED"),
    ({"isbn": "978026110328"}, ["isbn"], "MALFORMED"),
    ({"isbn": ""}, ["isbn"], "MALFORMED"),
    ({"description": "x" * 20_001}, ["description"], "TOO_LONG"),
    ({"description": "a\x1bb"}, ["description"], "MALFORMED"),
    ({"coverUrl": "javascript:alert(1)"}, ["coverUrl"], "MALFORMED"),
    ({"coverUrl": "/cover.jpg"}, ["coverUrl"], "MALFORMED"),
    ({"coverUrl": "https://example.com/" + "x" * 2000}, ["coverUrl"], "TOO_LONG"),
    ({"publisher": "x" * 201}, ["publisher"], "TOO_LONG"),
    ({"pageCount": 0}, ["pageCount"], "TOO_SMALL"),
    ({"pageCount": 100_001}, ["pageCount"], "TOO_LARGE"),
    ({"language": "english!"}, ["language"], "MALFORMED"),
]


@pytest.fixture
async def administrator(visitor: Visitor, shop: Shop) -> Customer:
    return await add_manager(visitor, shop)


@pytest.fixture
async def hobbit(shop: Shop) -> Book:
    return await add_hobbit(shop)


@pytest.mark.parametrize(
    ("wrong", "path", "rule"),
    [*INVALID, ({"stockQuantity": -1}, ["stockQuantity"], "TOO_SMALL"), ({"stockQuantity": 10**6 + 1}, ["stockQuantity"], "TOO_LARGE")],
)  # fmt: skip
async def test_a_book_that_cannot_be_is_not_added(
    administrator: Customer,
    hobbit: Book,
    postgres: asyncpg.Connection,
    wrong: dict[str, Any],
    path: list[str],
    rule: str,
) -> None:
    before = await shelved(postgres)
    end = (await administrator.ask(CREATE, input=LEAST | wrong))["end"]
    assert (end["__typename"], end["issues"]) == ("InvalidInput", [{"path": path, "rule": rule}])
    assert await shelved(postgres) == before


@pytest.mark.parametrize(
    ("wrong", "path", "rule"),
    [*INVALID, *(({name: None}, [name], "REQUIRED") for name in ("title", "authors", "price"))],
)
async def test_a_book_does_not_become_what_it_cannot_be(
    administrator: Customer,
    hobbit: Book,
    postgres: asyncpg.Connection,
    wrong: dict[str, Any],
    path: list[str],
    rule: str,
) -> None:
    before = await shelved(postgres)
    end = (await administrator.ask(UPDATE, input={"bookId": book_id(hobbit), "publisher": "Other"} | wrong))["end"]
    assert (end["__typename"], end["issues"]) == ("InvalidInput", [{"path": path, "rule": rule}])
    assert await shelved(postgres) == before


@pytest.mark.parametrize("document", [CREATE, UPDATE])
async def test_all_that_is_wrong_is_named_at_once(
    administrator: Customer, hobbit: Book, postgres: asyncpg.Connection, document: str
) -> None:
    before = await shelved(postgres)
    wrong = {"title": "", "authors": ["", "Jane", "\0"], "price": "0", "isbn": "1", "pageCount": -1, "language": "?"}
    key = {"bookId": book_id(hobbit)} if document is UPDATE else {}
    end = (await administrator.ask(document, input=key | wrong))["end"]
    paths = [["title"], ["authors", "0"], ["authors", "2"], ["price"], ["isbn"], ["pageCount"], ["language"]]
    assert sorted(issue["path"] for issue in end["issues"]) == sorted(paths)
    assert await shelved(postgres) == before


@pytest.mark.parametrize("isbn", [HOBBIT, "978-0-261-10328-3", "0261103288", "0-261-10328-8"])
async def test_an_isbn_belongs_to_one_book(
    administrator: Customer, shop: Shop, hobbit: Book, postgres: asyncpg.Connection, isbn: str
) -> None:
    other = await add_book(shop, "Other", authors=("Unheard Of",))
    before = await shelved(postgres)
    ends = [
        await administrator.ask(CREATE, input=LEAST | {"isbn": isbn, "authors": ["Somebody New"]}),
        await administrator.ask(UPDATE, input={"bookId": book_id(other), "isbn": isbn, "authors": ["Somebody New"]}),
    ]
    for end in ends:
        assert (end["end"]["__typename"], end["end"]["book"]) == ("IsbnTaken", {"id": book_id(hobbit)})
    assert await shelved(postgres) == before


async def test_books_and_genres_that_are_not_there(
    administrator: Customer, hobbit: Book, postgres: asyncpg.Connection
) -> None:
    before = await shelved(postgres)
    no_book, no_genre = global_id("Book", new_id()), global_id("Genre", new_id())
    for document, variables, missing in (
        (CREATE, {"input": LEAST | {"genreId": no_genre}}, no_genre),
        (UPDATE, {"input": {"bookId": book_id(hobbit), "title": "New", "genreId": no_genre}}, no_genre),
        (UPDATE, {"input": {"bookId": no_book, "title": "New", "authors": ["New"]}}, no_book),
        (DELETE, {"id": no_book}, no_book),
    ):
        end = (await administrator.ask(document, **variables))["end"]
        assert (end["__typename"], end["id"]) == ("NotFound", missing)
    assert (await administrator.ask(STOCK, id=no_book))["end"] == {"__typename": "NotFound"}
    assert await shelved(postgres) == before


@pytest.mark.parametrize("id_", ["", "1", "hobbit", global_id("Author", UUID(int=7))])
async def test_ids_of_other_things_are_a_wrong_call(
    administrator: Customer, hobbit: Book, postgres: asyncpg.Connection, id_: str
) -> None:
    before = await shelved(postgres)
    for document, variables in (
        (CREATE, {"input": LEAST | {"genreId": id_}}),
        (UPDATE, {"input": {"bookId": id_, "title": "New"}}),
        (UPDATE, {"input": {"bookId": book_id(hobbit), "genreId": id_}}),
        (DELETE, {"id": id_}),
        (STOCK, {"id": id_}),
    ):
        assert (await administrator.ask(document, **variables)).codes == ["BAD_USER_INPUT"]
    assert await shelved(postgres) == before
