"""Input validation: normalizes values and collects every violation before it raises."""

import re
import unicodedata
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from urllib.parse import urlsplit

import langcodes
from babel import Locale
from babel.core import get_global
from email_validator import EmailNotValidError, validate_email
from stdnum import isbn as isbn_numbers
from stdnum.exceptions import ValidationError

from domain.errors import Constraint, FieldError, InvalidInput
from domain.text import has_invisible_characters, is_blank, normalize_line, normalize_lines, remove_separators

MAX_EMAIL_LENGTH = 254
MAX_PRICE = Decimal("99999999.99")
MIN_PRICE = Decimal("0.01")
MAX_ISBN_LENGTH = 100
"""The most characters of a text that is read as an ISBN, with its label and separators."""
PSEUDO_COUNTRIES = frozenset(("EU", "EZ", "QO", "UN", "XA", "XB", "ZZ"))
"""Codes of CLDR for unions, outlying places, tests and the unknown."""

InputPath = tuple[str, ...]


@dataclass(slots=True)
class Validator:
    """Normalizes input values and collects their errors.

    Each check returns the value as it is to be stored. An invalid value adds an error instead of raising.
    """

    errors: list[FieldError] = field(default_factory=list)

    def add_error(self, path: InputPath, constraint: Constraint, message: str) -> None:
        """Record that the field at `path` violates `constraint`."""
        self.errors.append(FieldError(path, constraint, message))

    def text(
        self, path: InputPath, value: str, max_length: int, *, multiline: bool = False, label: str | None = None
    ) -> str:
        """Return the text in NFC, without surrounding spaces and with single spaces inside.

        Args:
            path: The path of the field.
            value: The text.
            max_length: The maximum number of characters.
            multiline: Whether to allow newlines and tabs, and to keep the indentation of lines.
            label: The name of the field in messages. By default it is the last part of the path.
        """
        text = normalize_lines(value) if multiline else normalize_line(value)
        label = label or path[-1]
        if has_invisible_characters(text, multiline=multiline):
            self.add_error(
                path, Constraint.MALFORMED, f"{label} contains invisible or control characters. Enter it without them."
            )
        elif not text:
            self.add_error(path, Constraint.REQUIRED, f"{label} must not be blank.")
        elif is_blank(text):
            self.add_error(path, Constraint.REQUIRED, f"{label} must contain visible characters.")
        elif len(text) > max_length:
            self.add_error(path, Constraint.TOO_LONG, f"{label} must have at most {max_length:,} characters.")
        return text

    def optional_text(
        self, path: InputPath, value: str | None, max_length: int, *, multiline: bool = False
    ) -> str | None:
        """Like `text`, but return `None` for a blank value."""
        if value is None or not value.strip():
            return None
        return self.text(path, value, max_length, multiline=multiline)

    def number(self, path: InputPath, value: int, minimum: int, maximum: int) -> int:
        """Check that the number is between `minimum` and `maximum`, both inclusive."""
        name = path[-1]
        if value < minimum:
            self.add_error(path, Constraint.TOO_SMALL, f"{name} must be at least {minimum:,}.")
        elif value > maximum:
            self.add_error(path, Constraint.TOO_LARGE, f"{name} must be at most {maximum:,}.")
        return value

    def price(self, path: InputPath, value: Decimal) -> Decimal:
        """Return the price with two decimals; it must be between `MIN_PRICE` and `MAX_PRICE`."""
        if value < MIN_PRICE:
            self.add_error(path, Constraint.TOO_SMALL, "The price must be more than zero.")
        elif value > MAX_PRICE:
            self.add_error(path, Constraint.TOO_LARGE, f"The price must be at most {MAX_PRICE:,}.")
        elif value != round(value, 2):
            self.add_error(path, Constraint.MALFORMED, "The price must have at most two decimals.")
        else:
            return round(value, 2)
        return value

    def isbn(self, path: InputPath, value: str) -> str:
        """Return the ISBN as 13 digits, in whichever form `normalize_isbn` accepts."""
        normalized = normalize_isbn(value)
        if normalized is None:
            self.add_error(
                path,
                Constraint.MALFORMED,
                f"{value[:40]!r} is not a valid ISBN. An ISBN has 10 or 13 digits, and the last is a check digit.",
            )
        return normalized or value

    def email(self, path: InputPath, value: str) -> str:
        """Return the address in lower case, because addresses that differ only in case belong to one account."""
        if len(value) > MAX_EMAIL_LENGTH:
            self.add_error(
                path, Constraint.TOO_LONG, f"The email address must have at most {MAX_EMAIL_LENGTH} characters."
            )
        elif not value.strip():
            self.add_error(path, Constraint.REQUIRED, "An email address is required.")
        else:
            normalized = normalize_email(value)
            if normalized is not None:
                return normalized
            self.add_error(path, Constraint.MALFORMED, "This is not a valid email address.")
        return value

    def url(self, path: InputPath, value: str) -> str:
        """Return the HTTP or HTTPS URL without surrounding whitespace."""
        error_count = len(self.errors)
        text = self.text(path, value, 2000)
        if len(self.errors) > error_count:
            return text
        if " " in text:
            message = f"{path[-1]} must not contain spaces. In a URL, write a space as %20."
            self.add_error(path, Constraint.MALFORMED, message)
        elif not is_http_url(text):
            self.add_error(
                path, Constraint.MALFORMED, f"{path[-1]} must be a URL that starts with http:// or https://."
            )
        return text

    def optional_url(self, path: InputPath, value: str | None) -> str | None:
        """Like `url`, but return `None` for a blank value."""
        return None if value is None or not value.strip() else self.url(path, value)

    def language(self, path: InputPath, value: str) -> str:
        """Return the BCP 47 tag in canonical form."""
        if not (value.isascii() and len(value) <= 35 and langcodes.tag_is_valid(value)):
            self.add_error(path, Constraint.MALFORMED, "The language must be a BCP 47 tag, such as en or pt-BR.")
            return value
        return langcodes.standardize_tag(value)

    def country(self, path: InputPath, value: str) -> str:
        """Return the code of a country or territory in upper case: ISO 3166-1 alpha-2, and others of CLDR such as XK."""
        code = value.strip().upper()
        if not (value.isascii() and code in list_countries()):  # the upper case of some letters is ASCII
            message = "The country must be a two-letter ISO 3166-1 code."
            if current_codes := list_current_codes(code):
                message += f" Instead of {code}, use {' or '.join(current_codes)}."
            self.add_error(path, Constraint.MALFORMED, message)
        return code

    def raise_if_invalid(self) -> None:
        """Raise the collected errors, if there are any.

        Raises:
            InvalidInput: At least one value is invalid.
        """
        if self.errors:
            raise InvalidInput(self.errors)


