"""Batches of a supplier's CSV file: which books they add, change and leave unchanged."""

from decimal import Decimal

import asyncpg
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from domain import book_import
from domain.book_import import BATCH_SIZE, OPTIONAL_COLUMNS, ImportSummary, RowParser
from domain.shop import Shop
from tests.support.database.db_snapshots import is_stock_consistent, list_stock_movements
from tests.support.shop.catalog_admin import take_catalog_snapshot
from tests.support.shop.factories import add_book, add_genre

HOBBIT = "9780261103283"
EMMA = "9780141439587"
MINIMAL_ROW = {"isbn": HOBBIT, "title": "The Hobbit", "price": "12.50"}


async def import_rows(
    shop: Shop, *rows: dict[str, str], set_stock: bool = False, dry_run: bool = False
) -> ImportSummary:
    parser, summary = RowParser(), ImportSummary()
    parsed_rows = [parser.parse(number, row) for number, row in enumerate(rows, start=2)]
    await book_import.import_batch(shop, parsed_rows, summary, set_stock=set_stock, dry_run=dry_run)
    return summary


def get_counts(summary: ImportSummary) -> tuple[int, int, int, int]:
    return summary.added, summary.changed, summary.unchanged, len(summary.rejected_rows)


@given(st.lists(st.integers(), max_size=30), st.integers(1, 10))
def test_batches_cover_all_rows(items: list[int], size: int) -> None:
    batches = list(book_import.batched(items, size))
    assert [item for batch in batches for item in batch] == items
    assert all(len(batch) == size for batch in batches[:-1])
    assert all(batches)
    assert BATCH_SIZE >= 1


async def test_import_adds_updates_and_skips_unchanged_books(shop: Shop, postgres: asyncpg.Connection) -> None:
    hobbit = await add_book(shop, "Hobbit", isbn=HOBBIT, stock=3, price="1", authors=("J. R. R. Tolkien",))
    rows = (
        MINIMAL_ROW | {"author": "Alan Lee; j. r. r. tolkien", "genre": "Fantasy", "stock": "9"},
        {"isbn": EMMA, "title": "Emma", "price": "5", "author": "Jane Austen", "genre": "fantasy", "stock": "4"},
        {"isbn": "1", "title": "None", "price": "5", "author": "", "genre": "", "stock": "4"},
    )
    assert get_counts(await import_rows(shop, *rows)) == (1, 1, 0, 1)
    assert get_counts(await import_rows(shop, *rows)) == (0, 0, 2, 1)
    books = await postgres.fetch(
        """SELECT b.title, b.slug, b.price, b.stock_quantity, b.author_names, g.name
        FROM books b JOIN genres g ON g.id = genre_id ORDER BY b.title"""
    )
    assert [tuple(row) for row in books] == [
        ("Emma", "emma", 5, 4, "Jane Austen", "Fantasy"),
        ("The Hobbit", "hobbit", Decimal("12.50"), 3, "Alan Lee\nj. r. r. tolkien", "Fantasy"),
    ]
    author_rows = await postgres.fetch(
        """SELECT a.name FROM book_authors JOIN authors a ON a.id = author_id WHERE book_id = $1 ORDER BY position""",
        hobbit.id,
    )
    assert [row["name"] for row in author_rows] == ["Alan Lee", "J. R. R. Tolkien"]
    assert await is_stock_consistent(postgres)


