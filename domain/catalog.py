"""The catalogue: books, their authors and genres, as administrators run it."""

import datetime as dt
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from decimal import Decimal
from typing import Any

from domain.errors import Constraint, GenreNameTaken, GenreNotEmpty, IsbnTaken, NotFound
from domain.shop import Shop
from domain.slugs import slug_candidates
from domain.stock import MAX_STOCK
from domain.validation import Validator, validating
from persistence import catalog, locks, stock, tables
from persistence.catalog import BookRow, GenreRow
from persistence.postgres.database import Transaction
from persistence.postgres.errors import Conflict, retry_on_conflict

MAX_GENRE_LENGTH = 100
MAX_AUTHORS = 50


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


def validate_book(validator: Validator, details: dict[str, Any]) -> dict[str, Any]:
    """The details as they are to be kept. Takes any part of `BookDetails`, by its field names."""
    validated = dict(details)
    for name, validate_field in _FIELD_VALIDATORS.items():
        if validated.get(name) is not None:
            validated[name] = validate_field(validator, validated[name])
    if "authors" in validated:
        validated["authors"] = _validate_authors(validator, validated["authors"])
    return validated


_FIELD_VALIDATORS: dict[str, Any] = {
    "title": lambda validator, value: validator.text(("title",), value, 500),
    "subtitle": lambda validator, value: validator.optional_text(("subtitle",), value, 500),
    "price": lambda validator, value: validator.price(("price",), value),
    "isbn": lambda validator, value: validator.isbn(("isbn",), value),
    "description": lambda validator, value: validator.optional_text(("description",), value, 20_000, multiline=True),
    "cover_url": lambda validator, value: validator.url(("coverUrl",), value),
    "publisher": lambda validator, value: validator.optional_text(("publisher",), value, 200),
    "page_count": lambda validator, value: validator.number(("pageCount",), value, 1, 100_000),
    "language": lambda validator, value: validator.language(("language",), value),
}


def _validate_authors(validator: Validator, names: Sequence[str]) -> tuple[str, ...]:
    """Each name once, whatever its case, in the order given."""
    if len(names) > MAX_AUTHORS:
        validator.add_error(("authors",), Constraint.TOO_LONG, f"A book has at most {MAX_AUTHORS} authors.")
        return ()
    unique_names: dict[str, str] = {}
    for position, name in enumerate(names):
        normalized_name = " ".join(validator.text(("authors", str(position)), name, 200).split())
        unique_names.setdefault(normalized_name.lower(), normalized_name)
    return tuple(unique_names.values())


# ── Books ─────────────────────────────────────────────────────────────────────────────────


@retry_on_conflict
async def create_book(shop: Shop, details: BookDetails, stock_quantity: int) -> BookRow:
    """Raises `InvalidInput`, `NotFound` for the genre, or `IsbnTaken`."""
    values = {field.name: getattr(details, field.name) for field in fields(details)}
    with validating() as validator:
        validated = validate_book(validator, values)
        validator.number(("stockQuantity",), stock_quantity, 0, MAX_STOCK)
    async with shop.database.transaction() as tx:
        return await add_book(tx, BookDetails(**validated), stock_quantity, stock.MovementReason.NEW_BOOK)


async def add_book(tx: Transaction, details: BookDetails, stock_quantity: int, reason: stock.MovementReason) -> BookRow:
    """Adds a book whose details have been checked."""
    await _require_genre(tx, details.genre_id)
    [slug] = await unique_slugs(tx, tables.Book, [details.title])
    columns = {field.name: getattr(details, field.name) for field in fields(details) if field.name != "authors"}
    columns |= {"slug": slug, "author_names": "\n".join(details.authors)}
    book_id = await catalog.add_book(tx, **columns, stock_quantity=stock_quantity)
    if book_id is None:
        await _require_unique_isbn(tx, details.isbn)
        raise Conflict  # somebody took the slug a moment ago
    await catalog.replace_book_authors(tx, book_id, await get_or_create_authors(tx, details.authors))
    await stock.record_movements(tx, [(book_id, details.title, stock_quantity)], reason)
    return await _get_book(tx, book_id)


@retry_on_conflict
async def update_book(shop: Shop, book_id: uuid.UUID, changes: dict[str, Any]) -> BookRow:
    """`changes` holds those fields of `BookDetails` that change; `None` clears.

    Raises `InvalidInput`, `NotFound` for the book or the genre, or `IsbnTaken`.
    """
    with validating() as validator:
        for name in ("title", "authors", "price"):
            if name in changes and changes[name] is None:
                validator.add_error((name,), Constraint.REQUIRED, f"A book cannot be without {name}.")
        validated = validate_book(
            validator, {name: value for name, value in changes.items() if not (name == "authors" and value is None)}
        )
    async with shop.database.transaction() as tx:
        if await locks.lock_book(tx, book_id) is None:
            raise NotFound("Book", book_id)
        await _require_genre(tx, validated.get("genre_id"))
        if validated.get("isbn") is not None:
            await _require_unique_isbn(tx, validated["isbn"], exclude_id=book_id)
        if "authors" in validated:
            names = validated.pop("authors")
            await catalog.replace_book_authors(tx, book_id, await get_or_create_authors(tx, names))
            validated["author_names"] = "\n".join(names)
        if validated:
            await catalog.update_book(tx, book_id, **validated)
        return await _get_book(tx, book_id)


