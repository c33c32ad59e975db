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
        ({"price": "free"}, "price must be a number"),
        ({"price": "12,50"}, "price must be a number"),
        ({"price": "€12.50"}, "price must be a number"),
        ({"price": "1,299.00"}, "price must be a number"),
        ({"price": "1_000"}, "price must be a number"),
        ({"price": "1e1"}, "price must be a number"),
        ({"price": ".5"}, "price must be a number"),
        ({"price": "１２"}, "price must be a number"),
        ({"price": "NaN"}, "price must be a number"),
        ({"price": "sNaN"}, "price must be a number"),
        ({"price": "-Infinity"}, "price must be a number"),
        ({"price": "9" * 5000}, "price must be a number"),
        ({"price": "0"}, "more than zero"),
        ({"price": "0.00"}, "more than zero"),
        ({"price": "-1"}, "more than zero"),
        ({"price": "100000000"}, "at most 99,999,999.99"),
        ({"price": "9.999"}, "two decimals"),
        ({"stock": "-1"}, "stock must be at least 0."),
        ({"stock": "1000001"}, "stock must be at most 1,000,000."),
        ({"stock": "9" * 5000}, "stock must be a whole number."),
        ({"stock": "1.5"}, "stock must be a whole number."),
        ({"stock": "many"}, "stock must be a whole number."),
        ({"stock": "٣"}, "stock must be a whole number."),
    ],
)  # fmt: skip
def test_invalid_row_is_rejected_with_its_reason(cells: dict[str, str], reason: str) -> None:
    row = parse_row(**cells)
    assert isinstance(row, RejectedRow)
    assert row.line_number == 2
    assert reason in row.reason
    assert len(row.reason) < 500


@pytest.mark.parametrize("price", ["0", "free", "9.999", "-1"])
def test_invalid_price_is_not_reported_as_missing(price: str) -> None:
    row = parse_row(price=price)
    assert isinstance(row, RejectedRow)
    assert "missing" not in row.reason


@pytest.mark.parametrize(
    ("cells", "reason"),
    [
        ({"subtitle": "x" * 501}, "subtitle must have at most 500 characters."),
        ({"publisher": "x" * 201}, "publisher must have at most 200 characters."),
        ({"description": "x" * 20_001}, "description must have at most 20,000 characters."),
        ({"genre": "x" * 101}, "genre must have at most 100 characters."),
        ({"author": "Ann;" + "x" * 201}, "Author 2 must have at most 200 characters."),
        ({"author": ";".join(map(str, range(51)))}, "A book has at most 50 authors."),
        ({"page_count": "0"}, "page_count must be at least 1."),
        ({"page_count": "100001"}, "page_count must be at most 100,000."),
        ({"page_count": "x"}, "page_count must be a whole number."),
        ({"published_on": "21.9.1937"}, "published_on must be a date"),
        ({"published_on": "21/09/1937"}, "published_on must be a date"),
        ({"published_on": "1937-02-30"}, "published_on must be a date"),
        ({"published_on": "1937-13"}, "published_on must be a date"),
        ({"published_on": "0000"}, "published_on must be a date"),
        ({"published_on": "19370921"}, "published_on must be a date"),
        ({"published_on": "99999-01-01"}, "published_on must be a date"),
        ({"format": "scroll"}, "format must be one of HARDCOVER, PAPERBACK, BOX_SET, AUDIOBOOK."),
        ({"format": "Kindle Edition"}, "format must be one of"),
        ({"cover_url": "javascript:alert(1)"}, "cover_url must be a URL"),
        ({"cover_url": "http://"}, "cover_url must be a URL"),
        ({"language": "elvish!"}, "BCP 47"),
        ({"language": "Multiple languages"}, "BCP 47"),
    ],
)  # fmt: skip
def test_invalid_optional_value_is_left_out_with_a_warning(cells: dict[str, str], reason: str) -> None:
    row = parse_valid_row(**cells)
    (column,) = cells
    (warning,) = row.warnings
    assert (warning.line_number, warning.column) == (2, column)
    assert reason in warning.reason
    assert len(warning.reason) < 500
    assert row.details == parse_valid_row().details
    assert row.genre is None


