"""Input validation: normalizes values and collects every violation before it raises."""

import re
import unicodedata
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from decimal import Decimal
from urllib.parse import urlsplit

import langcodes
import pycountry
from email_validator import EmailNotValidError, validate_email
from stdnum import isbn as isbn_numbers
from stdnum.exceptions import ValidationError

from domain.errors import Constraint, FieldError, InvalidInput

MAX_EMAIL_LENGTH = 254
MAX_PRICE = Decimal("99999999.99")
MIN_PRICE = Decimal("0.01")

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
        self, path: InputPath, value: str, max_length: int, *, min_length: int = 1, multiline: bool = False
    ) -> str:
        """Return the text in NFC without surrounding whitespace; `multiline` allows newlines and tabs."""
        text = unicodedata.normalize("NFC", value.replace("\r\n", "\n") if multiline else value).strip()
        name = path[-1]
        if not is_printable(text, multiline=multiline):
            self.add_error(path, Constraint.MALFORMED, f"{name} contains control characters or invalid Unicode.")
        elif not text:
            self.add_error(path, Constraint.REQUIRED, f"{name} must not be blank.")
        elif len(text) < min_length:
            self.add_error(path, Constraint.TOO_SHORT, f"{name} must have at least {min_length} characters.")
        elif len(text) > max_length:
            self.add_error(path, Constraint.TOO_LONG, f"{name} must have at most {max_length:,} characters.")
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
        """Return the ISBN as 13 digits, also for an ISBN-10 or one with hyphens."""
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
        text = self.text(path, value, 2000)
        if not is_http_url(text):
            self.add_error(
                path, Constraint.MALFORMED, f"{path[-1]} must be a URL that starts with http:// or https://."
            )
        return text

    def language(self, path: InputPath, value: str) -> str:
        """Return the BCP 47 tag in canonical form."""
        if not (value.isascii() and len(value) <= 35 and langcodes.tag_is_valid(value)):
            self.add_error(path, Constraint.MALFORMED, "The language must be a BCP 47 tag, such as en or pt-BR.")
            return value
        return langcodes.standardize_tag(value)

    def country(self, path: InputPath, value: str) -> str:
        """Return the ISO 3166-1 alpha-2 code in upper case."""
        code = value.strip().upper()
        if not (value.isascii() and re.fullmatch("[A-Z]{2}", code)) or pycountry.countries.get(alpha_2=code) is None:
            self.add_error(path, Constraint.MALFORMED, "The country must be a two-letter ISO 3166-1 code.")
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
    """Return whether the text has no control characters and lone surrogates; `multiline` allows newlines and tabs."""
    return not any(
        unicodedata.category(character) in ("Cc", "Cs") and not (multiline and character in "\n\t")
        for character in text
    )


def normalize_isbn(value: str) -> str | None:
    """Return the ISBN as 13 digits, or `None` when it is not valid."""
    if not re.fullmatch(r"[0-9Xx -]{1,40}", value.strip()):
        return None
    try:
        number: str = isbn_numbers.to_isbn13(isbn_numbers.validate(value))
    except ValidationError:
        return None
    return str(isbn_numbers.compact(number))


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
