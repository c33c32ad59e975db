"""Parsers of the cells of an imported CSV file.

A parser returns `None` for an empty cell. It raises `ValueError` with a message such as "must be a whole number".
"""

import datetime as dt
import re
import unicodedata
from collections.abc import Callable, Mapping
from decimal import Decimal
from functools import cache
from typing import Any

import langcodes

from domain.text import remove_invisible_characters
from persistence.catalog import BookFormat

CellParser = Callable[[str], Any]

_DECIMAL = re.compile(r"[+-]?\d{1,20}(\.\d{1,10})?", re.ASCII)
"""The format of the API's scalar `Decimal`."""
_COMMA_DECIMAL = re.compile(r"([+-]?\d{1,20}),(\d{1,2})", re.ASCII)
"""A decimal comma. More than two digits after it can be thousands."""
_FORMAT_SYNONYMS = {
    "AUDIO": BookFormat.AUDIOBOOK,
    "AUDIO_BOOK": BookFormat.AUDIOBOOK,
    "AUDIO_CASSETTE": BookFormat.AUDIOBOOK,
    "AUDIO_CD": BookFormat.AUDIOBOOK,
    "AUDIBLE_AUDIO": BookFormat.AUDIOBOOK,
    "BOXED_SET": BookFormat.BOX_SET,
    "BOXSET": BookFormat.BOX_SET,
    "HARDBACK": BookFormat.HARDCOVER,
    "HARDBOUND": BookFormat.HARDCOVER,
    "HARD_COVER": BookFormat.HARDCOVER,
    "LIBRARY_BINDING": BookFormat.HARDCOVER,
    "MASS_MARKET": BookFormat.PAPERBACK,
    "MASS_MARKET_PAPERBACK": BookFormat.PAPERBACK,
    "PAPER_BACK": BookFormat.PAPERBACK,
    "SOFTBACK": BookFormat.PAPERBACK,
    "SOFT_COVER": BookFormat.PAPERBACK,
    "SOFTCOVER": BookFormat.PAPERBACK,
    "TRADE_PAPERBACK": BookFormat.PAPERBACK,
}
"""Names of formats in exports and feeds of booksellers."""
_NO_LANGUAGE = {"mis", "mul", "und", "zxx"}
"""Codes for several languages, for an unknown one and for none."""


def sanitize_text(text: str, *, multiline: bool = False) -> str:
    """Return the text without control and invisible characters, which suppliers' files often contain."""
    text = text.replace("\r\n", "\n")
    if not text.isprintable():
        text = "".join(
            character
            if unicodedata.category(character) not in ("Cc", "Cs") or (multiline and character == "\n")
            else " "
            for character in text
        )
    text = remove_invisible_characters(text if multiline else " ".join(text.split()), multiline=multiline)
    return text.strip() if multiline else " ".join(text.split())


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


def parse_isbn(cell: str) -> str | None:
    """Return an ISBN for a later check, without the signs that make Excel keep its digits: `="978…"` and `'978…`."""
    text = cell.strip()
    if text.startswith("="):
        text = text[1:].strip()
    if len(text) > 1 and text[0] == text[-1] == '"':
        text = text[1:-1]
    return text.strip().removeprefix("'").strip() or None


def parse_decimal(cell: str, *, has_decimal_comma: bool = False) -> Decimal | None:
    """Return a number in the format of the API: without an exponent, a currency or separators of thousands.

    Args:
        cell: The cell.
        has_decimal_comma: Whether the file can write `12,50`, which is the case when semicolons separate its columns.
    """
    if not (text := cell.strip()):
        return None
    if has_decimal_comma:
        if re.fullmatch(r"[+-]?\d{1,3}(\.\d{3})+", text, re.ASCII):
            raise ValueError("can be a decimal or have separators of thousands: write a number such as 12.90")
        text = _COMMA_DECIMAL.sub(r"\1.\2", text) if _COMMA_DECIMAL.fullmatch(text) else text
    if not _DECIMAL.fullmatch(text):
        raise ValueError("must be a number such as 12.90")
    return Decimal(text)


def parse_integer(cell: str) -> int | None:
    """Return a whole number of at most twelve digits."""
    if not (text := cell.strip()):
        return None
    if not re.fullmatch(r"-?\d{1,12}", text, re.ASCII):
        raise ValueError("must be a whole number")
    return int(text)


def parse_date(cell: str) -> dt.date | None:
    """Return a date of the form `1937-09-21`. A year or a month is its first day."""
    if not (text := cell.strip()):
        return None
    try:
        if not re.fullmatch(r"\d{4}(-\d{2}){0,2}", text, re.ASCII):
            raise ValueError
        return dt.date.fromisoformat(text + "-01-01"[len(text) - 4 :])
    except ValueError:
        raise ValueError("must be a date such as 1937-09-21, a month such as 1937-09 or a year") from None


def parse_format(cell: str) -> str | None:
    """Return the name of a `BookFormat`, from text such as `box set` or `Mass Market Paperback`."""
    if not (name := "_".join(re.split(r"[\s_-]+", cell.strip().upper()))):
        return None
    name = _FORMAT_SYNONYMS.get(name, name)
    if name not in BookFormat.__members__:
        raise ValueError(f"must be one of {', '.join(BookFormat)}")
    return str(name)


def parse_language(cell: str) -> str | None:
    """Return a BCP 47 tag for a later check, also for the English name of a language such as `German`."""
    if not (text := cell.strip()):
        return None
    if len(text) <= 35 and text.isascii() and langcodes.tag_is_valid(text):
        return text
    return _load_language_names().get(" ".join(text.casefold().split()), text)


@cache
def _load_language_names() -> Mapping[str, str]:
    """Return the tag per English name of a language in CLDR, in lower case."""
    from babel import Locale  # its data are read only for a file with names

    languages = Locale("en").languages
    return {
        str(name).casefold(): code.replace("_", "-") for code, name in languages.items() if code not in _NO_LANGUAGE
    }
