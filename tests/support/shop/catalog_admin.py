"""What administrators ask of the stockroom, and a book that is told in full."""

import datetime as dt
from typing import Any

import asyncpg

from domain.shop import Shop
from persistence.catalog import BookRow
from tests.support.http.client import ApiClient
from tests.support.shop.customers import Customer
from tests.support.shop.factories import add_admin, add_book, add_genre

BOOK_FRAGMENTS = """
fragment Told on Book {
  id slug title subtitle isbn description coverUrl format publisher publishedOn pageCount language stockQuantity
  updatedAt price { amount currency } authors { name slug } genre { slug }
}
fragment Problem on UserError {
  code message
  ... on IsbnTaken { book { id } }
  ... on NotFound { id }
  ... on InvalidInput { issues { path rule } }
}
"""
_RESULT = "{ __typename ...Problem ... on BookSaved { book { ...Told } } }"
CREATE_BOOK = BOOK_FRAGMENTS + f"mutation ($input: CreateBookInput!) {{ end: createBook(input: $input) {_RESULT} }}"
UPDATE_BOOK = BOOK_FRAGMENTS + f"mutation ($input: UpdateBookInput!) {{ end: updateBook(input: $input) {_RESULT} }}"
DELETE_BOOK = """mutation ($id: ID!) { end: deleteBook(input: {bookId: $id}) {
    __typename ... on UserError { code } ... on NotFound { id } ... on BookDeleted { bookId } } }"""
UPDATE_STOCK = "mutation ($id: ID!) { end: updateStock(input: {bookId: $id, change: {setTo: 1}}) { __typename } }"

HOBBIT = "9780261103283"
MINIMAL_INPUT: dict[str, Any] = {"title": "Emma", "authors": ["Jane Austen"], "price": "9.90"}
FULL_INPUT: dict[str, Any] = {
    "title": "The Hobbit",
    "subtitle": "There and Back Again",
    "authors": ["J. R. R. Tolkien"],
    "price": "12.50",
    "isbn": HOBBIT,
    "description": "In a hole\nin the ground",
    "coverUrl": "https://covers.example.com/hobbit.jpg",
    "format": "HARDCOVER",
    "publisher": "Allen & Unwin",
    "publishedOn": "1937-09-21",
    "pageCount": 310,
    "language": "en-GB",
}
CLEARABLE_FIELDS = (
    "subtitle",
    "isbn",
    "description",
    "coverUrl",
    "format",
    "publisher",
    "publishedOn",
    "pageCount",
    "language",
)


async def add_admin_customer(client: ApiClient, shop: Shop) -> Customer:
    """An administrator, in front of the shop."""
    return Customer(await add_admin(shop), client).with_client(client)


async def add_hobbit(shop: Shop) -> BookRow:
    """`MOST`, on the shelf `fantasy`, with three copies."""
    genre = await add_genre(shop, "Fantasy")
    return await add_book(
        shop,
        FULL_INPUT["title"],
        stock=3,
        price="12.50",
        authors=("J. R. R. Tolkien",),
        subtitle=FULL_INPUT["subtitle"],
        isbn=HOBBIT,
        genre_id=genre.id,
        description=FULL_INPUT["description"],
        cover_url=FULL_INPUT["coverUrl"],
        format="HARDCOVER",
        publisher=FULL_INPUT["publisher"],
        published_on=dt.date(1937, 9, 21),
        page_count=310,
        language="en-GB",
    )


async def take_catalog_snapshot(postgres: asyncpg.Connection) -> list[list[tuple[Any, ...]]]:
    """Every row of every table that the stockroom touches."""
    tables = ("books", "authors", "book_authors", "genres", "stock_movements")
    rows = [await postgres.fetch(f"SELECT * FROM {table} ORDER BY {table}::text") for table in tables]
    return [[tuple(row) for row in found] for found in rows]


def to_input(book: Any) -> dict[str, Any]:
    """What an input would have said to make the book so."""
    return {name: book[name] for name in FULL_INPUT if name not in ("authors", "price")} | {
        "authors": [author["name"] for author in book["authors"]],
        "price": book["price"]["amount"],
    }
