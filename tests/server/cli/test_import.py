"""`bookstore import`: its output, the rows it writes, and the state after a killed import."""

import asyncio
import csv
import os
import re
import signal
from dataclasses import dataclass
from decimal import Decimal
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


def isbn(number: int) -> str:
    digits = f"978{number:09}"
    return digits + calc_check_digit(digits)


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


def build_csv(books: int) -> str:
    rows = [f"{isbn(n)},Book {n},Author {n % 50};Editor {n % 7},Genre {n % 9},{n + 1}.50,{n % 4}" for n in range(books)]
    return "\n".join(["isbn,title,author,genre,price,stock", *rows, ""])


# ── Invalid files ─────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "error_message"),
    [
        (b"", "feed.csv is empty"),
        (b"isbn,title\n1,x\n", "feed.csv lacks the column price"),
        (b"isbn|title|price\n1|x|5\n", "separated by commas, semicolons or tabs."),
        (b"isbn,title,price,title\n1,x,5,y\n", "feed.csv names the column title twice. Remove or rename one of them."),
        ("isbn,title,price,shelf mark,\ufeffＳhelf_Mark \n".encode(), "names the column \ufeffＳhelf_Mark twice"),
        ((SMALL_CSV + f"{isbn(1)},Caf\u00e9,,,1,1,\n").encode("latin-1"), "feed.csv line 6 is not in UTF-8"),
        ((SMALL_CSV + f"{isbn(1)}," + "x" * 2_000_000 + ",,,1,1,\n").encode(), "feed.csv line 6 begins a row with more"),
        ((SMALL_CSV + f'{isbn(1)},"Never closed,,,1,1,\n').encode(), "feed.csv line 6: a quotation mark opens a value"),
        (
            f'{SMALL_CSV}{isbn(1)},"Café, one,,,1,1,\n{isbn(2)},Two,,,1,1,\n{isbn(3)},Three",,,1,1,\n'.encode(),
            "feed.csv line 6: a quotation mark opens a value here that holds the next rows of the file.",
        ),
        (
            f'isbn,price,title\n{isbn(1)},5,"A\nB"\n{isbn(2)},5,"C\n"{isbn(3)}",5,"D\n'.encode(),
            "feed.csv line 4: a quotation mark opens a value here, and text follows its closing mark on line 5.",
        ),
    ],
    ids=[
        "empty", "without price", "pipes", "column twice", "column twice after normalization", "latin-1",
        "oversized row", "quote at the end", "quote that is closed by another", "quote before a quoted value",
    ],
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
    assert (result.exit_code, result.counts) == (3, [2, 0, 0, 2])
    assert "4/4 rows" in result.stderr
    assert importer.report() == [
        ["line", "severity", "column", "reason"],
        ["3", "rejected", "", "price must be a number such as 12.90."],
        ["5", "rejected", "", "Line 2 already has this ISBN."],
    ]
    assert "line 5: Line 2 already has this ISBN." in result.stdout
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
    assert (result.exit_code, result.counts) == (3, [1, 1, 0, 2])
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


async def test_all_rows_imported_is_exit_status_zero(importer: Importer, postgres: asyncpg.Connection) -> None:
    header = "isbn,title,price\n"
    assert ((await importer.run(header)).exit_code, (await importer.run(header + "\n \n")).exit_code) == (0, 0)
    assert (await importer.run(f"{header}{HOBBIT},The Hobbit,5\n")).exit_code == 0
    assert (await importer.run(f"{header}1,A,5\n2,B,5\n")).exit_code == 3
    assert await postgres.fetchval("SELECT count(*) FROM books") == 1
    assert len(importer.report()) == 3


async def test_rows_with_other_than_the_values_of_the_header_are_rejected(
    importer: Importer, postgres: asyncpg.Connection
) -> None:
    lines = [
        " ISBN ,Title,PRICE,author,description,shelf mark,",
        f'{HOBBIT},"The ""Hobbit"", or There",12.50,"Tolkien; Lee","one',
        'two",X1,',
        "",
        f"{EMMA},Emma,5",
        f"{isbn(1)},,1,,,,",
        ",,,,,,",
        f"{isbn(2)},Long,1,,,,,too,many,cells",
        f"{isbn(3)}",
    ]
    result = await importer.run("\ufeff" + "\r\n".join(lines))
    assert (result.exit_code, result.counts) == (3, [1, 0, 0, 5])
    assert result.stderr.count("shelf mark") == 1
    books = await postgres.fetch("SELECT isbn, title, author_names, description FROM books ORDER BY title")
    assert [tuple(book) for book in books] == [(HOBBIT, 'The "Hobbit", or There', "Tolkien\nLee", "one\ntwo")]
    assert [(line, reason) for line, _, _, reason in importer.report()[1:]] == [
        ("5", "The row has 3 values, the header has 7."),
        ("6", "Title is missing."),
        ("7", "ISBN is missing. Title is missing. PRICE is missing."),
        ("8", "The row has 10 values, the header has 7."),
        ("9", "The row has 1 value, the header has 7."),
    ]


