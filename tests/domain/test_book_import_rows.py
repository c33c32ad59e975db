"""Rows of a supplier's CSV file: how they are parsed, and why invalid rows are rejected."""

import datetime as dt
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.book_import import FIELD_COLUMNS, OPTIONAL_COLUMNS, REQUIRED_COLUMNS, ImportRow, RejectedRow, RowParser
from tests.support.shop.catalog_admin import SAMPLE_DETAILS

HOBBIT = "9780261103283"
EMMA = "9780141439587"
MINIMAL_ROW = {"isbn": HOBBIT, "title": "The Hobbit", "price": "12.50"}


def parse_row(**cells: str) -> ImportRow | RejectedRow:
    return RowParser().parse(2, MINIMAL_ROW | cells)


def parse_valid_row(**cells: str) -> ImportRow:
    row = parse_row(**cells)
    assert isinstance(row, ImportRow), row
    return row


# ── Rejected rows ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"isbn": ""}, "isbn is missing."),
        ({"isbn": "  "}, "isbn is missing."),
        ({"title": ""}, "title is missing."),
        ({"title": " \t\0 "}, "title is missing."),
        ({"price": ""}, "price is missing."),
        ({"isbn": "9780261103284"}, "is not a valid ISBN"),
        ({"isbn": "x" * 100_000}, "is not a valid ISBN"),
        ({"isbn": "978٠٢٦١١٠٣٢٨٣"}, "is not a valid ISBN"),
        ({"title": "x" * 501}, "title must have at most 500 characters."),
        ({"subtitle": "x" * 501}, "subtitle must have at most 500 characters."),
        ({"publisher": "x" * 201}, "publisher must have at most 200 characters."),
        ({"description": "x" * 20_001}, "description must have at most 20,000 characters."),
        ({"genre": "x" * 101}, "genre must have at most 100 characters."),
        ({"author": "x" * 201}, "must have at most 200 characters."),
        ({"author": ";".join(map(str, range(51)))}, "A book has at most 50 authors."),
        ({"price": "free"}, "price must be a number"),
        ({"price": "12,50"}, "price must be a number"),
        ({"price": "€12.50"}, "price must be a number"),
        ({"price": "NaN"}, "price must be a number"),
        ({"price": "sNaN"}, "price must be a number"),
        ({"price": "-Infinity"}, "price must be a number"),
        ({"price": "0"}, "more than zero"),
        ({"price": "0.00"}, "more than zero"),
        ({"price": "-1"}, "more than zero"),
        ({"price": "100000000"}, "at most 99,999,999.99"),
        ({"price": "1e999999"}, "at most 99,999,999.99"),
        ({"price": "1e-999999"}, "more than zero"),
        ({"price": "9" * 5000}, "at most 99,999,999.99"),
        ({"price": "9.999"}, "two decimals"),
        ({"stock": "-1"}, "stock must be at least 0."),
        ({"stock": "1000001"}, "stock must be at most 1,000,000."),
        ({"stock": "9" * 5000}, "stock must be a whole number."),
        ({"stock": "1.5"}, "stock must be a whole number."),
        ({"stock": "many"}, "stock must be a whole number."),
        ({"stock": "٣"}, "stock must be a whole number."),
        ({"page_count": "0"}, "pageCount must be at least 1."),
        ({"page_count": "100001"}, "pageCount must be at most 100,000."),
        ({"page_count": "x"}, "page_count must be a whole number."),
        ({"published_on": "21.9.1937"}, "published_on must be a date"),
        ({"published_on": "1937-02-30"}, "published_on must be a date"),
        ({"published_on": "99999-01-01"}, "published_on must be a date"),
        ({"format": "scroll"}, "format must be one of HARDCOVER, PAPERBACK, BOX_SET, AUDIOBOOK."),
        ({"cover_url": "javascript:alert(1)"}, "http"),
        ({"language": "elvish!"}, "BCP 47"),
    ],
)  # fmt: skip
def test_invalid_row_is_rejected_with_its_reason(cells: dict[str, str], reason: str) -> None:
    row = parse_row(**cells)
    assert isinstance(row, RejectedRow)
    assert row.row_number == 2
    assert reason in row.reason
    assert len(row.reason) < 500


