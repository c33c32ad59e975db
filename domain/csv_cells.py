"""Parsers of the cells of an imported CSV file.

A parser returns `None` for an empty cell. It raises `ValueError` with a message such as "must be a whole number".
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

from persistence.catalog import BookFormat

CellParser = Callable[[str], Any]


def sanitize_text(text: str, *, multiline: bool = False) -> str:
    """Return the text without control characters and lone surrogates, which suppliers' files often contain."""
    text = text.replace("\r\n", "\n")
    sanitized = "".join(
        character if unicodedata.category(character) not in ("Cc", "Cs") or (multiline and character == "\n") else " "
        for character in text
    )
    return sanitized.strip() if multiline else " ".join(sanitized.split())


def parse_line(cell: str) -> str | None:
    """Return a single line of text."""
    return sanitize_text(cell) or None


def parse_lines(cell: str) -> str | None:
    """Return text that keeps its line breaks."""
    return sanitize_text(cell, multiline=True) or None


def parse_names(cell: str) -> tuple[str, ...]:
    """Return the names in a list that semicolons separate."""
    return tuple(name for part in cell.split(";") if (name := sanitize_text(part)))


def parse_code(cell: str) -> str | None:
    """Return an identifier as it is, for a later check: an ISBN, a URL or a language."""
    return cell.strip() or None


def parse_decimal(cell: str) -> Decimal | None:
    """Return a finite number."""
    if not (text := cell.strip()):
        return None
    try:
        value = Decimal(text)
    except InvalidOperation:
        value = Decimal("NaN")
    if not value.is_finite():
        raise ValueError("must be a number such as 12.90")
    return value


def parse_integer(cell: str) -> int | None:
    """Return a whole number of at most twelve digits."""
    if not (text := cell.strip()):
        return None
    if not re.fullmatch(r"-?\d{1,12}", text, re.ASCII):
        raise ValueError("must be a whole number")
    return int(text)


def parse_date(cell: str) -> dt.date | None:
    """Return an ISO 8601 date."""
    if not (text := cell.strip()):
        return None
    try:
        return dt.date.fromisoformat(text)
    except ValueError:
        raise ValueError("must be a date such as 1937-09-21") from None


def parse_format(cell: str) -> str | None:
    """Return the name of a `BookFormat`, from text such as `box set`."""
    if not (name := cell.strip().upper().replace(" ", "_")):
        return None
    if name not in BookFormat.__members__:
        raise ValueError(f"must be one of {', '.join(BookFormat)}")
    return name
