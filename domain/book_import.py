"""A supplier's feed: books added or changed by ISBN, in batches that each happen whole or not at all."""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, TypeVar, cast

from domain.catalog import MAX_GENRE_LENGTH, get_or_create_authors, get_or_create_genre, unique_slugs, validate_book
from domain.errors import Constraint
from domain.shop import Shop
from domain.stock import MAX_STOCK, apply_stock_changes
from domain.validation import Validator
from persistence import catalog, locks, stock, tables
from persistence.catalog import BookChanges, BookFormat, BookRow, NewBook
from persistence.postgres.database import Transaction
from persistence.postgres.errors import retry_on_conflict

T = TypeVar("T")

BATCH_SIZE = 500
REQUIRED_COLUMNS = ("isbn", "title", "price")
OPTIONAL_COLUMNS = (
    "author", "genre", "stock", "cover_url", "subtitle", "description", "format", "publisher", "published_on",
    "page_count", "language",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that was left out. The first row after the header is number 2, as in a spreadsheet."""

    row_number: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A row that makes sense. `details` holds the columns that the feed has."""

    row_number: int
    isbn: str
    details: dict[str, Any]
    genre: str | None
    stock: int | None


@dataclass(slots=True)
class ImportSummary:
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected_rows: list[RejectedRow] = field(default_factory=list)

    @property
    def row_count(self) -> int:
        return self.added + self.changed + self.unchanged + len(self.rejected_rows)


class DryRunRollback(Exception):
    """Rolls a batch back."""


class RowParser:
    """Reads rows, and remembers which ISBNs it has seen: of several rows with one ISBN the first counts."""

    def __init__(self) -> None:
        self._row_numbers_by_isbn: dict[str, int] = {}

    def parse(self, row_number: int, columns: Mapping[str, str]) -> ImportRow | RejectedRow:
        validator = Validator()
        details: dict[str, Any] = {
            name: sanitize_text(columns[name], multiline=name == "description") or None
            for name in ("title", "subtitle", "description", "publisher")
            if name in columns
        }
        details |= _convert_columns(validator, columns)
        if "author" in columns:
            details["authors"] = tuple(name for part in columns["author"].split(";") if (name := sanitize_text(part)))
        for name in ("title", "isbn", "price"):
            if not details.get(name):
                validator.add_error((name,), Constraint.REQUIRED, f"{name} is missing.")
        details = validate_book(validator, details)
        genre = sanitize_text(columns.get("genre", "")) or None
        if genre and len(genre) > MAX_GENRE_LENGTH:
            validator.add_error(
                ("genre",), Constraint.TOO_LONG, f"genre must have at most {MAX_GENRE_LENGTH} characters."
            )
        stock_quantity = _parse_integer(validator, "stock", columns.get("stock", "").strip())
        if stock_quantity is not None:
            validator.number(("stock",), stock_quantity, 0, MAX_STOCK)
        if validator.errors:
            return RejectedRow(row_number, " ".join(issue.message for issue in validator.errors))
        isbn = details.pop("isbn")
        first_row_number = self._row_numbers_by_isbn.setdefault(isbn, row_number)
        if first_row_number != row_number:
            return RejectedRow(row_number, f"Row {first_row_number} has this ISBN already.")
        if "genre" in columns:
            details["genre_id"] = None  # until the genre is found
        return ImportRow(row_number, isbn, details, genre, stock_quantity)


def _convert_columns(validator: Validator, columns: Mapping[str, str]) -> dict[str, Any]:
    """The columns that are not text; an empty one clears."""
    values = {name: value.strip() for name, value in columns.items()}
    converted: dict[str, Any] = {}
    for name in ("isbn", "cover_url", "language"):
        if name in values:
            converted[name] = values[name] or None
    if "price" in values:
        converted["price"] = _parse_decimal(validator, values["price"])
    if "page_count" in values:
        converted["page_count"] = _parse_integer(validator, "page_count", values["page_count"])
    if "published_on" in values:
        converted["published_on"] = _parse_date(validator, values["published_on"])
    if "format" in values:
        book_format = values["format"].upper().replace(" ", "_")
        if book_format and book_format not in BookFormat.__members__:
            validator.add_error(("format",), Constraint.MALFORMED, f"format must be one of {', '.join(BookFormat)}.")
        converted["format"] = book_format or None
    return converted


def _parse_decimal(validator: Validator, text: str) -> Decimal | None:
    if not text:
        return None
    try:
        value = Decimal(text)
        if value.is_finite():
            return value
    except InvalidOperation:
        pass
    validator.add_error(("price",), Constraint.MALFORMED, "price must be a number such as 12.90.")
    return None


def _parse_integer(validator: Validator, name: str, text: str) -> int | None:
    if not text:
        return None
    if re.fullmatch(r"-?\d{1,12}", text, re.ASCII):
        return int(text)
    validator.add_error((name,), Constraint.MALFORMED, f"{name} must be a whole number.")
    return None


def _parse_date(validator: Validator, text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        validator.add_error(("published_on",), Constraint.MALFORMED, "published_on must be a date such as 1937-09-21.")
        return None


def sanitize_text(text: str, *, multiline: bool = False) -> str:
    """What can be shown of it: feeds carry control characters and bytes that were decoded wrongly."""
    text = text.replace("\r\n", "\n")
    sanitized = "".join(
        character if unicodedata.category(character) not in ("Cc", "Cs") or (multiline and character == "\n") else " "
        for character in text
    )
    return sanitized.strip() if multiline else " ".join(sanitized.split())


def batched(items: Iterable[T], size: int = BATCH_SIZE) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


async def import_batch(
    shop: Shop, rows: list[ImportRow | RejectedRow], summary: ImportSummary, *, set_stock: bool, dry_run: bool
) -> None:
    """Adds and changes books; rows that were rejected are noted. `set_stock` sets the stock of known books, too."""
    books = [row for row in rows if isinstance(row, ImportRow)]
    summary.rejected_rows += [row for row in rows if isinstance(row, RejectedRow)]
    if books:
        added, changed = await _upsert_books(shop, books, set_stock=set_stock, dry_run=dry_run)
        summary.added += added
        summary.changed += changed
        summary.unchanged += len(books) - added - changed


@retry_on_conflict
async def _upsert_books(shop: Shop, books: list[ImportRow], *, set_stock: bool, dry_run: bool) -> tuple[int, int]:
    """How many were added, and how many changed."""
    try:
        async with shop.database.transaction() as tx:
            existing_books = {
                book.isbn: (book, names) for book, names in await locks.lock_books_by_isbn(tx, [b.isbn for b in books])
            }
            genre_ids = {
                name: (await get_or_create_genre(tx, name))[0].id
                for name in sorted({b.genre for b in books if b.genre})
            }
            for book in books:
                if book.genre is not None:
                    book.details["genre_id"] = genre_ids[book.genre]
            new_books = [book for book in books if book.isbn not in existing_books]
            await _insert_books(tx, new_books)
            change_flags = [
                await _update_book(tx, book, *existing_books[book.isbn], set_stock=set_stock)
                for book in books
                if book.isbn in existing_books
            ]
            counts = len(new_books), sum(change_flags)
            if dry_run:
                raise DryRunRollback
    except DryRunRollback:
        pass
    return counts


async def _insert_books(tx: Transaction, books: list[ImportRow]) -> None:
    if not books:
        return
    names = list({name: None for book in books for name in book.details.get("authors", ())})
    authors = dict(zip(names, await get_or_create_authors(tx, names), strict=True))
    slugs = await unique_slugs(tx, tables.Book, [book.details["title"] for book in books])
    ids = [tables.new_id() for _ in books]
    column_names = dict.fromkeys(name for book in books for name in _build_columns(book.details))
    default_columns = cast(BookChanges, column_names | {"author_names": ""})
    rows: list[NewBook] = [
        {
            **default_columns,
            **_build_columns(book.details),
            "id": id_,
            "isbn": book.isbn,
            "slug": slug,
            "stock_quantity": book.stock or 0,
        }
        for id_, slug, book in zip(ids, slugs, books, strict=True)
    ]
    await catalog.add_books(tx, rows)
    author_ids_by_book = {
        id_: [authors[name] for name in book.details.get("authors", ())] for id_, book in zip(ids, books, strict=True)
    }
    await catalog.add_book_authors(tx, author_ids_by_book)
    movements = [(id_, book.details["title"], book.stock or 0) for id_, book in zip(ids, books, strict=True)]
    await stock.record_movements(tx, movements, stock.MovementReason.IMPORT)


async def _update_book(
    tx: Transaction, book: ImportRow, existing_book: BookRow, author_names: str, *, set_stock: bool
) -> bool:
    """Whether anything was different."""
    columns = _build_columns(book.details)
    changes: dict[str, Any] = {
        name: value
        for name, value in columns.items()
        if value != (author_names if name == "author_names" else getattr(existing_book, name))
    }
    if "author_names" in changes:
        await catalog.replace_book_authors(
            tx, existing_book.id, await get_or_create_authors(tx, book.details["authors"])
        )
    if changes:
        await catalog.update_book(tx, existing_book.id, **changes)
    stock_change = book.stock - existing_book.stock_quantity if set_stock and book.stock is not None else 0
    if stock_change:
        await apply_stock_changes(tx, {existing_book.id: stock_change}, stock.MovementReason.IMPORT)
    return bool(changes) or stock_change != 0


def _build_columns(details: dict[str, Any]) -> BookChanges:
    columns = {name: value for name, value in details.items() if name != "authors"}
    if "authors" in details:
        columns["author_names"] = "\n".join(details["authors"])
    return cast(BookChanges, columns)