@pytest.mark.parametrize(
    ("encoding", "separator", "line_end"),
    [("utf-8-sig", ";", "\r\n"), ("utf-16", "\t", "\r\n"), ("utf-16", ";", "\n"), ("utf-8", "\t", "\r")],
)
async def test_files_of_spreadsheets_are_imported(
    importer: Importer, postgres: asyncpg.Connection, encoding: str, separator: str, line_end: str
) -> None:
    price = "12,50" if separator == ";" else "12.50"
    lines = [
        ("isbn", "Title", "price", "Published On", "author"),
        (f'="{HOBBIT}"', "Größe", price, "1937", "Tolkien"),
        (f'"=""{EMMA}"""', '"Two' + line_end + 'lines"', "5", "1815-12", '"Austen; Ann"'),
        (f"'{isbn(1)}", "Nu\0l", "1", "", ""),
    ]
    content = line_end.join(separator.join(line) for line in lines) + line_end
    result = await importer.run(content.encode(encoding))
    assert (result.exit_code, result.counts) == (0, [3, 0, 0, 0])
    books = await postgres.fetch(
        "SELECT isbn, title, price, published_on::text, author_names FROM books ORDER BY title"
    )
    assert [tuple(book) for book in books] == [
        (HOBBIT, "Größe", Decimal("12.50"), "1937-01-01", "Tolkien"),
        (isbn(1), "Nu l", 1, None, ""),
        (EMMA, "Two lines", 5, "1815-12-01", "Austen\nAnn"),
    ]


async def test_decimal_comma_is_rejected_in_a_file_with_commas(
    importer: Importer, postgres: asyncpg.Connection
) -> None:
    result = await importer.run(f'isbn,title,price\n{HOBBIT},The Hobbit,"12,50"\n{EMMA},Emma,"1,299.00"\n')
    assert (result.exit_code, result.counts) == (3, [0, 0, 0, 2])
    assert await take_catalog_snapshot(postgres) == [[], [], [], [], []]


async def test_description_can_hold_lines_and_numbers(importer: Importer, postgres: asyncpg.Connection) -> None:
    description = f"First.\n{EMMA}, the paperback\n\n1, 2, 3\nTwo, three, four, five"
    result = await importer.run(f'isbn,title,description,price\n{HOBBIT},Hobbit,"{description}",5\n')
    assert (result.exit_code, result.counts) == (0, [1, 0, 0, 0])
    assert await postgres.fetchval("SELECT description FROM books") == description


async def test_invalid_optional_values_are_left_out_with_warnings(
    importer: Importer, postgres: asyncpg.Connection
) -> None:
    feed = (
        "isbn,title,price,language,format,published_on,page_count,cover_url\n"
        f"{HOBBIT},Hobbit,5,Elvish,Kindle Edition,21/09/1937,many,cover.jpg\n{EMMA},Emma,5,French,Hardback,1815,,\n"
    )
    result = await importer.run(feed)
    assert (result.exit_code, result.counts) == (0, [2, 0, 0, 0])
    columns = ["cover_url", "format", "language", "page_count", "published_on"]
    assert [line[:3] for line in importer.report()[1:]] == [["2", "warning", column] for column in columns]
    assert "line 2, without page_count: page_count must be a whole number." in result.stdout
    books = await postgres.fetch(
        "SELECT title, language, format, published_on::text, page_count, cover_url FROM books ORDER BY title"
    )
    assert [tuple(book) for book in books] == [
        ("Emma", "fr", "HARDCOVER", "1815-01-01", None, None),
        ("Hobbit", None, None, None, None, None),
    ]


# ── Exports, --map and --price ────────────────────────────────────────────────────────

GOODREADS = (
    "Book Id,Title,Author,Author l-f,Additional Authors,ISBN,ISBN13,My Rating,Publisher,Binding,Number of Pages,"
    "Year Published,Original Publication Year\n"
    '1,Good Omens,"King, Jr.","x","Ann Bee, Cy Dee","=""0261103288""","=""""",4,Ace,Mass Market Paperback,412,1990,1990\n'
    f'2,Emma,Jane Austen,"Austen, Jane",,"=""""","=""{EMMA}""",5,Penguin,Hardcover,,2003,1815\n'
    '3,Without,Ann,"x",,"=""""","=""""",5,,,,,\n'
)
LIBRARYTHING = (
    "Book Id\tTitle\tPrimary Author\tSecondary Author\tMedia\tDate\tLanguages\tPage Count\tISBN\n"
    "1\tThe Hobbit\tTolkien, J. R. R.\tLee, Alan\tPaperback\t1937\tEnglish\t310\t[0261103288]\n"
)
STORYGRAPH = (
    f'Title,Authors,Contributors,ISBN/UID,Format,Read Status\n"Emma","Jane Austen, Ann Bee",,{EMMA},paperback,read\n'
)


