"""A supplier's feed: books added or changed by ISBN, in batches that each happen whole or not at all."""

import datetime as dt
import re
import unicodedata
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from itertools import islice
from typing import Any, TypeVar

from domain.catalog import GENRE_LENGTH, checked, ensure_authors, ensure_genre, free_slugs
from domain.errors import Rule
from domain.shop import Shop
from domain.stock import MOST, move_stock
from domain.validation import Checker
from persistence import catalog, models, stock
from persistence.catalog import Book, BookFormat
from persistence.database import Transaction
from persistence.faults import retried

T = TypeVar("T")

BATCH = 500
REQUIRED_COLUMNS = ("isbn", "title", "price")
OPTIONAL_COLUMNS = (
    "author", "genre", "stock", "cover_url", "subtitle", "description", "format", "publisher", "published_on",
    "page_count", "language",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Rejection:
    """A row that was left out. The first row after the header is number 2, as in a spreadsheet."""

    row: int
    reason: str


@dataclass(frozen=True, slots=True)
class FeedBook:
    """A row that makes sense. `details` holds the columns that the feed has."""

    row: int
    isbn: str
    details: dict[str, Any]
    genre: str | None
    stock: int | None


@dataclass(slots=True)
class Summary:
    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return self.added + self.changed + self.unchanged + len(self.rejections)


class DryRun(Exception):
    """Rolls a batch back."""


class Feed:
    """Reads rows, and remembers which ISBNs it has seen: of several rows with one ISBN the first counts."""

    def __init__(self) -> None:
        self._rows_by_isbn: dict[str, int] = {}

    def read(self, row: int, columns: Mapping[str, str]) -> FeedBook | Rejection:
        check = Checker()
        details: dict[str, Any] = {
            name: cleaned(columns[name], lines=name == "description") or None
            for name in ("title", "subtitle", "description", "publisher")
            if name in columns
        }
        details |= _converted(check, columns)
        if "author" in columns:
            details["authors"] = tuple(name for part in columns["author"].split(";") if (name := cleaned(part)))
        for name in ("title", "isbn", "price"):
            if not details.get(name):
                check.refuse((name,), Rule.REQUIRED, f"{name} is missing.")
        details = checked(check, details)
        genre = cleaned(columns.get("genre", "")) or None
        if genre and len(genre) > GENRE_LENGTH:
            check.refuse(("genre",), Rule.TOO_LONG, f"genre must have at most {GENRE_LENGTH} characters.")
        copies = _whole(check, "stock", columns.get("stock", "").strip())
        if copies is not None:
            check.number(("stock",), copies, 0, MOST)
        if check.issues:
            return Rejection(row, " ".join(issue.message for issue in check.issues))
        isbn = details.pop("isbn")
        first = self._rows_by_isbn.setdefault(isbn, row)
        if first != row:
            return Rejection(row, f"Row {first} has this ISBN already.")
        if "genre" in columns:
            details["genre_id"] = None  # until the genre is found
        return FeedBook(row, isbn, details, genre, copies)


def _converted(check: Checker, columns: Mapping[str, str]) -> dict[str, Any]:
    """The columns that are not text; an empty one clears."""
    given = {name: value.strip() for name, value in columns.items()}
    converted: dict[str, Any] = {}
    for name in ("isbn", "cover_url", "language"):
        if name in given:
            converted[name] = given[name] or None
    if "price" in given:
        converted["price"] = _decimal(check, given["price"])
    if "page_count" in given:
        converted["page_count"] = _whole(check, "page_count", given["page_count"])
    if "published_on" in given:
        converted["published_on"] = _date(check, given["published_on"])
    if "format" in given:
        chosen = given["format"].upper().replace(" ", "_")
        if chosen and chosen not in BookFormat.__members__:
            check.refuse(("format",), Rule.MALFORMED, f"format must be one of {', '.join(BookFormat)}.")
        converted["format"] = chosen or None
    return converted


def _decimal(check: Checker, text: str) -> Decimal | None:
    if not text:
        return None
    try:
        value = Decimal(text)
        if value.is_finite():
            return value
    except InvalidOperation:
        pass
    check.refuse(("price",), Rule.MALFORMED, "price must be a number such as 12.90.")
    return None


def _whole(check: Checker, name: str, text: str) -> int | None:
    if not text:
        return None
    if re.fullmatch(r"-?\d{1,12}", text, re.ASCII):
        return int(text)
    check.refuse((name,), Rule.MALFORMED, f"{name} must be a whole number.")
    return None


def _date(check: Checker, text: str) -> dt.date | None:
    try:
        return dt.date.fromisoformat(text) if text else None
    except ValueError:
        check.refuse(("published_on",), Rule.MALFORMED, "published_on must be a date such as 1937-09-21.")
        return None


def cleaned(text: str, *, lines: bool = False) -> str:
    """What can be shown of it: feeds carry control characters and bytes that were decoded wrongly."""
    text = text.replace("\r\n", "\n")
    kept = "".join(
        character if unicodedata.category(character) not in ("Cc", "Cs") or (lines and character == "\n") else " "
        for character in text
    )
    return kept.strip() if lines else " ".join(kept.split())


def batches(items: Iterable[T], size: int = BATCH) -> Iterator[list[T]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


async def import_batch(
    shop: Shop, rows: list[FeedBook | Rejection], summary: Summary, *, set_stock: bool, dry_run: bool
) -> None:
    """Adds and changes books; rows that were rejected are noted. `set_stock` sets the stock of known books, too."""
    books = [row for row in rows if isinstance(row, FeedBook)]
    summary.rejections += [row for row in rows if isinstance(row, Rejection)]
    if books:
        added, changed = await _merge(shop, books, set_stock=set_stock, dry_run=dry_run)
        summary.added += added
        summary.changed += changed
        summary.unchanged += len(books) - added - changed


@retried
async def _merge(shop: Shop, books: list[FeedBook], *, set_stock: bool, dry_run: bool) -> tuple[int, int]:
    """How many were added, and how many changed."""
    try:
        async with shop.database.transaction() as tx:
            known = {
                book.isbn: (book, names)
                for book, names in await catalog.list_books_by_isbn(tx, [b.isbn for b in books])
            }
            shelves = {
                name: (await ensure_genre(tx, name))[0].id for name in sorted({b.genre for b in books if b.genre})
            }
            for book in books:
                if book.genre is not None:
                    book.details["genre_id"] = shelves[book.genre]
            new = [book for book in books if book.isbn not in known]
            await _add(tx, new)
            changed = [
                await _change(tx, book, *known[book.isbn], set_stock=set_stock) for book in books if book.isbn in known
            ]
            counts = len(new), sum(changed)
            if dry_run:
                raise DryRun
    except DryRun:
        pass
    return counts


async def _add(tx: Transaction, books: list[FeedBook]) -> None:
    if not books:
        return
    names = list({name: None for book in books for name in book.details.get("authors", ())})
    authors = dict(zip(names, await ensure_authors(tx, names), strict=True))
    slugs = await free_slugs(tx, models.Book, [book.details["title"] for book in books])
    ids = [models.new_id() for _ in books]
    blank = dict.fromkeys(name for book in books for name in _columns(book.details)) | {"author_names": ""}
    rows = [
        blank | _columns(book.details) | {"id": id_, "isbn": book.isbn, "slug": slug, "stock_quantity": book.stock or 0}
        for id_, slug, book in zip(ids, slugs, books, strict=True)
    ]
    await catalog.add_books(tx, rows)
    by_book = {
        id_: [authors[name] for name in book.details.get("authors", ())] for id_, book in zip(ids, books, strict=True)
    }
    await catalog.add_book_authors(tx, by_book)
    movements = [(id_, book.details["title"], book.stock or 0) for id_, book in zip(ids, books, strict=True)]
    await stock.record_movements(tx, movements, stock.Reason.IMPORT)


async def _change(tx: Transaction, book: FeedBook, known: Book, author_names: str, *, set_stock: bool) -> bool:
    """Whether anything was different."""
    columns = _columns(book.details)
    different = {
        name: value
        for name, value in columns.items()
        if value != (author_names if name == "author_names" else getattr(known, name))
    }
    if "author_names" in different:
        await catalog.set_authors(tx, known.id, await ensure_authors(tx, book.details["authors"]))
    if different:
        await catalog.set_book(tx, known.id, different)
    copies = book.stock - known.stock_quantity if set_stock and book.stock is not None else 0
    if copies:
        await move_stock(tx, {known.id: copies}, stock.Reason.IMPORT)
    return bool(different) or copies != 0


def _columns(details: dict[str, Any]) -> dict[str, Any]:
    columns = {name: value for name, value in details.items() if name != "authors"}
    return columns | ({"author_names": "\n".join(details["authors"])} if "authors" in details else {})
