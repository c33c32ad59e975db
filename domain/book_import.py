"""The import of a supplier's CSV file: adds and updates books by ISBN, in batches of one transaction each."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import Any, TypeVar, cast

from domain.book_fields import BOOK_FIELDS, to_columns, validate_fields
from domain.catalog import MAX_GENRE_LENGTH, get_or_create_authors, get_or_create_genre, unique_slugs
from domain.csv_cells import CellParser, parse_decimal, parse_integer, parse_line
from domain.errors import Constraint, FieldError
from domain.shop import Shop
from domain.stock import MAX_STOCK, apply_stock_changes
from domain.validation import Validator
from persistence import catalog, locks, stock, tables
from persistence.catalog import BookChanges, BookRow, NewBook
from persistence.postgres.database import Transaction
from persistence.postgres.errors import retry_on_conflict

T = TypeVar("T")

BATCH_SIZE = 500
FIELD_COLUMNS: dict[str, tuple[str, CellParser]] = {
    book_field.csv_column or name: (name, book_field.csv) for name, book_field in BOOK_FIELDS.items() if book_field.csv
}
"""Per column that holds a book field: the name of the field and the parser of the cells."""
REQUIRED_COLUMNS = ("isbn", "title", "price")
OPTIONAL_COLUMNS = (*(column for column in FIELD_COLUMNS if column not in REQUIRED_COLUMNS), "genre", "stock")
REJECTING_COLUMNS = (*REQUIRED_COLUMNS, "stock")
"""A row with an invalid value in one of these is rejected. Another invalid value is left out, with a warning."""


@dataclass(frozen=True, slots=True)
class RejectedRow:
    """A row that is not imported. `line_number` is the line of the file on which it begins; the first is 1."""

    line_number: int
    reason: str


@dataclass(frozen=True, slots=True)
class ImportWarning:
    """A value that is left out of a row that is imported. `column` is the name of the column in the file."""

    line_number: int
    column: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportRow:
    """A valid row. `details` holds values of `BookDetails` for the columns that the file has and that are valid."""

    line_number: int
    isbn: str
    details: dict[str, Any]
    genre: str | None
    stock: int | None
    warnings: tuple[ImportWarning, ...] = ()


@dataclass(slots=True)
class ImportSummary:
    """What an import has done so far, in rows."""

    added: int = 0
    changed: int = 0
    unchanged: int = 0
    rejected_rows: list[RejectedRow] = field(default_factory=list)
    warnings: list[ImportWarning] = field(default_factory=list)

    @property
    def imported(self) -> int:
        """The number of rows that are in the catalog."""
        return self.added + self.changed + self.unchanged

    @property
    def row_count(self) -> int:
        """The number of rows that were processed."""
        return self.imported + len(self.rejected_rows)


class DryRunRollback(Exception):
    """Rolls back the transaction of a dry run."""


class RowParser:
    """Parses the rows of one file. Of several rows with one ISBN only the first is valid.

    Args:
        has_decimal_comma: Whether prices can be written `12,50`.
        labels: How the file calls the columns, where it uses other names.
    """

    def __init__(self, *, has_decimal_comma: bool = False, labels: Mapping[str, str] | None = None) -> None:
        self._line_numbers_by_isbn: dict[int, int] = {}
        labels = labels or {}
        columns = REQUIRED_COLUMNS + OPTIONAL_COLUMNS
        self._labels = {column: column for column in columns} | dict(labels)
        self._columns = {column: column for column in columns} | {label: column for column, label in labels.items()}
        self._field_labels = {name: self._labels[column] for column, (name, _) in FIELD_COLUMNS.items()}
        parse_price = partial(parse_decimal, has_decimal_comma=has_decimal_comma)
        self._field_columns = FIELD_COLUMNS | {"price": ("price", parse_price)}

    def parse(self, line_number: int, cells: Mapping[str, str]) -> ImportRow | RejectedRow:
        """Return the row with the values of its cells, which are given by column, or with the reason to reject it."""
        validator = Validator()
        details = {
            name: self._parse_cell(validator, column, cells[column], parse)
            for column, (name, parse) in self._field_columns.items()
            if column in cells
        }
        malformed_columns = self._group_by_column(validator.errors)
        for column in REQUIRED_COLUMNS:
            if details.get(column) is None and column not in malformed_columns:
                label = self._labels[column]
                validator.add_error((label,), Constraint.REQUIRED, f"{label} is missing.")
        details = validate_fields(validator, details, self._field_labels)
        genre = self._parse_genre(validator, cells.get("genre", ""))
        stock_quantity = self._parse_stock(validator, cells.get("stock", ""))
        if "genre" in cells:
            details["genre_id"] = None  # set when the batch is imported
        warnings: tuple[ImportWarning, ...] = ()
        if validator.errors:
            errors = self._group_by_column(validator.errors)
            if any(column in REJECTING_COLUMNS for column in errors):
                return RejectedRow(line_number, " ".join(errors.values()))
            for column in errors:
                del details["genre_id" if column == "genre" else FIELD_COLUMNS[column][0]]
                genre = None if column == "genre" else genre
            warnings = tuple(
                ImportWarning(line_number, self._labels[column], reason) for column, reason in errors.items()
            )
        isbn = details.pop("isbn")
        first_line_number = self._line_numbers_by_isbn.setdefault(int(isbn), line_number)
        if first_line_number != line_number:
            return RejectedRow(line_number, f"Line {first_line_number} already has this ISBN.")
        return ImportRow(line_number, isbn, details, genre, stock_quantity, warnings)

    def _parse_cell(self, validator: Validator, column: str, cell: str, parse: CellParser) -> Any:
        try:
            return parse(cell)
        except ValueError as error:
            label = self._labels[column]
            validator.add_error((label,), Constraint.MALFORMED, f"{label} {error}.")
            return None

    def _parse_genre(self, validator: Validator, cell: str) -> str | None:
        genre, label = parse_line(cell), self._labels["genre"]
        if genre and len(genre) > MAX_GENRE_LENGTH:
            validator.add_error(
                (label,), Constraint.TOO_LONG, f"{label} must have at most {MAX_GENRE_LENGTH} characters."
            )
        return genre

    def _parse_stock(self, validator: Validator, cell: str) -> int | None:
        quantity: int | None = self._parse_cell(validator, "stock", cell, parse_integer)
        return None if quantity is None else validator.number((self._labels["stock"],), quantity, 0, MAX_STOCK)

    def _group_by_column(self, errors: list[FieldError]) -> dict[str, str]:
        """Return the messages per column that has errors, joined."""
        messages: dict[str, list[str]] = {}
        for error in errors:
            messages.setdefault(self._columns[error.path[0]], []).append(error.message)
        return {column: " ".join(texts) for column, texts in messages.items()}


def batched(items: Iterable[T], size: int = BATCH_SIZE) -> Iterator[list[T]]:
    """Return the items in lists of `size`; the last may be shorter."""
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


async def import_batch(
    shop: Shop, rows: list[ImportRow | RejectedRow], summary: ImportSummary, *, set_stock: bool, dry_run: bool
) -> None:
    """Add or update the books of one batch, and count them in `summary`.

    Args:
        shop: The shop.
        rows: The rows of the batch. Rejected ones are only counted.
        summary: Receives the counts.
        set_stock: Whether to set the stock of books that exist. New books always get their stock.
        dry_run: Whether to roll back after counting.
    """
    books = [row for row in rows if isinstance(row, ImportRow)]
    summary.rejected_rows += [row for row in rows if isinstance(row, RejectedRow)]
    if books:
        added, changed = await _upsert_books(shop, books, set_stock=set_stock, dry_run=dry_run)
        summary.added += added
        summary.changed += changed
        summary.unchanged += len(books) - added - changed
        summary.warnings += [warning for book in books for warning in book.warnings]


@retry_on_conflict
async def _upsert_books(shop: Shop, books: list[ImportRow], *, set_stock: bool, dry_run: bool) -> tuple[int, int]:
    """Return the number of added and of changed books."""
    try:
        async with shop.database.transaction() as tx:
            existing_books = {
                book.isbn: (book, author_names)
                for book, author_names in await locks.lock_books_by_isbn(tx, [row.isbn for row in books])
            }
            genre_ids = {
                name: (await get_or_create_genre(tx, name))[0].id
                for name in sorted({row.genre for row in books if row.genre})
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
    author_ids = dict(zip(names, await get_or_create_authors(tx, names), strict=True))
    slugs = await unique_slugs(tx, tables.Book, [book.details["title"] for book in books])
    ids = [tables.new_id() for _ in books]
    column_names = dict.fromkeys(name for book in books for name in to_columns(book.details))
    default_columns = cast(BookChanges, column_names | {"author_names": ""})
    rows: list[NewBook] = [
        {
            **default_columns,
            **to_columns(book.details),
            "id": id_,
            "isbn": book.isbn,
            "slug": slug,
            "stock_quantity": book.stock or 0,
        }
        for id_, slug, book in zip(ids, slugs, books, strict=True)
    ]
    await catalog.add_books(tx, rows)
    author_ids_by_book = {
        id_: [author_ids[name] for name in book.details.get("authors", ())]
        for id_, book in zip(ids, books, strict=True)
    }
    await catalog.add_book_authors(tx, author_ids_by_book)
    movements = [(id_, book.details["title"], book.stock or 0) for id_, book in zip(ids, books, strict=True)]
    await stock.record_movements(tx, movements, stock.MovementReason.IMPORT)


async def _update_book(
    tx: Transaction, book: ImportRow, existing_book: BookRow, author_names: str, *, set_stock: bool
) -> bool:
    """Return whether anything changed."""
    columns = to_columns(book.details)
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