@pytest.mark.parametrize(
    ("content", "counts", "book"),
    [
        (GOODREADS, [2, 0, 0, 1], (HOBBIT, "King, Jr.\nAnn Bee\nCy Dee", "PAPERBACK", 412, "1990-01-01")),
        (LIBRARYTHING, [1, 0, 0, 0], (HOBBIT, "J. R. R. Tolkien\nAlan Lee", "PAPERBACK", 310, "1937-01-01")),
        (STORYGRAPH, [1, 0, 0, 0], (EMMA, "Jane Austen\nAnn Bee", "PAPERBACK", None, None)),
    ],
    ids=["Goodreads", "LibraryThing", "StoryGraph"],
)
async def test_exports_of_readers_sites_are_imported_with_a_price(
    importer: Importer, postgres: asyncpg.Connection, content: str, counts: list[int], book: tuple[Any, ...]
) -> None:
    refusal = await importer.run(content)
    assert (refusal.exit_code, await take_catalog_snapshot(postgres)) == (1, [[], [], [], [], []])
    assert "feed.csv lacks the column price" in refusal.stderr
    assert "--price" in refusal.stderr
    assert (await importer.run(content, "--price", "9.90")).counts == counts
    row = await postgres.fetchrow(
        "SELECT isbn, author_names, format, page_count, published_on::text, price FROM books ORDER BY isbn DESC LIMIT 1"
    )
    assert tuple(row or ()) == (*book, Decimal("9.90"))


async def test_columns_are_mapped(importer: Importer, postgres: asyncpg.Connection) -> None:
    feed = f"ISBN-Nummer;Titel;Preis;Seiten\n{HOBBIT};Der Hobbit;12,50;viele\n{EMMA};Emma;gratis;1\n"
    mapping = "isbn=isbn-nummer,title=Titel,price= Preis ,page_count=Seiten"
    result = await importer.run(feed, "--map", mapping)
    assert (result.exit_code, result.counts) == (3, [1, 0, 0, 1])
    assert [line[2:] for line in importer.report()[1:]] == [
        ["Seiten", "Seiten must be a whole number."],
        ["", "Preis must be a number such as 12.90."],
    ]
    assert await postgres.fetchval("SELECT title FROM books") == "Der Hobbit"


@pytest.mark.parametrize(
    ("flags", "exit_code", "error_message"),
    [
        (["--map", "title"], 2, "'title' is not of the form COLUMN=NAME."),
        (["--map", "name=Titel"], 2, "'name' is not a column of the import."),
        (["--map", "title=A,title=B"], 2, "'title' is named twice."),
        (["--map", "title=Titel"], 1, "feed.csv lacks the column Titel, which --map gives for title."),
        (["--price", "5"], 1, "feed.csv has a column with prices. Leave out --price."),
        (["--price", "0"], 2, "The price must be more than zero."),
        (["--price", "9,90"], 2, "it must be a number such as 12.90."),
        (["--price", " "], 2, "it is missing."),
        (["--report", "feed.csv"], 2, "it is the file to import."),
    ],
)
async def test_invalid_option_is_refused(
    importer: Importer, postgres: asyncpg.Connection, flags: list[str], exit_code: int, error_message: str
) -> None:
    result = await importer.run(SMALL_CSV, *flags)
    assert result.exit_code == exit_code
    assert error_message in result.stderr
    assert (importer.folder / "feed.csv").read_text() == SMALL_CSV
    assert await take_catalog_snapshot(postgres) == [[], [], [], [], []]


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


async def test_interrupted_import_says_how_many_rows_are_in(
    importer: Importer, postgres: asyncpg.Connection, database_url: str
) -> None:
    (importer.folder / "feed.csv").write_text(build_csv(600))
    async with hold_lock(database_url, INSERT_EXISTING_BOOK, isbn(550)):
        process = await importer.start("feed.csv")
        await wait_for_blocked(postgres, 1)
        process.send_signal(signal.SIGINT)
        _, stderr = await process.communicate()
    assert process.returncode == 130
    assert "Interrupted: 500 of 600 rows are imported. Run the command again" in stderr.decode()
    assert "Traceback" not in stderr.decode()
    assert await postgres.fetchval("SELECT count(*) FROM books WHERE slug <> 'held'") == 500


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
