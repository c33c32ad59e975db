"""Rows of a supplier's feed: which are taken, how they are read, and why the others are left out."""

import datetime as dt
from decimal import Decimal
from typing import Any

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import importing
from domain.importing import BATCH, OPTIONAL_COLUMNS, REQUIRED_COLUMNS, Feed, FeedBook, Rejection, Summary
from domain.shop import Shop
from tests.factories import add_book, add_genre
from tests.memory import movements_of, stock_is_explained
from tests.stockroom import shelved

HOBBIT = "9780261103283"
EMMA = "9780141439587"
LEAST = {"isbn": HOBBIT, "title": "The Hobbit", "price": "12.50"}


def read(**columns: str) -> FeedBook | Rejection:
    return Feed().read(2, LEAST | columns)


def taken(**columns: str) -> FeedBook:
    row = read(**columns)
    assert isinstance(row, FeedBook), row
    return row


async def imported(shop: Shop, *rows: dict[str, str], set_stock: bool = False, dry_run: bool = False) -> Summary:
    feed, summary = Feed(), Summary()
    books = [feed.read(number, row) for number, row in enumerate(rows, start=2)]
    await importing.import_batch(shop, books, summary, set_stock=set_stock, dry_run=dry_run)
    return summary


def counts(summary: Summary) -> tuple[int, int, int, int]:
    return summary.added, summary.changed, summary.unchanged, len(summary.rejections)


# ── Rows that are left out ────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("columns", "reason"),
    [
        ({"isbn": ""}, "isbn is missing."),
        ({"isbn": "  "}, "isbn is missing."),
        ({"title": ""}, "title is missing."),
        ({"title": " \t\0 "}, "title is missing."),
        ({"price": ""}, "price is missing."),
        ({"isbn": "9780261103284"}, "no ISBN"),
        ({"isbn": "x" * 100_000}, "no ISBN"),
        ({"isbn": "978٠٢٦١١٠٣٢٨٣"}, "no ISBN"),
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
def test_a_row_that_makes_no_book_is_left_out_with_its_reason(columns: dict[str, str], reason: str) -> None:
    row = read(**columns)
    assert isinstance(row, Rejection)
    assert row.row == 2
    assert reason in row.reason
    assert len(row.reason) < 500


def test_all_that_is_wrong_with_a_row_is_told() -> None:
    row = Feed().read(7, {"isbn": "1", "title": "", "price": "x", "stock": "-1"})
    assert isinstance(row, Rejection)
    for word in ("ISBN", "title", "price", "stock"):
        assert word in row.reason


def test_a_row_with_nothing_in_it_is_left_out() -> None:
    assert isinstance(Feed().read(2, dict.fromkeys(REQUIRED_COLUMNS + OPTIONAL_COLUMNS, "")), Rejection)
    assert isinstance(Feed().read(2, {}), Rejection)


def test_of_several_rows_with_one_isbn_the_first_counts() -> None:
    feed = Feed()
    assert isinstance(feed.read(2, LEAST | {"price": "free"}), Rejection)
    assert isinstance(feed.read(3, LEAST), FeedBook)
    assert feed.read(4, LEAST | {"isbn": "0-261-10328-8"}) == Rejection(4, "Row 3 has this ISBN already.")
    assert isinstance(feed.read(5, LEAST | {"isbn": EMMA}), FeedBook)


@given(st.dictionaries(st.sampled_from(REQUIRED_COLUMNS + OPTIONAL_COLUMNS), st.text(max_size=40)))
def test_no_row_is_too_strange_to_be_judged(columns: dict[str, str]) -> None:
    assert isinstance(read(**columns), FeedBook | Rejection)


# ── Rows that are taken ───────────────────────────────────────────────────────────────────


def test_a_row_is_read_column_by_column() -> None:
    row = taken(
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
    assert (row.row, row.isbn, row.genre, row.stock) == (2, HOBBIT, "Children's fantasy", 7)
    assert row.details == {
        "title": "The Hobbit",
        "subtitle": "There and Back Again",
        "authors": ("J. R. R. Tolkien", "Alan Lee"),
        "price": Decimal("12.50"),
        "description": "In a hole\nin the  ground",
        "cover_url": "https://example.com/hobbit.jpg",
        "format": "BOX_SET",
        "publisher": "Allen & Unwin",
        "published_on": dt.date(1937, 9, 21),
        "page_count": 310,
        "language": "en-GB",
        "genre_id": None,  # the shelf is found when the book is
    }


def test_a_column_left_out_says_nothing_and_an_empty_one_clears() -> None:
    assert taken().details == {"title": "The Hobbit", "price": Decimal("12.50")}
    empty = taken(**dict.fromkeys(OPTIONAL_COLUMNS, " "))
    cleared: dict[str, Any] = {name: None for name in OPTIONAL_COLUMNS if name not in ("author", "stock")}
    cleared["genre_id"] = cleared.pop("genre")
    assert empty.details == {"title": "The Hobbit", "price": Decimal("12.50"), "authors": ()} | cleared
    assert (empty.genre, empty.stock) == (None, None)


@pytest.mark.parametrize("price", ["1e1", "10", "+10.0", "10.00"])
def test_prices_are_read_as_numbers(price: str) -> None:
    assert taken(price=price).details["price"] == 10


# ── Batches ───────────────────────────────────────────────────────────────────────────────


@given(st.lists(st.integers(), max_size=30), st.integers(1, 10))
def test_batches_leave_nothing_out(items: list[int], size: int) -> None:
    cut = list(importing.batches(items, size))
    assert [item for batch in cut for item in batch] == items
    assert all(len(batch) == size for batch in cut[:-1])
    assert all(cut)
    assert BATCH >= 1


async def test_an_import_adds_changes_and_leaves_alone(shop: Shop, postgres: asyncpg.Connection) -> None:
    hobbit = await add_book(shop, "Hobbit", isbn=HOBBIT, stock=3, price="1", authors=("J. R. R. Tolkien",))
    rows = (
        LEAST | {"author": "Alan Lee; j. r. r. tolkien", "genre": "Fantasy", "stock": "9"},
        {"isbn": EMMA, "title": "Emma", "price": "5", "author": "Jane Austen", "genre": "fantasy", "stock": "4"},
        {"isbn": "1", "title": "None", "price": "5", "author": "", "genre": "", "stock": "4"},
    )
    assert counts(await imported(shop, *rows)) == (1, 1, 0, 1)
    assert counts(await imported(shop, *rows)) == (0, 0, 2, 1)
    books = await postgres.fetch(
        """SELECT b.title, b.slug, b.price, b.stock_quantity, b.author_names, g.name
        FROM books b JOIN genres g ON g.id = genre_id ORDER BY b.title"""
    )
    assert [tuple(row) for row in books] == [
        ("Emma", "emma", 5, 4, "Jane Austen", "Fantasy"),
        ("The Hobbit", "hobbit", Decimal("12.50"), 3, "Alan Lee\nj. r. r. tolkien", "Fantasy"),
    ]
    written = await postgres.fetch(
        """SELECT a.name FROM book_authors JOIN authors a ON a.id = author_id WHERE book_id = $1 ORDER BY position""",
        hobbit.id,
    )
    assert [row["name"] for row in written] == ["Alan Lee", "J. R. R. Tolkien"]
    assert await stock_is_explained(postgres, shop)


ODD_NAMES = (
    "İhsan Oktay Anar",
    "i\u0307HSAN Oktay Anar",
    "Jane",
    "JANE",
    "ΌΜΗΡΟΣ",
    "Όμηροσ",
    "STRAẞE",
    "straße",
    "ǅungla",
    "Ⅻ",
    "𐐀𐐁",
    "ﬀoulkes",
    "Ｆ",
)


@pytest.mark.parametrize("authors", [*ODD_NAMES, ";".join(ODD_NAMES)])
async def test_authors_whose_letters_have_odd_cases(shop: Shop, postgres: asyncpg.Connection, authors: str) -> None:
    row = LEAST | {"author": authors, "genre": authors[:100]}
    assert counts(await imported(shop, row)) == (1, 0, 0, 0)
    assert counts(await imported(shop, row)) == (0, 0, 1, 0)
    assert await postgres.fetchval("SELECT count(*) FROM book_authors") >= 1


CELLS = st.text(max_size=12) | st.sampled_from(
    ["", " ", "12.5", "7", "0", "1937-09-21", "hardcover", "de", "A; b;a", *ODD_NAMES]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(OPTIONAL_COLUMNS), CELLS), max_size=4),
    titles=st.tuples(*[st.text(min_size=1, max_size=8)] * 4),
)
async def test_the_same_feed_changes_nothing_the_second_time(
    shop: Shop, postgres: asyncpg.Connection, rows: list[dict[str, str]], titles: tuple[str, ...]
) -> None:
    isbns = (HOBBIT, EMMA, "9780140449136", "9780261103573")
    feed = [
        {"isbn": isbn, "title": title, "price": "1", **row}
        for isbn, title, row in zip(isbns, titles, rows, strict=False)
    ]
    first = counts(await imported(shop, *feed, set_stock=True))
    before = await shelved(postgres)
    again = counts(await imported(shop, *feed, set_stock=True))
    assert again == (0, 0, len(feed) - first[3], first[3])
    assert await shelved(postgres) == before
    assert await stock_is_explained(postgres, shop)