def test_invalid_optional_value_of_a_rejected_row_is_no_warning() -> None:
    row = parse_row(price="free", page_count="many")
    assert row == RejectedRow(2, "price must be a number such as 12.90. page_count must be a whole number.")


def test_messages_use_the_column_names_of_the_file() -> None:
    parser = RowParser(labels={"price": "Preis", "page_count": "Seiten", "title": "subtitle"})
    row = parser.parse(2, MINIMAL_ROW | {"page_count": "viele"})
    assert isinstance(row, ImportRow)
    assert [(warning.column, warning.reason) for warning in row.warnings] == [
        ("Seiten", "Seiten must be a whole number.")
    ]
    assert parser.parse(3, MINIMAL_ROW | {"price": " "}) == RejectedRow(3, "Preis is missing.")
    assert parser.parse(4, MINIMAL_ROW | {"title": " "}) == RejectedRow(4, "subtitle is missing.")


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
    assert parser.parse(4, MINIMAL_ROW | {"isbn": "0-261-10328-8"}) == RejectedRow(4, "Line 3 already has this ISBN.")
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
    assert (row.line_number, row.isbn, row.genre, row.stock) == (2, HOBBIT, "Children's fantasy", 7)
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


@pytest.mark.parametrize("price", ["10", "+10.0", " 10.00 ", "10.000"])
def test_prices_are_parsed_as_decimals(price: str) -> None:
    assert parse_valid_row(price=price).details["price"] == 10


@pytest.mark.parametrize("price", ["12,50", "12.50", "12,5", " +12,50 "])
def test_decimal_comma_is_parsed_where_the_file_can_have_one(price: str) -> None:
    row = RowParser(has_decimal_comma=True).parse(2, MINIMAL_ROW | {"price": price})
    assert isinstance(row, ImportRow)
    assert row.details["price"] == Decimal("12.50")


@pytest.mark.parametrize(
    "price", ["1.299,00", "1,299.00", "12,500", "12.500", "1.299", "1.299.000", "12,", ",5", "12,50 €"]
)
def test_ambiguous_price_is_rejected(price: str) -> None:
    assert isinstance(RowParser(has_decimal_comma=True).parse(2, MINIMAL_ROW | {"price": price}), RejectedRow)


@pytest.mark.parametrize(
    "cell", [f'="{HOBBIT}"', f'"{HOBBIT}"', f"'{HOBBIT}", f"={HOBBIT}", f' = "{HOBBIT}" ', '="0-261-10328-8"']
)
def test_isbn_is_parsed_without_the_notation_of_spreadsheets(cell: str) -> None:
    assert parse_valid_row(isbn=cell).isbn == HOBBIT


@pytest.mark.parametrize("cell", ['=""', '="', "'", "=", '="" '])
def test_isbn_without_digits_is_rejected(cell: str) -> None:
    assert isinstance(parse_row(isbn=cell), RejectedRow)


@pytest.mark.parametrize(
    ("column", "cell", "value"),
    [
        ("published_on", "1937", dt.date(1937, 1, 1)),
        ("published_on", "1937-09", dt.date(1937, 9, 1)),
        ("format", "Mass Market Paperback", "PAPERBACK"),
        ("format", "hardback", "HARDCOVER"),
        ("format", "Hard-cover", "HARDCOVER"),
        ("format", "Audio CD", "AUDIOBOOK"),
        ("language", "English", "en"),
        ("language", "brazilian  Portuguese", "pt-BR"),
        ("language", "ger", "de"),
        ("language", "Greek", "el"),
    ],
)
def test_common_spellings_are_parsed(column: str, cell: str, value: Any) -> None:
    row = parse_valid_row(**{column: cell})
    assert (row.details[column], row.warnings) == (value, ())
