"""The catalogue: books, their authors and genres, as administrators run it."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from domain.errors import GenreNameTaken, GenreNotEmpty, IsbnTaken, NotFound, Rule
from domain.shop import Shop
from domain.slugs import candidates
from domain.stock import MOST
from domain.validation import Checker, checking
from persistence import catalog, models, stock
from persistence.catalog import Book, Genre
from persistence.database import Transaction
from persistence.faults import Conflict, retried

GENRE_LENGTH = 100
MOST_AUTHORS = 50


@dataclass(frozen=True, slots=True)
class BookDetails:
    """All that is told of a book, but for its stock."""

    title: str
    authors: tuple[str, ...]
    price: Decimal
    subtitle: str | None = None
    isbn: str | None = None
    genre_id: uuid.UUID | None = None
    description: str | None = None
    cover_url: str | None = None
    format: str | None = None
    publisher: str | None = None
    published_on: dt.date | None = None
    page_count: int | None = None
    language: str | None = None


def checked(check: Checker, details: dict[str, Any]) -> dict[str, Any]:
    """The details as they are to be kept. Takes any part of `BookDetails`, by its field names."""
    kept = dict(details)
    for name, shape in _CHECKS.items():
        if kept.get(name) is not None:
            kept[name] = shape(check, kept[name])
    if "authors" in kept:
        kept["authors"] = _checked_authors(check, kept["authors"])
    return kept


_CHECKS: dict[str, Any] = {
    "title": lambda check, value: check.text(("title",), value, 500),
    "subtitle": lambda check, value: check.optional(("subtitle",), value, 500),
    "price": lambda check, value: check.price(("price",), value),
    "isbn": lambda check, value: check.isbn(("isbn",), value),
    "description": lambda check, value: check.optional(("description",), value, 20_000, lines=True),
    "cover_url": lambda check, value: check.url(("coverUrl",), value),
    "publisher": lambda check, value: check.optional(("publisher",), value, 200),
    "page_count": lambda check, value: check.number(("pageCount",), value, 1, 100_000),
    "language": lambda check, value: check.language(("language",), value),
}


def _checked_authors(check: Checker, names: Sequence[str]) -> tuple[str, ...]:
    """Each name once, whatever its case, in the order given."""
    if len(names) > MOST_AUTHORS:
        check.refuse(("authors",), Rule.TOO_LONG, f"A book has at most {MOST_AUTHORS} authors.")
        return ()
    once: dict[str, str] = {}
    for position, name in enumerate(names):
        kept = " ".join(check.text(("authors", str(position)), name, 200).split())
        once.setdefault(kept.lower(), kept)
    return tuple(once.values())


# ── Books ─────────────────────────────────────────────────────────────────────────────────


@retried
async def create_book(shop: Shop, details: BookDetails, stock_quantity: int) -> Book:
    """Raises `InvalidInput`, `NotFound` for the genre, or `IsbnTaken`."""
    given = {field.name: getattr(details, field.name) for field in fields(details)}
    with checking() as check:
        kept = checked(check, given)
        check.number(("stockQuantity",), stock_quantity, 0, MOST)
    async with shop.database.transaction() as tx:
        return await add_book(tx, BookDetails(**kept), stock_quantity, stock.Reason.NEW_BOOK)


async def add_book(tx: Transaction, details: BookDetails, stock_quantity: int, reason: stock.Reason) -> Book:
    """Adds a book whose details have been checked."""
    await _find_shelf(tx, details.genre_id)
    [slug] = await free_slugs(tx, models.Book, [details.title])
    columns = {field.name: getattr(details, field.name) for field in fields(details) if field.name != "authors"}
    columns |= {"slug": slug, "author_names": "\n".join(details.authors)}
    book_id = await catalog.add_book(tx, {**columns, "stock_quantity": stock_quantity})
    if book_id is None:
        await _refuse_taken_isbn(tx, details.isbn)
        raise Conflict  # somebody took the slug a moment ago
    await catalog.set_authors(tx, book_id, await ensure_authors(tx, details.authors))
    await stock.record_movements(tx, [(book_id, details.title, stock_quantity)], reason)
    return await _book(tx, book_id)


@retried
async def update_book(shop: Shop, book_id: uuid.UUID, changes: dict[str, Any]) -> Book:
    """`changes` holds those fields of `BookDetails` that change; `None` clears.

    Raises `InvalidInput`, `NotFound` for the book or the genre, or `IsbnTaken`.
    """
    with checking() as check:
        for name in ("title", "authors", "price"):
            if name in changes and changes[name] is None:
                check.refuse((name,), Rule.REQUIRED, f"A book cannot be without {name}.")
        kept = checked(
            check, {name: value for name, value in changes.items() if not (name == "authors" and value is None)}
        )
    async with shop.database.transaction() as tx:
        if await catalog.lock_book(tx, book_id) is None:
            raise NotFound("Book", book_id)
        await _find_shelf(tx, kept.get("genre_id"))
        if kept.get("isbn") is not None:
            await _refuse_taken_isbn(tx, kept["isbn"], but=book_id)
        if "authors" in kept:
            names = kept.pop("authors")
            await catalog.set_authors(tx, book_id, await ensure_authors(tx, names))
            kept["author_names"] = "\n".join(names)
        if kept:
            await catalog.set_book(tx, book_id, kept)
        return await _book(tx, book_id)


@retried
async def delete_book(shop: Shop, book_id: uuid.UUID) -> None:
    """Raises `NotFound`."""
    async with shop.database.transaction() as tx:
        if not await catalog.remove_book(tx, book_id):
            raise NotFound("Book", book_id)


async def ensure_authors(tx: Transaction, names: Sequence[str]) -> list[uuid.UUID]:
    """The ids of these authors; unknown names become new authors."""
    known = await catalog.find_authors_by_name(tx, names)
    unknown = [name for name in dict.fromkeys(names) if name not in known]
    if unknown:
        slugs = await free_slugs(tx, models.Author, unknown)
        await catalog.add_authors(tx, dict(zip(unknown, slugs, strict=True)))
        known = await catalog.find_authors_by_name(tx, names)
    if any(name not in known for name in names):
        raise Conflict  # somebody took the slug a moment ago
    return [known[name] for name in names]


async def free_slugs(tx: Transaction, table: catalog.Slugged, names: Sequence[str]) -> list[str]:
    """A slug for each name, none of them in use."""
    wanted = [candidates(name) for name in names]
    taken = await catalog.list_taken_slugs(tx, table, [slug for slugs in wanted for slug in slugs])
    chosen = []
    for slugs in wanted:
        slug = next(slug for slug in slugs if slug not in taken)
        taken.add(slug)
        chosen.append(slug)
    return chosen


async def _find_shelf(tx: Transaction, genre_id: uuid.UUID | None) -> None:
    if genre_id is not None and not await catalog.hold_genre(tx, genre_id):
        raise NotFound("Genre", genre_id)


async def _refuse_taken_isbn(tx: Transaction, isbn: str | None, but: uuid.UUID | None = None) -> None:
    holder = await catalog.find_book_by_isbn(tx, isbn) if isbn else None
    if holder is not None and holder.id != but:
        raise IsbnTaken(holder)


async def _book(tx: Transaction, book_id: uuid.UUID) -> Book:
    book = await catalog.find_book(tx, book_id)
    assert book is not None
    return book


# ── Genres ────────────────────────────────────────────────────────────────────────────────


@retried
async def create_genre(shop: Shop, name: str) -> Genre:
    """Raises `InvalidInput` or `GenreNameTaken`."""
    name = _checked_genre_name(name)
    async with shop.database.transaction() as tx:
        genre, is_new = await ensure_genre(tx, name)
        if not is_new:
            raise GenreNameTaken(genre)
        return genre


async def ensure_genre(tx: Transaction, name: str) -> tuple[Genre, bool]:
    """The genre of this name, letter case aside, and whether it was made just now."""
    known = await catalog.find_genre_by_name(tx, name)
    if known is not None:
        return known, False
    [slug] = await free_slugs(tx, models.Genre, [name])
    genre_id = await catalog.add_genre(tx, name, slug)
    genre = await catalog.find_genre_by_name(tx, name)
    if genre is None:
        raise Conflict  # somebody took the slug a moment ago
    return genre, genre_id is not None


@retried
async def rename_genre(shop: Shop, genre_id: uuid.UUID, name: str) -> Genre:
    """Its slug stays. Raises `InvalidInput`, `NotFound` or `GenreNameTaken`."""
    name = _checked_genre_name(name)
    async with shop.database.transaction() as tx:
        await catalog.lock_genre_names(tx)
        genre = await catalog.lock_genre(tx, genre_id)
        if genre is None:
            raise NotFound("Genre", genre_id)
        namesake = await catalog.find_genre_by_name(tx, name)
        if namesake is not None and namesake.id != genre_id:
            raise GenreNameTaken(namesake)
        await catalog.set_genre_name(tx, genre_id, name)
        return replace(genre, name=name)


@retried
async def delete_genre(shop: Shop, genre_id: uuid.UUID) -> None:
    """Raises `NotFound` or `GenreNotEmpty`."""
    async with shop.database.transaction() as tx:
        genre = await catalog.lock_genre(tx, genre_id)
        if genre is None:
            raise NotFound("Genre", genre_id)
        if await catalog.has_books(tx, genre_id):
            raise GenreNotEmpty(genre)
        await catalog.remove_genre(tx, genre_id)


def _checked_genre_name(name: str) -> str:
    with checking() as check:
        name = check.text(("name",), name, GENRE_LENGTH)
    return " ".join(name.split())
