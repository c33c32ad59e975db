"""The rules of text and numbers: checks that collect every issue before they refuse."""

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

from domain.errors import InvalidInput, Issue, Rule

EMAIL_LENGTH = 254
MOST_EXPENSIVE = Decimal("99999999.99")
CHEAPEST = Decimal("0.01")

Path = tuple[str, ...]


@dataclass(slots=True)
class Checker:
    """Each check gives back the value as it is to be kept, or notes an issue."""

    issues: list[Issue] = field(default_factory=list)

    def refuse(self, path: Path, rule: Rule, message: str) -> None:
        self.issues.append(Issue(path, rule, message))

    def text(self, path: Path, value: str, longest: int, *, shortest: int = 1, lines: bool = False) -> str:
        """Text without surrounding space and control characters; line breaks only where `lines` says so."""
        text = unicodedata.normalize("NFC", value.replace("\r\n", "\n") if lines else value).strip()
        name = path[-1]
        if not is_clean(text, lines=lines):
            self.refuse(path, Rule.MALFORMED, f"{name} holds characters that cannot be shown.")
        elif not text:
            self.refuse(path, Rule.REQUIRED, f"{name} must not be blank.")
        elif len(text) < shortest:
            self.refuse(path, Rule.TOO_SHORT, f"{name} must have at least {shortest} characters.")
        elif len(text) > longest:
            self.refuse(path, Rule.TOO_LONG, f"{name} must have at most {longest:,} characters.")
        return text

    def optional(self, path: Path, value: str | None, longest: int, *, lines: bool = False) -> str | None:
        """As `text`; blank is the same as nothing."""
        if value is None or not value.strip():
            return None
        return self.text(path, value, longest, lines=lines)

    def number(self, path: Path, value: int, least: int, most: int) -> int:
        name = path[-1]
        if value < least:
            self.refuse(path, Rule.TOO_SMALL, f"{name} must be at least {least:,}.")
        elif value > most:
            self.refuse(path, Rule.TOO_LARGE, f"{name} must be at most {most:,}.")
        return value

    def price(self, path: Path, value: Decimal) -> Decimal:
        if value < CHEAPEST:
            self.refuse(path, Rule.TOO_SMALL, "The price must be more than zero.")
        elif value > MOST_EXPENSIVE:
            self.refuse(path, Rule.TOO_LARGE, f"The price must be at most {MOST_EXPENSIVE:,}.")
        elif value != round(value, 2):
            self.refuse(path, Rule.MALFORMED, "The price must have two decimals at most.")
        else:
            return round(value, 2)
        return value

    def isbn(self, path: Path, value: str) -> str:
        """Thirteen digits, whichever way it was entered."""
        found = as_isbn(value)
        if found is None:
            self.refuse(
                path,
                Rule.MALFORMED,
                f"{value[:40]!r} is no ISBN: it has ten or thirteen digits, and the last one must fit.",
            )
        return found or value

    def email(self, path: Path, value: str) -> str:
        """In lower case: addresses that differ in case alone are one account's."""
        if len(value) > EMAIL_LENGTH:
            self.refuse(path, Rule.TOO_LONG, f"An email address has at most {EMAIL_LENGTH} characters.")
        elif not value.strip():
            self.refuse(path, Rule.REQUIRED, "The email address must be given.")
        else:
            email = as_email(value)
            if email is not None:
                return email
            self.refuse(path, Rule.MALFORMED, "This is no email address.")
        return value

    def url(self, path: Path, value: str) -> str:
        text = self.text(path, value, 2000)
        if not is_web_address(text):
            self.refuse(path, Rule.MALFORMED, f"{path[-1]} must be an address that begins with http:// or https://.")
        return text

    def language(self, path: Path, value: str) -> str:
        if not (value.isascii() and len(value) <= 35 and langcodes.tag_is_valid(value)):
            self.refuse(path, Rule.MALFORMED, "The language must be a BCP 47 tag, such as en or pt-BR.")
            return value
        return langcodes.standardize_tag(value)

    def country(self, path: Path, value: str) -> str:
        code = value.strip().upper()
        if not (value.isascii() and re.fullmatch("[A-Z]{2}", code)) or pycountry.countries.get(alpha_2=code) is None:
            self.refuse(path, Rule.MALFORMED, "The country must be an ISO 3166-1 code of two letters.")
        return code

    def done(self) -> None:
        """Raises `InvalidInput` when there was an issue."""
        if self.issues:
            raise InvalidInput(self.issues)


@contextmanager
def checking() -> Iterator[Checker]:
    """All issues found inside are raised together at its end."""
    checker = Checker()
    yield checker
    checker.done()


def invalid(path: Path, rule: Rule, message: str) -> InvalidInput:
    """A single issue, found late."""
    return InvalidInput([Issue(path, rule, message)])


def is_clean(text: str, *, lines: bool = False) -> bool:
    """Whether it can be stored and shown: no control characters, no lone surrogates."""
    return not any(
        unicodedata.category(character) in ("Cc", "Cs") and not (lines and character in "\n\t") for character in text
    )


def as_isbn(value: str) -> str | None:
    if not re.fullmatch(r"[0-9Xx -]{1,40}", value.strip()):
        return None
    try:
        number: str = isbn_numbers.to_isbn13(isbn_numbers.validate(value))
    except ValidationError:
        return None
    return str(isbn_numbers.compact(number))


def as_email(value: str) -> str | None:
    if len(value) > EMAIL_LENGTH:
        return None
    try:
        return validate_email(value.strip(), check_deliverability=False).normalized.lower()
    except EmailNotValidError:
        return None


def is_web_address(text: str) -> bool:
    try:
        parts = urlsplit(text)
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and " " not in text
