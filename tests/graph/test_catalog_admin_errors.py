"""Errors of the catalog's administration; none of them changes anything."""

from typing import Any
from uuid import UUID

import asyncpg
import pytest

from domain.shop import Shop
from graph.kit.ids import to_global_id
from persistence.catalog import BookRow
from persistence.tables import new_id
from tests.support.http.client import ApiClient
from tests.support.shop.catalog_admin import (
    CREATE_BOOK,
    DELETE_BOOK,
    HOBBIT,
    MINIMAL_INPUT,
    UPDATE_BOOK,
    UPDATE_STOCK,
    add_admin_customer,
    add_hobbit,
    take_catalog_snapshot,
)
from tests.support.shop.customers import Customer
from tests.support.shop.factories import add_book, book_id

INVALID_FIELDS: list[tuple[dict[str, Any], list[str], str]] = [
    ({"title": ""}, ["title"], "REQUIRED"),
    ({"title": " \t "}, ["title"], "REQUIRED"),
    ({"title": "x" * 501}, ["title"], "TOO_LONG"),
    ({"title": "a\nb"}, ["title"], "MALFORMED"),
    ({"title": "a\0b"}, ["title"], "MALFORMED"),
    ({"title": "\u2060"}, ["title"], "MALFORMED"),
    ({"title": "The \u202eHobbit"}, ["title"], "MALFORMED"),
    ({"title": "\u0308"}, ["title"], "REQUIRED"),
    ({"subtitle": "\uffa0"}, ["subtitle"], "MALFORMED"),
    ({"subtitle": "x" * 501}, ["subtitle"], "TOO_LONG"),
    ({"authors": ["Jane", " "]}, ["authors", "1"], "REQUIRED"),
    ({"authors": ["x" * 201]}, ["authors", "0"], "TOO_LONG"),
    ({"authors": ["a\nb"]}, ["authors", "0"], "MALFORMED"),
    ({"authors": ["Jane", "Aus\u00adten"]}, ["authors", "1"], "MALFORMED"),
    ({"authors": [str(number) for number in range(51)]}, ["authors"], "TOO_LONG"),
    ({"price": "0"}, ["price"], "TOO_SMALL"),
    ({"price": "-1"}, ["price"], "TOO_SMALL"),
    ({"price": "100000000"}, ["price"], "TOO_LARGE"),
    ({"price": "9.999"}, ["price"], "MALFORMED"),
    ({"isbn": "9780261103284"}, ["isbn"], "MALFORMED"),
    ({"isbn": "978026110328"}, ["isbn"], "MALFORMED"),
    ({"isbn": "ISBN"}, ["isbn"], "MALFORMED"),
    ({"isbn": "ISBN-13: 978\u20130\u2013261\u201310328\u20134"}, ["isbn"], "MALFORMED"),
    ({"description": "x" * 20_001}, ["description"], "TOO_LONG"),
    ({"description": "a\x1bb"}, ["description"], "MALFORMED"),
    ({"description": "one\n\ufeff two"}, ["description"], "MALFORMED"),
    ({"coverUrl": "javascript:alert(1)"}, ["coverUrl"], "MALFORMED"),
    ({"coverUrl": "/cover.jpg"}, ["coverUrl"], "MALFORMED"),
    ({"coverUrl": "https://example.com/a cover.jpg"}, ["coverUrl"], "MALFORMED"),
    ({"coverUrl": "https://example.com/" + "x" * 2000}, ["coverUrl"], "TOO_LONG"),
    ({"publisher": "x" * 201}, ["publisher"], "TOO_LONG"),
    ({"pageCount": 0}, ["pageCount"], "TOO_SMALL"),
    ({"pageCount": 100_001}, ["pageCount"], "TOO_LARGE"),
    ({"language": "english!"}, ["language"], "MALFORMED"),
]


@pytest.fixture
async def admin(client: ApiClient, shop: Shop) -> Customer:
    return await add_admin_customer(client, shop)


@pytest.fixture
async def hobbit(shop: Shop) -> BookRow:
    return await add_hobbit(shop)


@pytest.mark.parametrize(
    ("invalid", "path", "rule"),
    [*INVALID_FIELDS, ({"stockQuantity": -1}, ["stockQuantity"], "TOO_SMALL"), ({"stockQuantity": 10**6 + 1}, ["stockQuantity"], "TOO_LARGE")],
)  # fmt: skip
async def test_invalid_book_is_not_created(
    admin: Customer,
    hobbit: BookRow,
    postgres: asyncpg.Connection,
    invalid: dict[str, Any],
    path: list[str],
    rule: str,
) -> None:
    before = await take_catalog_snapshot(postgres)
    result = (await admin.execute(CREATE_BOOK, input=MINIMAL_INPUT | invalid))["result"]
    assert (result["__typename"], result["issues"]) == ("InvalidInput", [{"path": path, "rule": rule}])
    assert await take_catalog_snapshot(postgres) == before