@retry_on_conflict
async def delete_book(shop: Shop, book_id: uuid.UUID) -> None:
    """Raises `NotFound`."""
    async with shop.database.transaction() as tx:
        if not await catalog.remove_book(tx, book_id):
            raise NotFound("Book", book_id)


async def get_or_create_authors(tx: Transaction, names: Sequence[str]) -> list[uuid.UUID]:
    """The ids of these authors; unknown names become new authors."""
    ids_by_name = await catalog.find_authors_by_name(tx, names)
    new_names = [name for name in dict.fromkeys(names) if name not in ids_by_name]
    if new_names:
        slugs = await unique_slugs(tx, tables.Author, new_names)
        await catalog.add_authors(tx, dict(zip(new_names, slugs, strict=True)))
        ids_by_name = await catalog.find_authors_by_name(tx, names)
    if any(name not in ids_by_name for name in names):
        raise Conflict  # somebody took the slug a moment ago
    return [ids_by_name[name] for name in names]


async def unique_slugs(tx: Transaction, table: catalog.SluggedTable, names: Sequence[str]) -> list[str]:
    """A slug for each name, none of them in use."""
    candidate_lists = [slug_candidates(name) for name in names]
    taken_slugs = await catalog.list_taken_slugs(tx, table, [slug for slugs in candidate_lists for slug in slugs])
    chosen_slugs = []
    for slugs in candidate_lists:
        slug = next(slug for slug in slugs if slug not in taken_slugs)
        taken_slugs.add(slug)
        chosen_slugs.append(slug)
    return chosen_slugs


async def _require_genre(tx: Transaction, genre_id: uuid.UUID | None) -> None:
    if genre_id is not None and not await locks.lock_genre_for_key_share(tx, genre_id):
        raise NotFound("Genre", genre_id)


async def _require_unique_isbn(tx: Transaction, isbn: str | None, exclude_id: uuid.UUID | None = None) -> None:
    existing_book = await catalog.find_book_by_isbn(tx, isbn) if isbn else None
    if existing_book is not None and existing_book.id != exclude_id:
        raise IsbnTaken(existing_book)


async def _get_book(tx: Transaction, book_id: uuid.UUID) -> BookRow:
    book = await catalog.find_book(tx, book_id)
    assert book is not None
    return book


# ── Genres ────────────────────────────────────────────────────────────────────────────────


@retry_on_conflict
async def create_genre(shop: Shop, name: str) -> GenreRow:
    """Raises `InvalidInput` or `GenreNameTaken`."""
    name = _validate_genre_name(name)
    async with shop.database.transaction() as tx:
        genre, is_new = await get_or_create_genre(tx, name)
        if not is_new:
            raise GenreNameTaken(genre)
        return genre


async def get_or_create_genre(tx: Transaction, name: str) -> tuple[GenreRow, bool]:
    """The genre of this name, letter case aside, and whether it was made just now."""
    existing_genre = await catalog.find_genre_by_name(tx, name)
    if existing_genre is not None:
        return existing_genre, False
    [slug] = await unique_slugs(tx, tables.Genre, [name])
    genre_id = await catalog.add_genre(tx, name, slug)
    genre = await catalog.find_genre_by_name(tx, name)
    if genre is None:
        raise Conflict  # somebody took the slug a moment ago
    return genre, genre_id is not None


@retry_on_conflict
async def rename_genre(shop: Shop, genre_id: uuid.UUID, name: str) -> GenreRow:
    """Its slug stays. Raises `InvalidInput`, `NotFound` or `GenreNameTaken`."""
    name = _validate_genre_name(name)
    async with shop.database.transaction() as tx:
        await locks.lock_genre_names(tx)
        genre = await locks.lock_genre(tx, genre_id)
        if genre is None:
            raise NotFound("Genre", genre_id)
        existing_genre = await catalog.find_genre_by_name(tx, name)
        if existing_genre is not None and existing_genre.id != genre_id:
            raise GenreNameTaken(existing_genre)
        await catalog.rename_genre(tx, genre_id, name)
        return replace(genre, name=name)


@retry_on_conflict
async def delete_genre(shop: Shop, genre_id: uuid.UUID) -> None:
    """Raises `NotFound` or `GenreNotEmpty`."""
    async with shop.database.transaction() as tx:
        genre = await locks.lock_genre(tx, genre_id)
        if genre is None:
            raise NotFound("Genre", genre_id)
        if await catalog.has_books(tx, genre_id):
            raise GenreNotEmpty(genre)
        await catalog.remove_genre(tx, genre_id)


def _validate_genre_name(name: str) -> str:
    with validating() as validator:
        name = validator.text(("name",), name, MAX_GENRE_LENGTH)
    return " ".join(name.split())