@contextmanager
def validating() -> Iterator[Validator]:
    """Provide a `Validator` and raise its errors together at the end of the block.

    Raises:
        InvalidInput: At least one value is invalid.
    """
    validator = Validator()
    yield validator
    validator.raise_if_invalid()


def invalid_input(path: InputPath, constraint: Constraint, message: str) -> InvalidInput:
    """Return an `InvalidInput` with a single error."""
    return InvalidInput([FieldError(path, constraint, message)])


def is_printable(text: str, *, multiline: bool = False) -> bool:
    """Return whether the text has no control characters and lone surrogates; `multiline` allows newlines and tabs.

    It is for values that the server compares. Texts that it stores follow the stricter rules of `Validator.text`.
    """
    return text.isprintable() or not any(
        unicodedata.category(character) in ("Cc", "Cs") and not (multiline and character in "\n\t")
        for character in text
    )


_ISBN_PATTERN = re.compile(
    r"(?:(?:URN:)?E?ISBN(?:1[03])?[:#.]*)?\(?(?P<digits>[0-9]{9,13}|[0-9]{8,9}X)\)?[.,;:]*", re.IGNORECASE
)


def normalize_isbn(value: str) -> str | None:
    """Return the ISBN as 13 digits, or `None` when it is not valid.

    It may have a label, dashes, spaces and format characters of any kind, full-width digits and final punctuation.
    """
    if len(value) > MAX_ISBN_LENGTH:
        return None
    match = _ISBN_PATTERN.fullmatch(remove_separators(value))
    if match is None:
        return None
    try:
        number: str = isbn_numbers.to_isbn13(isbn_numbers.validate(match["digits"]))
    except ValidationError:
        return None
    return str(isbn_numbers.compact(number))


@cache
def list_countries() -> frozenset[str]:
    """Return the two-letter codes of all countries and territories in CLDR."""
    codes = map(str, Locale("en").territories)
    return frozenset(code for code in codes if len(code) == 2 and code.isalpha()) - PSEUDO_COUNTRIES


def list_current_codes(code: str) -> list[str]:
    """Return the codes to use instead of an obsolete, three-letter or colloquial code, such as GB for UK."""
    aliases: Mapping[str, list[str]] = {**get_global("territory_aliases"), "EL": ["GR"]}
    return [current_code for current_code in aliases.get(code, []) if current_code in list_countries()]


def normalize_email(value: str) -> str | None:
    """Return the address in lower case, or `None` when it is not valid."""
    if len(value) > MAX_EMAIL_LENGTH:
        return None
    try:
        return validate_email(value.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


def is_http_url(text: str) -> bool:
    """Return whether the text is an absolute HTTP or HTTPS URL without spaces."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in text
