"""Documents, sample books and snapshots for tests of the catalog's administration."""

import datetime as dt
from decimal import Decimal
from typing import Any

import asyncpg
from strawberry.utils.str_converters import to_camel_case

from domain.book_fields import BOOK_FIELDS, REQUIRED_FIELDS
from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.database.db_snapshots import take_snapshot
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer
from tests.support.shop.factories import add_admin, add_book, add_genre

CATALOG_TABLES = ("books", "authors", "book_authors", "genres", "stock_movements")
HOBBIT = "9780261103283"
SAMPLE_DETAILS: dict[str, Any] = {
    "title": "The Hobbit",
    "subtitle": "There and Back Again",
    "authors": ("J. R. R. Tolkien",),
    "price": Decimal("12.50"),
    "isbn": HOBBIT,
    "description": "In a hole\nin the ground",
    "cover_url": "https://covers.example.com/hobbit.jpg",
    "format": "HARDCOVER",
    "publisher": "Allen & Unwin",
    "published_on": dt.date(1937, 9, 21),
    "page_count": 310,
    "language": "en-GB",
}
"""A value for each field of a book except its genre."""


def _to_json(value: Any) -> Any:
    if isinstance(value, tuple):
        return list(value)
    return str(value) if isinstance(value, Decimal | dt.date) else value


MINIMAL_INPUT: dict[str, Any] = {"title": "Emma", "authors": ["Jane Austen"], "price": "9.90"}
FULL_INPUT = {to_camel_case(name): _to_json(value) for name, value in SAMPLE_DETAILS.items()}
CLEARABLE_FIELDS = tuple(
    to_camel_case(name) for name in BOOK_FIELDS if name not in REQUIRED_FIELDS and name != "genre_id"
)

BOOK_FRAGMENTS = f"""
fragment BookFields on Book {{
  id slug title {" ".join(CLEARABLE_FIELDS)} stockQuantity updatedAt
  price {{ amount currency }} authors {{ name slug }} genre {{ slug }}
}}
fragment UserErrorFields on UserError {{
  code message
  ... on IsbnTaken {{ book {{ id }} }}
  ... on NotFound {{ id }}
  ... on InvalidInput {{ issues {{ path rule }} }}
}}
"""
_RESULT = "{ __typename ...UserErrorFields ... on BookSaved { book { ...BookFields } } }"
CREATE_BOOK = BOOK_FRAGMENTS + f"mutation ($input: CreateBookInput!) {{ result: createBook(input: $input) {_RESULT} }}"
UPDATE_BOOK = BOOK_FRAGMENTS + f"mutation ($input: UpdateBookInput!) {{ result: updateBook(input: $input) {_RESULT} }}"
DELETE_BOOK = """mutation ($id: ID!) { result: deleteBook(input: {bookId: $id}) {
    __typename ... on UserError { code } ... on NotFound { id } ... on BookDeleted { bookId } } }"""
UPDATE_STOCK = "mutation ($id: ID!) { result: updateStock(input: {bookId: $id, change: {setTo: 1}}) { __typename } }"


async def add_admin_customer(client: ApiClient, shop: Shop) -> Customer:
    """Add an administrator who uses the client."""
    return Customer(await add_admin(shop), client).with_client(client)


async def add_hobbit(shop: Shop) -> BookRow:
    """Add the book of `SAMPLE_DETAILS` in the genre `fantasy`, with three copies in stock."""
    genre = await add_genre(shop, "Fantasy")
    return await add_book(shop, stock=3, genre_id=genre.id, **SAMPLE_DETAILS)


async def take_catalog_snapshot(postgres: asyncpg.Connection) -> list[list[tuple[Any, ...]]]:
    """Return all rows of each table that holds the catalog or the stock."""
    return list((await take_snapshot(postgres, CATALOG_TABLES)).values())


def to_input(book: Any) -> dict[str, Any]:
    """Return the input that would create the book of a response."""
    return {name: book[name] for name in FULL_INPUT if name not in ("authors", "price")} | {
        "authors": [author["name"] for author in book["authors"]],
        "price": book["price"]["amount"],
    }
