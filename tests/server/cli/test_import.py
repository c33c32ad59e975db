"""`bookstore import` as a process: its output, the rows it writes, and the state after a killed import."""

import asyncio
import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from stdnum.ean import calc_check_digit

from domain.book_import import OPTIONAL_COLUMNS, REQUIRED_COLUMNS
from domain.shop import Shop
from server.settings import Settings
from tests.support.database.db_snapshots import is_stock_consistent, list_stock_movements
from tests.support.database.locks import hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.processes.cli import CompletedCommand, run_in_process
from tests.support.processes.servers import BOOKSTORE
from tests.support.shop.catalog_admin import take_catalog_snapshot
from tests.support.shop.factories import add_book

HOBBIT = "9780261103283"
EMMA = "9780141439587"
SMALL_CSV = f"""isbn,title,author,genre,price,stock,cover_url
{HOBBIT},The Hobbit,J. R. R. Tolkien,Fantasy,12.50,7,
{EMMA},Emma,Jane Austen,Classics,free,4,
0-14-143951-3,Pride and Prejudice,Jane Austen,Classics,5,4,
{HOBBIT},The Hobbit again,,,1,1,
"""
INSERT_EXISTING_BOOK = (
    "INSERT INTO books (id, slug, title, isbn, price) VALUES (gen_random_uuid(), 'held', 'Held', $1, 1)"
)


@dataclass(frozen=True, slots=True)
class ImportResult(CompletedCommand):
    @property
    def counts(self) -> list[int]:
        """The counts of added, changed, unchanged and rejected rows in the printed table."""
        words = self.stdout.split()
        return [
            int(words[words.index(name) + 1].replace(",", "")) for name in ("added", "changed", "unchanged", "rejected")
        ]