def test_all_errors_of_a_row_are_reported() -> None:
    row = RowParser().parse(7, {"isbn": "1", "title": "", "price": "x", "stock": "-1"})
    assert isinstance(row, RejectedRow)
    for word in ("ISBN", "title", "price", "stock"):
        assert word in row.reason


def test_empty_row_is_skipped() -> None:
    assert isinstance(RowParser().parse(2, dict.fromkeys(REQUIRED_COLUMNS + OPTIONAL_COLUMNS, "")), RejectedRow)
    assert isinstance(RowParser().parse(2, {}), RejectedRow)


def test_first_row_wins_for_duplicate_isbn() -> None:
    parser = RowParser()
    assert isinstance(parser.parse(2, MINIMAL_ROW | {"price": "free"}), RejectedRow)
    assert isinstance(parser.parse(3, MINIMAL_ROW), ImportRow)
    assert parser.parse(4, MINIMAL_ROW | {"isbn": "0-261-10328-8"}) == RejectedRow(4, "Row 3 already has this ISBN.")
    assert isinstance(parser.parse(5, MINIMAL_ROW | {"isbn": EMMA}), ImportRow)


@given(st.dictionaries(st.sampled_from(REQUIRED_COLUMNS + OPTIONAL_COLUMNS), st.text(max_size=40)))
def test_arbitrary_rows_never_crash_the_parser(cells: dict[str, str]) -> None:
    assert isinstance(parse_row(**cells), ImportRow | RejectedRow)


# ── Valid rows ────────────────────────────────────────────────────────────────────────


def test_row_is_parsed_by_column() -> None:
    row = parse_valid_row(
        isbn=" 0-261-10328-8 ",
        title=" The\x00 Hobbit\n",
        author=" J. R. R.  Tolkien ;; Alan Lee;j. r. r. tolkien; ",
        genre=" Children's \x07fantasy ",
        price=" 12.5 ",
        stock=" 7 ",
        cover_url=" https://example.com/hobbit.jpg ",
        subtitle="There and\nBack Again",
        description=" In a hole\r\nin the \x1bground ",
        format=" box set ",
        publisher="Allen & Unwin",
        published_on=" 1937-09-21 ",
        page_count="310",
        language="en-gb",
    )
    assert (row.row_number, row.isbn, row.genre, row.stock) == (2, HOBBIT, "Children's fantasy", 7)
    assert row.details == {
        "title": "The Hobbit",
        "subtitle": "There and Back Again",
        "authors": ("J. R. R. Tolkien", "Alan Lee"),
        "price": Decimal("12.50"),
        "description": "In a hole\nin the ground",
        "cover_url": "https://example.com/hobbit.jpg",
        "format": "BOX_SET",
        "publisher": "Allen & Unwin",
        "published_on": dt.date(1937, 9, 21),
        "page_count": 310,
        "language": "en-GB",
        "genre_id": None,  # set when the batch is imported
    }


def test_every_column_sets_its_field() -> None:
    values = {column: SAMPLE_DETAILS[name] for column, (name, _) in FIELD_COLUMNS.items()}
    cells = {column: ";".join(value) if isinstance(value, tuple) else str(value) for column, value in values.items()}
    row = parse_valid_row(**cells)
    assert row.details | {"isbn": row.isbn} == SAMPLE_DETAILS


def test_missing_column_keeps_value_and_empty_cell_clears_it() -> None:
    assert parse_valid_row().details == {"title": "The Hobbit", "price": Decimal("12.50")}
    row = parse_valid_row(**dict.fromkeys(OPTIONAL_COLUMNS, " "))
    cleared_details: dict[str, Any] = {name: None for name in OPTIONAL_COLUMNS if name not in ("author", "stock")}
    cleared_details["genre_id"] = cleared_details.pop("genre")
    assert row.details == {"title": "The Hobbit", "price": Decimal("12.50"), "authors": ()} | cleared_details
    assert (row.genre, row.stock) == (None, None)


@pytest.mark.parametrize("price", ["1e1", "10", "+10.0", "10.00"])
def test_prices_are_parsed_as_decimals(price: str) -> None:
    assert parse_valid_row(price=price).details["price"] == 10
