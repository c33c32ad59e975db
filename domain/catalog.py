"""The catalog: books, authors and genres, as administrators change them."""

import uuid
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any

from domain.book_fields import REQUIRED_FIELDS, BookDetails, to_columns, validate_fields
from domain.errors import Constraint, GenreNameTaken, GenreNotEmpty, IsbnTaken, NotFound
from domain.shop import Shop
from domain.slugs import slug_candidates
from domain.stock import MAX_STOCK
from domain.validation import validating
from persistence import catalog, locks, stock, tables
from persistence.catalog import BookRow, GenreRow
from persistence.postgres.database import Transaction
from persistence.postgres.errors import Conflict, retry_on_conflict

MAX_GENRE_LENGTH = 100


# ── Books ─────────────────────────────────────────────────────────────────────────────────


@retry_on_conflict
async def create_book(shop: Shop, details: BookDetails, stock_quantity: int) -> BookRow:
    """Add a book to the catalog.

    Raises:
        InvalidInput: A field or the stock is invalid.
        NotFound: The genre does not exist.
        IsbnTaken: Another book has the ISBN.
    """
    with validating() as validator:
        validated = validate_fields(validator, asdict(details))
        validator.number(("stockQuantity",), stock_quantity, 0, MAX_STOCK)
    async with shop.database.transaction() as tx:
        return await add_book(tx, BookDetails(**validated), stock_quantity, stock.MovementReason.NEW_BOOK)


async def add_book(tx: Transaction, details: BookDetails, stock_quantity: int, reason: stock.MovementReason) -> BookRow:
    """Add a book whose details are valid.

    Raises:
        NotFound: The genre does not exist.
        IsbnTaken: Another book has the ISBN.
    """
    await _require_genre(tx, details.genre_id)
    [slug] = await unique_slugs(tx, tables.Book, [details.title])
    columns = to_columns(asdict(details))
    book_id = await catalog.add_book(tx, **columns, slug=slug, stock_quantity=stock_quantity)
    if book_id is None:
        await _require_unique_isbn(tx, details.isbn)
        raise Conflict  # another transaction took the slug
    await catalog.replace_book_authors(tx, book_id, await get_or_create_authors(tx, details.authors))
    await stock.record_movements(tx, [(book_id, details.title, stock_quantity)], reason)
    return await _get_book(tx, book_id)


@retry_on_conflict
async def update_book(shop: Shop, book_id: uuid.UUID, changes: dict[str, Any]) -> BookRow:
    """Change the fields of `BookDetails` that `changes` names; `None` clears one.

    Raises:
        InvalidInput: A value is invalid, or `None` for a required field.
        NotFound: The book or the genre does not exist.
        IsbnTaken: Another book has the ISBN.
    """
    with validating() as validator:
        for name in REQUIRED_FIELDS:
            if name in changes and changes[name] is None:
                validator.add_error((name,), Constraint.REQUIRED, f"{name} cannot be null.")
        validated = validate_fields(validator, changes)
    async with shop.database.transaction() as tx:
        if await locks.lock_book(tx, book_id) is None:
            raise NotFound("Book", book_id)
        await _require_genre(tx, validated.get("genre_id"))
        if validated.get("isbn") is not None:
            await _require_unique_isbn(tx, validated["isbn"], exclude_id=book_id)
        if "authors" in validated:
            author_ids = await get_or_create_authors(tx, validated["authors"])
            await catalog.replace_book_authors(tx, book_id, author_ids)
        if validated:
            await catalog.update_book(tx, book_id, **to_columns(validated))
        return await _get_book(tx, book_id)


@retry_on_conflict
async def delete_book(shop: Shop, book_id: uuid.UUID) -> None:
    """Delete a book, also from carts and wishlists; orders keep their items.

    Raises:
        NotFound: The book does not exist.
    """
    async with shop.database.transaction() as tx:
        if not await catalog.remove_book(tx, book_id):
            raise NotFound("Book", book_id)


async def get_or_create_authors(tx: Transaction, names: Sequence[str]) -> list[uuid.UUID]:
    """Return the authors' ids in the order of their names; unknown names become new authors."""
    ids_by_name = await catalog.find_authors_by_name(tx, names)
    new_names = [name for name in dict.fromkeys(names) if name not in ids_by_name]
    if new_names:
        slugs = await unique_slugs(tx, tables.Author, new_names)
        await catalog.add_authors(tx, dict(zip(new_names, slugs, strict=True)))
        ids_by_name = await catalog.find_authors_by_name(tx, names)
    if any(name not in ids_by_name for name in names):
        raise Conflict  # another transaction took the slug
    return [ids_by_name[name] for name in names]


async def unique_slugs(tx: Transaction, table: catalog.SluggedTable, names: Sequence[str]) -> list[str]:
    """Return one unused slug for each name."""
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
    """Add a genre.

    Raises:
        InvalidInput: The name is invalid.
        GenreNameTaken: Another genre has the name, ignoring case.
    """
    name = _validate_genre_name(name)
    async with shop.database.transaction() as tx:
        genre, is_new = await get_or_create_genre(tx, name)
        if not is_new:
            raise GenreNameTaken(genre)
        return genre


async def get_or_create_genre(tx: Transaction, name: str) -> tuple[GenreRow, bool]:
    """Return the genre with this name, ignoring case, and whether it is new."""
    existing_genre = await catalog.find_genre_by_name(tx, name)
    if existing_genre is not None:
        return existing_genre, False
    [slug] = await unique_slugs(tx, tables.Genre, [name])
    genre_id = await catalog.add_genre(tx, name, slug)
    genre = await catalog.find_genre_by_name(tx, name)
    if genre is None:
        raise Conflict  # another transaction took the slug
    return genre, genre_id is not None


@retry_on_conflict
async def rename_genre(shop: Shop, genre_id: uuid.UUID, name: str) -> GenreRow:
    """Rename a genre; its slug stays.

    Raises:
        InvalidInput: The name is invalid.
        NotFound: The genre does not exist.
        GenreNameTaken: Another genre has the name, ignoring case.
    """
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
    """Delete a genre that has no books.

    Raises:
        NotFound: The genre does not exist.
        GenreNotEmpty: The genre has books.
    """
    async with shop.database.transaction() as tx:
        genre = await locks.lock_genre(tx, genre_id)
        if genre is None:
            raise NotFound("Genre", genre_id)
        if await catalog.has_books(tx, genre_id):
            raise GenreNotEmpty(genre)
        await catalog.remove_genre(tx, genre_id)


def _validate_genre_name(name: str) -> str:
    with validating() as validator:
        return validator.text(("name",), name, MAX_GENRE_LENGTH)