UNUSUAL_NAMES = (
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


@pytest.mark.parametrize("authors", [*UNUSUAL_NAMES, ";".join(UNUSUAL_NAMES)])
async def test_authors_with_unusual_case_mappings_are_not_duplicated(
    shop: Shop, postgres: asyncpg.Connection, authors: str
) -> None:
    row = MINIMAL_ROW | {"author": authors, "genre": authors[:100]}
    assert get_counts(await import_rows(shop, row)) == (1, 0, 0, 0)
    assert get_counts(await import_rows(shop, row)) == (0, 0, 1, 0)
    assert await postgres.fetchval("SELECT count(*) FROM book_authors") >= 1


CELLS = st.text(max_size=12) | st.sampled_from(
    ["", " ", "12.5", "7", "0", "1937-09-21", "hardcover", "de", "A; b;a", *UNUSUAL_NAMES]
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    rows=st.lists(st.dictionaries(st.sampled_from(OPTIONAL_COLUMNS), CELLS), max_size=4),
    titles=st.tuples(*[st.text(min_size=1, max_size=8)] * 4),
)
async def test_importing_the_same_file_twice_changes_nothing(
    shop: Shop, postgres: asyncpg.Connection, rows: list[dict[str, str]], titles: tuple[str, ...]
) -> None:
    isbns = (HOBBIT, EMMA, "9780140449136", "9780261103573")
    feed = [
        {"isbn": isbn, "title": title, "price": "1", **row}
        for isbn, title, row in zip(isbns, titles, rows, strict=False)
    ]
    first_counts = get_counts(await import_rows(shop, *feed, set_stock=True))
    before = await take_catalog_snapshot(postgres)
    second_counts = get_counts(await import_rows(shop, *feed, set_stock=True))
    assert second_counts == (0, 0, len(feed) - first_counts[3], first_counts[3])
    assert await take_catalog_snapshot(postgres) == before
    assert await is_stock_consistent(postgres)


async def test_dry_run_counts_without_writing(shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_book(shop, "Hobbit", isbn=HOBBIT, stock=3)
    before = await take_catalog_snapshot(postgres)
    rows = (
        MINIMAL_ROW | {"author": "New"},
        {"isbn": EMMA, "title": "Emma", "price": "5", "genre": "New", "stock": "4"},
    )
    assert get_counts(await import_rows(shop, *rows, dry_run=True)) == (1, 1, 0, 0)
    assert await take_catalog_snapshot(postgres) == before


async def test_stock_of_existing_books_is_set_only_on_request(shop: Shop, postgres: asyncpg.Connection) -> None:
    hobbit = await add_book(shop, "The Hobbit", isbn=HOBBIT, stock=3, price="12.50")
    assert get_counts(await import_rows(shop, MINIMAL_ROW | {"stock": "9"})) == (0, 0, 1, 0)
    assert get_counts(await import_rows(shop, MINIMAL_ROW | {"stock": ""}, set_stock=True)) == (0, 0, 1, 0)
    assert get_counts(await import_rows(shop, MINIMAL_ROW | {"stock": "9"}, set_stock=True)) == (0, 1, 0, 0)
    assert get_counts(await import_rows(shop, MINIMAL_ROW | {"stock": "9"}, set_stock=True)) == (0, 0, 1, 0)
    assert get_counts(await import_rows(shop, MINIMAL_ROW | {"stock": "0"}, set_stock=True)) == (0, 1, 0, 0)
    assert await list_stock_movements(postgres, hobbit) == [("NEW_BOOK", 3), ("IMPORT", 6), ("IMPORT", -9)]


async def test_empty_genre_cell_clears_genre_only_if_column_is_present(
    shop: Shop, postgres: asyncpg.Connection
) -> None:
    genre = await add_genre(shop, "Fantasy")
    await add_book(shop, "The Hobbit", isbn=HOBBIT, price="12.50", genre_id=genre.id)
    assert get_counts(await import_rows(shop, MINIMAL_ROW)) == (0, 0, 1, 0)
    assert get_counts(await import_rows(shop, MINIMAL_ROW | {"genre": ""})) == (0, 1, 0, 0)
    assert await postgres.fetchval("SELECT genre_id FROM books") is None


async def test_invalid_optional_value_keeps_the_one_that_is_stored(shop: Shop, postgres: asyncpg.Connection) -> None:
    genre = await add_genre(shop, "Fantasy")
    await add_book(shop, "The Hobbit", isbn=HOBBIT, price="12.50", genre_id=genre.id, page_count=310)
    before = await take_catalog_snapshot(postgres)
    summary = await import_rows(shop, MINIMAL_ROW | {"page_count": "many", "genre": "x" * 101})
    assert (get_counts(summary), len(summary.warnings)) == ((0, 0, 1, 0), 2)
    assert await take_catalog_snapshot(postgres) == before