@pytest.mark.parametrize(
    ("invalid", "path", "rule"),
    [*INVALID_FIELDS, *(({name: None}, [name], "REQUIRED") for name in ("title", "authors", "price"))],
)
async def test_invalid_update_is_rejected(
    admin: Customer,
    hobbit: BookRow,
    postgres: asyncpg.Connection,
    invalid: dict[str, Any],
    path: list[str],
    rule: str,
) -> None:
    before = await take_catalog_snapshot(postgres)
    result = (await admin.execute(UPDATE_BOOK, input={"bookId": book_id(hobbit), "publisher": "Other"} | invalid))[
        "result"
    ]
    assert (result["__typename"], result["issues"]) == ("InvalidInput", [{"path": path, "rule": rule}])
    assert await take_catalog_snapshot(postgres) == before


async def test_messages_name_the_author(admin: Customer, postgres: asyncpg.Connection) -> None:
    document = """mutation ($input: CreateBookInput!) { createBook(input: $input) {
        ... on InvalidInput { issues { path message } } } }"""
    response = await admin.execute(document, input=MINIMAL_INPUT | {"authors": ["", "Jane Austen", "x" * 201]})
    assert response["createBook"]["issues"] == [
        {"path": ["authors", "0"], "message": "Author 1 must not be blank."},
        {"path": ["authors", "2"], "message": "Author 3 must have at most 200 characters."},
    ]
    assert await postgres.fetchval("SELECT count(*) FROM books") == 0


@pytest.mark.parametrize("document", [CREATE_BOOK, UPDATE_BOOK])
async def test_all_validation_errors_are_reported(
    admin: Customer, hobbit: BookRow, postgres: asyncpg.Connection, document: str
) -> None:
    before = await take_catalog_snapshot(postgres)
    invalid = {"title": "", "authors": ["", "Jane", "\0"], "price": "0", "isbn": "1", "pageCount": -1, "language": "?"}
    key = {"bookId": book_id(hobbit)} if document is UPDATE_BOOK else {}
    result = (await admin.execute(document, input=key | invalid))["result"]
    paths = [["title"], ["authors", "0"], ["authors", "2"], ["price"], ["isbn"], ["pageCount"], ["language"]]
    assert sorted(issue["path"] for issue in result["issues"]) == sorted(paths)
    assert await take_catalog_snapshot(postgres) == before


@pytest.mark.parametrize(
    "isbn",
    [HOBBIT, "978-0-261-10328-3", "0261103288", "0-261-10328-8", "ISBN-13: 978\u20110\u2011261\u201110328\u20113."],
)
async def test_isbn_is_unique(
    admin: Customer, shop: Shop, hobbit: BookRow, postgres: asyncpg.Connection, isbn: str
) -> None:
    other_book = await add_book(shop, "Other", authors=("Unheard Of",))
    before = await take_catalog_snapshot(postgres)
    responses = [
        await admin.execute(CREATE_BOOK, input=MINIMAL_INPUT | {"isbn": isbn, "authors": ["Somebody New"]}),
        await admin.execute(
            UPDATE_BOOK, input={"bookId": book_id(other_book), "isbn": isbn, "authors": ["Somebody New"]}
        ),
    ]
    for response in responses:
        assert (response["result"]["__typename"], response["result"]["book"]) == ("IsbnTaken", {"id": book_id(hobbit)})
    assert await take_catalog_snapshot(postgres) == before


async def test_unknown_books_and_genres_are_not_found(
    admin: Customer, hobbit: BookRow, postgres: asyncpg.Connection
) -> None:
    before = await take_catalog_snapshot(postgres)
    unknown_book_id, unknown_genre_id = to_global_id("Book", new_id()), to_global_id("Genre", new_id())
    for document, variables, unknown_id in (
        (CREATE_BOOK, {"input": MINIMAL_INPUT | {"genreId": unknown_genre_id}}, unknown_genre_id),
        (
            UPDATE_BOOK,
            {"input": {"bookId": book_id(hobbit), "title": "New", "genreId": unknown_genre_id}},
            unknown_genre_id,
        ),
        (UPDATE_BOOK, {"input": {"bookId": unknown_book_id, "title": "New", "authors": ["New"]}}, unknown_book_id),
        (DELETE_BOOK, {"id": unknown_book_id}, unknown_book_id),
    ):
        result = (await admin.execute(document, **variables))["result"]
        assert (result["__typename"], result["id"]) == ("NotFound", unknown_id)
    assert (await admin.execute(UPDATE_STOCK, id=unknown_book_id))["result"] == {"__typename": "NotFound"}
    assert await take_catalog_snapshot(postgres) == before


@pytest.mark.parametrize("id_", ["", "1", "hobbit", to_global_id("Author", UUID(int=7))])
async def test_ids_of_other_types_are_request_errors(
    admin: Customer, hobbit: BookRow, postgres: asyncpg.Connection, id_: str
) -> None:
    before = await take_catalog_snapshot(postgres)
    for document, variables in (
        (CREATE_BOOK, {"input": MINIMAL_INPUT | {"genreId": id_}}),
        (UPDATE_BOOK, {"input": {"bookId": id_, "title": "New"}}),
        (UPDATE_BOOK, {"input": {"bookId": book_id(hobbit), "genreId": id_}}),
        (DELETE_BOOK, {"id": id_}),
        (UPDATE_STOCK, {"id": id_}),
    ):
        assert (await admin.execute(document, **variables)).codes == ["BAD_USER_INPUT"]
    assert await take_catalog_snapshot(postgres) == before
