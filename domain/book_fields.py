"""The fields of a book that administrators and imports set. Each is declared once, in `BookDetails`."""

import datetime as dt
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, MISSING, dataclass, fields
from decimal import Decimal
from functools import partial
from typing import Annotated, Any, cast, get_type_hints

from domain.csv_cells import (
    CellParser,
    parse_code,
    parse_date,
    parse_decimal,
    parse_format,
    parse_integer,
    parse_isbn,
    parse_language,
    parse_line,
    parse_lines,
    parse_names,
)
from domain.errors import Constraint
from domain.validation import InputPath, Validator
from persistence.catalog import BookChanges

MAX_AUTHORS = 50

Validate = Callable[[Validator, InputPath, Any], Any]


@dataclass(frozen=True, slots=True)
class BookField:
    """How one field of a book is validated and imported.

    Attributes:
        validate: Returns the normalized value, or adds an error to the validator. It never receives `None`.
            `None` when every value of the type is valid.
        csv: Parses a cell of the import. `None` when no column of the import holds the value itself.
        csv_column: The name of the column, when it is not the name of the field.
    """

    validate: Validate | None
    _: KW_ONLY
    csv: CellParser | None
    csv_column: str | None = None


def _validate_authors(validator: Validator, path: InputPath, names: Sequence[str]) -> tuple[str, ...]:
    """Return the distinct names in their order, ignoring case."""
    if len(names) > MAX_AUTHORS:
        validator.add_error(path, Constraint.TOO_LONG, f"A book has at most {MAX_AUTHORS} authors.")
        return ()
    unique_names: dict[str, str] = {}
    for position, name in enumerate(names):
        normalized_name = validator.text((*path, str(position)), name, 200, label=f"Author {position + 1}")
        unique_names.setdefault(normalized_name.lower(), normalized_name)
    return tuple(unique_names.values())


def _text(max_length: int, *, multiline: bool = False) -> Validate:
    return partial(Validator.text, max_length=max_length, multiline=multiline)


def _number(minimum: int, maximum: int) -> Validate:
    return partial(Validator.number, minimum=minimum, maximum=maximum)


@dataclass(frozen=True, slots=True, kw_only=True)
class BookDetails:
    """All fields of a book except its stock. A field without a default is required."""

    title: Annotated[str, BookField(_text(500), csv=parse_line)]
    subtitle: Annotated[str | None, BookField(_text(500), csv=parse_line)] = None
    authors: Annotated[tuple[str, ...], BookField(_validate_authors, csv=parse_names, csv_column="author")]
    price: Annotated[Decimal, BookField(Validator.price, csv=parse_decimal)]
    isbn: Annotated[str | None, BookField(Validator.isbn, csv=parse_isbn)] = None
    genre_id: Annotated[uuid.UUID | None, BookField(None, csv=None)] = None  # the import finds it by the genre's name
    description: Annotated[str | None, BookField(_text(20_000, multiline=True), csv=parse_lines)] = None
    cover_url: Annotated[str | None, BookField(Validator.url, csv=parse_code)] = None
    format: Annotated[str | None, BookField(None, csv=parse_format)] = None
    publisher: Annotated[str | None, BookField(_text(200), csv=parse_line)] = None
    published_on: Annotated[dt.date | None, BookField(None, csv=parse_date)] = None
    page_count: Annotated[int | None, BookField(_number(1, 100_000), csv=parse_integer)] = None
    language: Annotated[str | None, BookField(Validator.language, csv=parse_language)] = None


BOOK_FIELDS: dict[str, BookField] = {
    name: hint.__metadata__[0] for name, hint in get_type_hints(BookDetails, include_extras=True).items()
}
REQUIRED_FIELDS = tuple(field.name for field in fields(BookDetails) if field.default is MISSING)


def validate_fields(
    validator: Validator, values: Mapping[str, Any], labels: Mapping[str, str] | None = None
) -> dict[str, Any]:
    """Return the values of some or all fields, normalized: `None` for a blank optional text.

    Args:
        validator: Receives the errors.
        values: The values by field.
        labels: How error messages call the fields. By default they use the names of the API.
    """
    validated = {
        name: None if isinstance(value, str) and not value.strip() and name not in REQUIRED_FIELDS else value
        for name, value in values.items()
    }
    for name, field in BOOK_FIELDS.items():
        if field.validate is not None and validated.get(name) is not None:
            label = labels.get(name, name) if labels is not None else _to_camel_case(name)
            validated[name] = field.validate(validator, (label,), validated[name])
    return validated


def _to_camel_case(name: str) -> str:
    first_word, *words = name.split("_")
    return first_word + "".join(word.capitalize() for word in words)


def to_columns(values: Mapping[str, Any]) -> BookChanges:
    """Return the columns of the table `books` that hold these values: `author_names` has one author a line."""
    columns = {name: value for name, value in values.items() if name != "authors"}
    if "authors" in values:
        columns["author_names"] = "\n".join(values["authors"])
    return cast(BookChanges, columns)