async def test_a_dry_run_counts_and_changes_nothing(shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_book(shop, "Hobbit", isbn=HOBBIT, stock=3)
    before = await shelved(postgres)
    rows = (LEAST | {"author": "New"}, {"isbn": EMMA, "title": "Emma", "price": "5", "genre": "New", "stock": "4"})
    assert counts(await imported(shop, *rows, dry_run=True)) == (1, 1, 0, 0)
    assert await shelved(postgres) == before


async def test_the_stock_of_known_books_is_set_only_when_asked(shop: Shop, postgres: asyncpg.Connection) -> None:
    hobbit = await add_book(shop, "The Hobbit", isbn=HOBBIT, stock=3, price="12.50")
    assert counts(await imported(shop, LEAST | {"stock": "9"})) == (0, 0, 1, 0)
    assert counts(await imported(shop, LEAST | {"stock": ""}, set_stock=True)) == (0, 0, 1, 0)
    assert counts(await imported(shop, LEAST | {"stock": "9"}, set_stock=True)) == (0, 1, 0, 0)
    assert counts(await imported(shop, LEAST | {"stock": "9"}, set_stock=True)) == (0, 0, 1, 0)
    assert counts(await imported(shop, LEAST | {"stock": "0"}, set_stock=True)) == (0, 1, 0, 0)
    assert await movements_of(postgres, hobbit) == [("NEW_BOOK", 3), ("IMPORT", 6), ("IMPORT", -9)]


async def test_an_empty_genre_takes_a_book_off_its_shelf_only_where_the_feed_has_the_column(
    shop: Shop, postgres: asyncpg.Connection
) -> None:
    genre = await add_genre(shop, "Fantasy")
    await add_book(shop, "The Hobbit", isbn=HOBBIT, price="12.50", genre_id=genre.id)
    assert counts(await imported(shop, LEAST)) == (0, 0, 1, 0)
    assert counts(await imported(shop, LEAST | {"genre": ""})) == (0, 1, 0, 0)
    assert await postgres.fetchval("SELECT genre_id FROM books") is None