@dataclass(frozen=True, slots=True)
class Importer:
    """Runs `bookstore import` in a separate folder."""

    folder: Path
    settings: Settings

    async def start(self, *arguments: str) -> asyncio.subprocess.Process:
        inherited = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LANG") if name in os.environ}
        environment = inherited | {
            "HOME": str(self.folder),
            "DATABASE_URL": str(self.settings.database_url),
            "ENVIRONMENT": "development",
            "SECRET_KEY": ",".join(self.settings.secret_key),
            "COLUMNS": "200",
        }
        pipe = asyncio.subprocess.PIPE
        return await asyncio.create_subprocess_exec(
            BOOKSTORE, "import", *arguments, cwd=self.folder, env=environment, stdout=pipe, stderr=pipe
        )

    async def run(self, content: str | bytes, *flags: str) -> ImportResult:
        encoded = content.encode() if isinstance(content, str) else content
        (self.folder / "feed.csv").write_bytes(encoded)
        environment = {
            "DATABASE_URL": str(self.settings.database_url),
            "SECRET_KEY": ",".join(self.settings.secret_key),
        }
        result = await run_in_process("import", "feed.csv", *flags, COLUMNS="200", **environment)
        return ImportResult(result.exit_code, result.stdout, result.stderr)

    def report(self, name: str = "feed-rejected.csv") -> list[list[str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as text:
            return list(csv.reader(text))


@pytest.fixture
def importer(shop: Shop, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Importer:
    monkeypatch.chdir(tmp_path)
    return Importer(tmp_path, settings)


def isbn(number: int) -> str:
    digits = f"978{number:09}"
    return digits + calc_check_digit(digits)


def build_csv(books: int) -> str:
    rows = [f"{isbn(n)},Book {n},Author {n % 50};Editor {n % 7},Genre {n % 9},{n + 1}.50,{n % 4}" for n in range(books)]
    return "\n".join(["isbn,title,author,genre,price,stock", *rows, ""])


# ── Invalid files ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "error_message"),
    [
        (b"", "feed.csv lacks the column isbn"),
        (b"isbn,title\n1,x\n", "feed.csv lacks the column price"),
        (SMALL_CSV.replace(",", ";").encode(), "feed.csv lacks the column isbn"),
        ((SMALL_CSV + f"{isbn(1)},Caf\u00e9,,,1,1,\n").encode("latin-1"), "feed.csv is not in UTF-8"),
        (SMALL_CSV.encode("utf-16"), "feed.csv is not in UTF-8"),
        ((SMALL_CSV + f"{isbn(1)}," + "x" * 200_000 + ",,,1,1,\n").encode(), "feed.csv is not a valid CSV file"),
    ],
    ids=["empty", "without price", "semicolons", "latin-1", "utf-16", "oversized cell"],
)  # fmt: skip
async def test_invalid_file_is_rejected_entirely(
    importer: Importer, postgres: asyncpg.Connection, content: bytes, error_message: str
) -> None:
    result = await importer.run(content)
    assert result.exit_code == 1
    assert error_message in result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    assert await take_catalog_snapshot(postgres) == [[], [], [], [], []]


async def test_missing_file_is_reported(importer: Importer) -> None:
    process = await importer.start("nowhere.csv")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert "nowhere.csv" in err.decode()


async def test_help_lists_every_column(importer: Importer) -> None:
    process = await importer.start("--help")
    out, _ = await process.communicate()
    assert set(REQUIRED_COLUMNS + OPTIONAL_COLUMNS) <= set(re.findall(r"\w+", out.decode()))


# ── Output and effects ────────────────────────────────────────────────────────────────


async def test_rejected_rows_are_reported_and_others_imported(
    importer: Importer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    result = await importer.run(SMALL_CSV)
    assert (result.exit_code, result.counts) == (0, [2, 0, 0, 2])
    assert "4/4 rows" in result.stderr
    assert importer.report() == [
        ["row", "reason"],
        ["3", "price must be a number such as 12.90. price is missing."],
        ["5", "Row 2 already has this ISBN."],
    ]
    assert "row 5: Row 2 already has this ISBN." in result.stdout
    assert "feed-rejected.csv" in result.stdout
    books = await postgres.fetch("SELECT isbn, title, price, stock_quantity, author_names FROM books ORDER BY title")
    assert [tuple(book) for book in books] == [
        ("9780141439518", "Pride and Prejudice", 5, 4, "Jane Austen"),
        (HOBBIT, "The Hobbit", 12.5, 7, "J. R. R. Tolkien"),
    ]
    assert await postgres.fetchval("SELECT count(*) FROM stock_movements WHERE reason = 'IMPORT'") == 2
    assert await is_stock_consistent(postgres)


async def test_second_run_changes_nothing(importer: Importer, postgres: asyncpg.Connection) -> None:
    assert (await importer.run(SMALL_CSV)).counts == [2, 0, 0, 2]
    before = await take_catalog_snapshot(postgres)
    assert (await importer.run(SMALL_CSV, "--set-stock", "--report", "other.csv")).counts == [0, 0, 2, 2]
    assert await take_catalog_snapshot(postgres) == before
    assert importer.report("other.csv") == importer.report()


async def test_dry_run_writes_nothing(importer: Importer, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_book(shop, "Hobbit", isbn=HOBBIT, stock=3)
    before = await take_catalog_snapshot(postgres)
    result = await importer.run(SMALL_CSV, "--dry-run", "--set-stock")
    assert (result.exit_code, result.counts) == (0, [1, 1, 0, 2])
    assert "What would change" in result.stdout
    assert await take_catalog_snapshot(postgres) == before


async def test_stock_of_existing_books_is_set_only_on_request(
    importer: Importer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    hobbit = await add_book(shop, "The Hobbit", isbn=HOBBIT, stock=3, price="12.50")
    feed = f"isbn,title,price,stock\n{HOBBIT},The Hobbit,12.50,7\n"
    assert (await importer.run(feed)).counts == [0, 0, 1, 0]
    assert (await importer.run(feed, "--set-stock")).counts == [0, 1, 0, 0]
    assert await list_stock_movements(postgres, hobbit) == [("NEW_BOOK", 3), ("IMPORT", 4)]
    assert await is_stock_consistent(postgres)


async def test_spreadsheet_csv_formats(importer: Importer, postgres: asyncpg.Connection) -> None:
    lines = [
        " ISBN ,Title,PRICE,author,description,shelf mark,",
        f'{HOBBIT},"The ""Hobbit"", or There",12.50,"Tolkien; Lee","one',
        'two",X1,',
        "",
        f"{EMMA},Emma,5",
        f"{isbn(1)},,1",
        ",,,,,,",
        f"{isbn(2)},Long,1,,,,,too,many,cells",
    ]
    result = await importer.run("\ufeff" + "\r\n".join(lines))
    assert (result.exit_code, result.counts) == (0, [3, 0, 0, 2])
    assert "shelf mark" in result.stderr
    books = await postgres.fetch("SELECT isbn, title, author_names, description FROM books ORDER BY title")
    assert [tuple(book) for book in books] == [
        (EMMA, "Emma", "", None),
        (isbn(2), "Long", "", None),
        (HOBBIT, 'The "Hobbit", or There', "Tolkien\nLee", "one\ntwo"),
    ]
    assert [row[0] for row in importer.report()] == ["row", "5", "6"]  # the row numbers of a spreadsheet


# ── Killed imports ────────────────────────────────────────────────────────────────────


async def kill_during_batch(
    importer: Importer, postgres: asyncpg.Connection, database_url: str, locked_isbn: str
) -> None:
    """Kill an import of `feed.csv` in the batch with the ISBN, whose row another connection has locked."""
    async with hold_lock(database_url, INSERT_EXISTING_BOOK, locked_isbn):
        process = await importer.start("feed.csv")
        try:
            blocked_pids = await wait_for_blocked(postgres, 1)
        finally:
            process.kill()
            await process.communicate()
    await wait_until_disconnected(postgres, blocked_pids)


async def test_rerun_completes_a_killed_import(
    importer: Importer, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    feed, count_books = build_csv(1200), "SELECT count(*) FROM books WHERE slug <> 'held'"
    (importer.folder / "feed.csv").write_text(feed)
    await kill_during_batch(importer, postgres, database_url, isbn(700))
    assert await postgres.fetchval(count_books) == 500
    assert await is_stock_consistent(postgres)
    books_without_authors: list[Any] = await postgres.fetch(
        "SELECT id FROM books WHERE slug <> 'held' AND NOT EXISTS (SELECT FROM book_authors WHERE book_id = books.id)"
    )
    assert books_without_authors == []

    assert (await importer.run(feed)).counts == [699, 1, 500, 0]
    assert (await importer.run(feed)).counts == [0, 0, 1200, 0]
    assert await postgres.fetchval("SELECT count(*) FROM books") == 1200
    assert await postgres.fetchval("SELECT count(*) FROM book_authors") == 2400
    assert await postgres.fetchval("SELECT sum(change) FROM stock_movements") == sum(n % 4 for n in range(1200))
    assert await is_stock_consistent(postgres)


async def test_killed_in_first_batch_leaves_nothing(
    importer: Importer, postgres: asyncpg.Connection, database_url: str
) -> None:
    (importer.folder / "feed.csv").write_text(build_csv(20))
    await kill_during_batch(importer, postgres, database_url, isbn(10))
    books, *other_tables = await take_catalog_snapshot(postgres)
    assert len(books) == 1
    assert other_tables == [[], [], [], []]
