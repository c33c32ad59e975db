"""Books, authors and genres: lookups by key, and writes."""

import datetime as dt
import decimal
import uuid
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from typing import NotRequired, TypedDict, Unpack

import asyncpg
from sqlalchemy import (
    ColumnElement,
    String,
    Uuid,
    any_,
    bindparam,
    delete,
    exists,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.errors import Conflict
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query


class BookFormat(StrEnum):
    """How a book is bound."""

    HARDCOVER = "HARDCOVER"
    PAPERBACK = "PAPERBACK"
    BOX_SET = "BOX_SET"
    AUDIOBOOK = "AUDIOBOOK"


@dataclass(slots=True)
class BookRow:
    """A book."""

    id: uuid.UUID
    slug: str
    title: str
    subtitle: str | None
    isbn: str | None
    description: str | None
    cover_url: str | None
    genre_id: uuid.UUID | None
    format: str | None
    publisher: str | None
    published_on: dt.date | None
    page_count: int | None
    language: str | None
    price: decimal.Decimal
    stock_quantity: int
    added_at: dt.datetime
    updated_at: dt.datetime


@dataclass(slots=True)
class AuthorRow:
    """An author."""

    id: uuid.UUID
    slug: str
    name: str


@dataclass(slots=True)
class GenreRow:
    """A genre."""

    id: uuid.UUID
    slug: str
    name: str


class BookChanges(TypedDict, total=False):
    """The columns of a book that can change; `author_names` holds one name a line."""

    title: str
    subtitle: str | None
    isbn: str | None
    description: str | None
    cover_url: str | None
    genre_id: uuid.UUID | None
    format: str | None
    publisher: str | None
    published_on: dt.date | None
    page_count: int | None
    language: str | None
    price: decimal.Decimal
    author_names: str


class NewBook(BookChanges):
    """The columns of a book that is added."""

    id: NotRequired[uuid.UUID]
    slug: str
    stock_quantity: int


SluggedTable = type[tables.Book | tables.Author | tables.Genre]

BOOK_COLUMNS = tuple(getattr(tables.Book, name) for name in BookRow.__slots__)
AUTHOR_COLUMNS = tuple(getattr(tables.Author, name) for name in AuthorRow.__slots__)
GENRE_COLUMNS = tuple(getattr(tables.Genre, name) for name in GenreRow.__slots__)

_ids = bindparam("ids", type_=ARRAY(Uuid()))
_id = bindparam("id", type_=Uuid())
_text = bindparam("text", type_=String())


def _build_books_query(*conditions: ColumnElement[bool]) -> Query[BookRow]:
    return Query(select(*BOOK_COLUMNS).where(*conditions), BookRow)


_BOOKS_BY_ID = _build_books_query(tables.Book.id == any_(_ids))
_BOOK_BY_ID = _build_books_query(tables.Book.id == _id)
_BOOK_BY_SLUG = _build_books_query(tables.Book.slug == _text)
_BOOK_BY_ISBN = _build_books_query(tables.Book.isbn == _text)
_ANY_BOOK = Query(select(*BOOK_COLUMNS).limit(1), BookRow)
_AUTHORS_BY_ID = Query(select(*AUTHOR_COLUMNS).where(tables.Author.id == any_(_ids)), AuthorRow)
_AUTHOR_BY_SLUG = Query(select(*AUTHOR_COLUMNS).where(tables.Author.slug == _text), AuthorRow)
_AUTHORS_BY_BOOK: Query[tuple[uuid.UUID, AuthorRow]] = Query(
    select(tables.BookAuthor.book_id, *AUTHOR_COLUMNS)
    .join(tables.Author, tables.Author.id == tables.BookAuthor.author_id)
    .where(tables.BookAuthor.book_id == any_(_ids))
    .order_by(tables.BookAuthor.book_id, tables.BookAuthor.position),
    lambda book_id, *author: (book_id, AuthorRow(*author)),
)
_GENRES = Query(
    select(*GENRE_COLUMNS).order_by(func.fold(tables.Genre.name).collate("C"), tables.Genre.id),
    GenreRow,
)
_GENRES_BY_ID = Query(select(*GENRE_COLUMNS).where(tables.Genre.id == any_(_ids)), GenreRow)
_GENRE_BY_SLUG = Query(select(*GENRE_COLUMNS).where(tables.Genre.slug == _text), GenreRow)
_GENRE_BY_NAME = Query(select(*GENRE_COLUMNS).where(func.lower(tables.Genre.name) == func.lower(_text)), GenreRow)


# ── Reads ─────────────────────────────────────────────────────────────────────────────────


async def list_books_by_id(db: ReadSession | Transaction, ids: Iterable[uuid.UUID]) -> list[BookRow]:
    """Return the books in no particular order; missing ones are left out."""
    return await db.all(_BOOKS_BY_ID, ids=list(ids))


async def find_book(db: ReadSession | Transaction, book_id: uuid.UUID) -> BookRow | None:
    """Return the book, or `None` when there is no such book."""
    return await db.first(_BOOK_BY_ID, id=book_id)


async def find_book_by_slug(db: ReadSession | Transaction, slug: str) -> BookRow | None:
    """Return the book with this slug, or `None`."""
    return await db.first(_BOOK_BY_SLUG, text=slug)


async def find_book_by_isbn(db: ReadSession | Transaction, isbn: str) -> BookRow | None:
    """Return the book with this ISBN-13, or `None`."""
    return await db.first(_BOOK_BY_ISBN, text=isbn)


async def is_empty(db: ReadSession) -> bool:
    """Return whether the catalog has no books."""
    return await db.first(_ANY_BOOK) is None


async def list_authors_by_id(db: ReadSession, ids: Iterable[uuid.UUID]) -> list[AuthorRow]:
    """Return the authors in no particular order; missing ones are left out."""
    return await db.all(_AUTHORS_BY_ID, ids=list(ids))


async def find_author_by_slug(db: ReadSession, slug: str) -> AuthorRow | None:
    """Return the author with this slug, or `None`."""
    return await db.first(_AUTHOR_BY_SLUG, text=slug)


async def list_authors_by_book(db: ReadSession, book_ids: Iterable[uuid.UUID]) -> list[tuple[uuid.UUID, AuthorRow]]:
    """Return (book id, author) for several books, each book's authors in the order of its title page."""
    return await db.all(_AUTHORS_BY_BOOK, ids=list(book_ids))


async def list_genres(db: ReadSession) -> list[GenreRow]:
    """Return all genres by name, ignoring case and accents."""
    return await db.all(_GENRES)


async def list_genres_by_id(db: ReadSession | Transaction, ids: Iterable[uuid.UUID]) -> list[GenreRow]:
    """Return the genres in no particular order; missing ones are left out."""
    return await db.all(_GENRES_BY_ID, ids=list(ids))


async def find_genre_by_slug(db: ReadSession, slug: str) -> GenreRow | None:
    """Return the genre with this slug, or `None`."""
    return await db.first(_GENRE_BY_SLUG, text=slug)


async def find_genre_by_name(tx: Transaction, name: str) -> GenreRow | None:
    """Return the genre with this name, ignoring case, or `None`."""
    return await tx.first(_GENRE_BY_NAME, text=name)


# ── Books ─────────────────────────────────────────────────────────────────────────────────


_book = bindparam("book", type_=Uuid())
_add_book = upsert(tables.Book).on_conflict_do_nothing()
_ADD_BOOK = Command(_add_book.returning(tables.Book.id))
_ADD_BOOKS = Command(_add_book)
_COUNT_BOOKS = Query(select(func.count()).where(tables.Book.id == any_(_ids)), int)
# Every book has its rows of ratings and sales from the start, because lists are sorted by inner joins with them.
_ADD_STATISTICS = [
    Command(insert(table).from_select(["book_id"], select(func.unnest(_ids))))
    for table in (tables.BookRating, tables.BookSales)
]
_UPDATE_BOOK = Command(update(tables.Book).where(tables.Book.id == _book).values(updated_at=func.now()))
_REMOVE_BOOK = Command(delete(tables.Book).where(tables.Book.id == _book))


async def add_book(tx: Transaction, **book: Unpack[NewBook]) -> uuid.UUID | None:
    """Add a book and return its id, or `None` when another book has the ISBN or the slug."""
    book_id: uuid.UUID | None = await tx.scalar(_ADD_BOOK, **book)
    if book_id is not None:
        await _add_statistics(tx, [book_id])
    return book_id


async def _add_statistics(tx: Transaction, book_ids: list[uuid.UUID]) -> None:
    for command in _ADD_STATISTICS:
        await tx.execute(command, ids=book_ids)


async def add_books(tx: Transaction, books: Sequence[NewBook]) -> None:
    """Add many books at once. Each has its `id`, and all have the same columns.

    Raises:
        Conflict: Another book has just taken an ISBN or a slug.
    """
    await tx.execute_many(_ADD_BOOKS, books)
    ids = [book["id"] for book in books]
    if await tx.first(_COUNT_BOOKS, ids=ids) != len(books):
        raise Conflict
    await _add_statistics(tx, ids)


async def update_book(tx: Transaction, book_id: uuid.UUID, **changes: Unpack[BookChanges]) -> None:
    """Change some columns of a book.

    Raises:
        Conflict: Another book has just taken the ISBN.
    """
    try:
        await tx.execute(_UPDATE_BOOK, book=book_id, **changes)
    except asyncpg.UniqueViolationError as error:
        raise Conflict from error


async def remove_book(tx: Transaction, book_id: uuid.UUID) -> bool:
    """Delete a book, and return whether there was one.

    Its cart items go too; order items and stock movements stay without the book.
    """
    return await tx.execute(_REMOVE_BOOK, book=book_id) == 1


@cache
def _build_taken_slugs_query(table: SluggedTable) -> Query[str]:
    return Query(select(table.slug).where(table.slug == any_(bindparam("slugs", type_=ARRAY(String())))), str)


async def list_taken_slugs(tx: Transaction, table: SluggedTable, slugs: Sequence[str]) -> set[str]:
    """Return those of the slugs that are in use."""
    return set(await tx.all(_build_taken_slugs_query(table), slugs=list(slugs)))


# ── Authors ───────────────────────────────────────────────────────────────────────────────


_requested = func.unnest(bindparam("names", type_=ARRAY(String()))).table_valued("name").render_derived()
_AUTHORS_BY_NAME: Query[tuple[str, uuid.UUID]] = Query(
    select(_requested.c.name, tables.Author.id).join(
        tables.Author, func.lower(tables.Author.name) == func.lower(_requested.c.name)
    ),
    lambda name, id_: (name, id_),
)
_ADD_AUTHOR = Command(upsert(tables.Author).on_conflict_do_nothing())
_ADD_BOOK_AUTHOR = Command(insert(tables.BookAuthor))
_REMOVE_BOOK_AUTHORS = Command(delete(tables.BookAuthor).where(tables.BookAuthor.book_id == _book))


async def find_authors_by_name(tx: Transaction, names: Iterable[str]) -> dict[str, uuid.UUID]:
    """Return author ids by the names that were passed in, ignoring case.

    PostgreSQL compares the names, because Python lowers some letters differently, such as `İ`.
    """
    return dict(await tx.all(_AUTHORS_BY_NAME, names=list(names)))


async def add_authors(tx: Transaction, slugs_by_name: dict[str, str]) -> None:
    """Add authors, except where a name or a slug is taken.

    Rows are inserted by name, so that concurrent transactions cannot deadlock.
    """
    rows = [{"name": name, "slug": slugs_by_name[name]} for name in sorted(slugs_by_name, key=str.lower)]
    await tx.execute_many(_ADD_AUTHOR, rows)


async def add_book_authors(tx: Transaction, authors_by_book: dict[uuid.UUID, list[uuid.UUID]]) -> None:
    """Add the authors of books, in the order of the title page; a repeated author counts once."""
    rows = [
        {"book_id": book_id, "position": position, "author_id": author_id}
        for book_id, author_ids in authors_by_book.items()
        for position, author_id in enumerate(dict.fromkeys(author_ids))
    ]
    await tx.execute_many(_ADD_BOOK_AUTHOR, rows)


async def replace_book_authors(tx: Transaction, book_id: uuid.UUID, author_ids: Sequence[uuid.UUID]) -> None:
    """Replace a book's authors."""
    await tx.execute(_REMOVE_BOOK_AUTHORS, book=book_id)
    await add_book_authors(tx, {book_id: list(author_ids)})


# ── Genres ────────────────────────────────────────────────────────────────────────────────


_genre = bindparam("genre", type_=Uuid())
_ADD_GENRE = Command(upsert(tables.Genre).on_conflict_do_nothing().returning(tables.Genre.id))
_UPDATE_GENRE = Command(update(tables.Genre).where(tables.Genre.id == _genre))
_HAS_BOOKS: Query[bool] = Query(select(exists().where(tables.Book.genre_id == _genre)), bool)
_REMOVE_GENRE = Command(delete(tables.Genre).where(tables.Genre.id == _genre))


async def add_genre(tx: Transaction, name: str, slug: str) -> uuid.UUID | None:
    """Add a genre and return its id, or `None` when the name or the slug is taken."""
    genre_id: uuid.UUID | None = await tx.scalar(_ADD_GENRE, name=name, slug=slug)
    return genre_id


async def rename_genre(tx: Transaction, genre_id: uuid.UUID, name: str) -> None:
    """Change a genre's name; its slug stays."""
    await tx.execute(_UPDATE_GENRE, genre=genre_id, name=name)


async def has_books(tx: Transaction, genre_id: uuid.UUID) -> bool:
    """Return whether any book is in the genre."""
    return await tx.first(_HAS_BOOKS, genre=genre_id) is True


async def remove_genre(tx: Transaction, genre_id: uuid.UUID) -> None:
    """Delete a genre that has no books."""
    await tx.execute(_REMOVE_GENRE, genre=genre_id)
