"""Validation of single values: texts, ISBNs, URLs and countries."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from domain.errors import Constraint
from domain.validation import MAX_ISBN_LENGTH, Validator, normalize_isbn

DASHES = ["-", "\u2010", "\u2011", "\u2012", "\u2013", "\u2014", "\u2015", "\u2212", "\ufe63", "\uff0d", "\u30fc"]
SPACES = [" ", "\u00a0", "\u2009", "\u202f", "\u3000", "\t"]
FORMATS = ["\u00ad", "\u200b", "\u200e", "\u202a", "\u202c", "\u2060", "\u2066", "\ufeff"]
LABELS = [
    "ISBN",
    "ISBN:",
    "Isbn-13:",
    "isbn 13",
    "ISBN13 -",
    "\uff29\uff33\uff22\uff2e",
    "e-ISBN",
    "urn:isbn:",
    "ISBN\u201113.",
]
SEPARATORS = st.lists(st.sampled_from(["", "", *DASHES, *SPACES, *FORMATS, " - "]), min_size=15, max_size=15)


def _complete_isbn13(digits: str) -> str:
    total = sum(int(digit) * (3 if position % 2 else 1) for position, digit in enumerate(digits))
    return digits + str(-total % 10)


def _complete_isbn10(digits: str) -> str:
    check = -sum(int(digit) * (10 - position) for position, digit in enumerate(digits)) % 11
    return digits + ("X" if check == 10 else str(check))


def _paste(data: st.DataObject, number: str, labels: list[str]) -> str:
    """Return the number as it may be pasted: with a label, separators and final punctuation, in narrow or wide digits."""
    if data.draw(st.booleans()):
        number = "".join(chr(ord(character) + 0xFEE0) for character in number)
    if data.draw(st.booleans()):
        number = number.lower()
    begin, after_label, *separators = data.draw(SEPARATORS)
    dressed = "".join(map("".join, zip(number, separators, strict=False)))
    label, end = data.draw(st.sampled_from(["", *labels])), data.draw(st.sampled_from(["", ".", ",", " ;", "\u202c"]))
    return f"{begin}{label}{after_label}{dressed}{end}"


# ── ISBNs ─────────────────────────────────────────────────────────────────────────────────


@settings(max_examples=60, deadline=None)
@given(st.sampled_from(["978", "979"]), st.text("0123456789", min_size=9, max_size=9), st.data())
def test_isbn_13_is_read_in_every_form(prefix: str, digits: str, data: st.DataObject) -> None:
    isbn = _complete_isbn13(prefix + digits)
    assert normalize_isbn(_paste(data, isbn, LABELS)) == isbn
    wrong_isbn = isbn[:-1] + str((int(isbn[-1]) + 1) % 10)
    assert normalize_isbn(_paste(data, wrong_isbn, LABELS)) is None


@settings(max_examples=60, deadline=None)
@given(st.text("0123456789", min_size=9, max_size=9), st.data())
def test_isbn_10_is_read_in_every_form(digits: str, data: st.DataObject) -> None:
    labels = ["ISBN", "ISBN-10:", "isbn 10", "ISBN10"]
    assert normalize_isbn(_paste(data, _complete_isbn10(digits), labels)) == _complete_isbn13("978" + digits)


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "ISBN",
        "ISBN-13:",
        "978",
        "13 9780261103283",
        "ISSN 9780261103283",
        "9780261103283 9780261103283",
        "Emma 9780261103283",
        "97802611O3283",
        "978\u0660\u0662\u0666\u0661\u0661\u0660\u0663\u0662\u0668\u0663",
        "9780261103283?",
        "\u0301",
        "0" * 10 + "X",
        "9780261103283" + "\u200b" * MAX_ISBN_LENGTH,
        "x" * 100_000,
    ],
)
def test_other_texts_are_not_isbns(text: str) -> None:
    assert normalize_isbn(text) is None


@given(st.text() | st.text("0123456789XISBN-: ."))
def test_normalized_isbn_has_thirteen_digits(text: str) -> None:
    isbn = normalize_isbn(text)
    assert isbn is None or (isbn == _complete_isbn13(isbn[:12]) and isbn[:3] in ("978", "979"))


# ── Texts ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("text", "constraint", "message"),
    [
        ("", Constraint.REQUIRED, "city must not be blank."),
        (" \u3000\t", Constraint.REQUIRED, "city must not be blank."),
        ("\u0308\u0308", Constraint.REQUIRED, "city must contain visible characters."),
        ("Lon\u00addon", Constraint.MALFORMED, "city contains invisible or control characters. Enter it without them."),
        ("\ufeffLondon", Constraint.MALFORMED, "city contains invisible or control characters. Enter it without them."),
        ("Lon\ndon", Constraint.MALFORMED, "city contains invisible or control characters. Enter it without them."),
        ("x" * 21, Constraint.TOO_LONG, "city must have at most 20 characters."),
    ],
)
def test_invalid_text_has_one_error(text: str, constraint: Constraint, message: str) -> None:
    validator = Validator()
    validator.text(("address", "city"), text, 20)
    [error] = validator.errors
    assert (error.path, error.rule, error.message) == (("address", "city"), constraint, message)


def test_length_is_counted_after_normalization() -> None:
    validator = Validator()
    assert validator.text(("city",), "  e\u0301" + " " * 50 + "b ", 3) == "é b"
    assert validator.text(("city",), "\u674e", 3) == "\u674e"
    assert validator.errors == []


# ── URLs and countries ────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("https://example.com/my cover.jpg", "coverUrl must not contain spaces. In a URL, write a space as %20."),
        ("https://example.com/my\u00a0cover.jpg", "coverUrl must not contain spaces. In a URL, write a space as %20."),
        ("example.com", "coverUrl must be a URL that starts with http:// or https://."),
        ("", "coverUrl must not be blank."),
        ("https://\u200bexample.com", "coverUrl contains invisible or control characters. Enter it without them."),
    ],
)
def test_invalid_url_has_one_error(url: str, message: str) -> None:
    validator = Validator()
    validator.url(("coverUrl",), url)
    assert [error.message for error in validator.errors] == [message]


@pytest.mark.parametrize("code", ["XK", "xk", " gb ", "TW", "AQ", "IC", "PS"])
def test_countries_and_territories_are_accepted(code: str) -> None:
    validator = Validator()
    assert validator.country(("country",), code) == code.strip().upper()
    assert validator.errors == []


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        ("UK", "Instead of UK, use GB."),
        ("deu", "Instead of DEU, use DE."),
        ("TP", "Instead of TP, use TL."),
        ("CS", "Instead of CS, use RS or ME."),
        ("EL", "Instead of EL, use GR."),
        ("EU", ""),
        ("UN", ""),
        ("ZZ", ""),
        ("XA", ""),
        ("QO", ""),
        ("QU", ""),
        ("AA", ""),
        ("1", ""),
        ("001", ""),
        ("", ""),
        ("ÅL", ""),
        ("\uff27\uff22", ""),
    ],
)
def test_other_country_codes_are_rejected(code: str, hint: str) -> None:
    validator = Validator()
    validator.country(("country",), code)
    [error] = validator.errors
    assert error.rule is Constraint.MALFORMED
    assert error.message == f"The country must be a two-letter ISO 3166-1 code. {hint}".strip()
