"""`bookstore import` as a process: what it says, what it writes, and what being killed leaves behind."""

import asyncio
import csv
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from stdnum.ean import calc_check_digit

from domain.shop import Shop
from server.settings import Settings
from tests.factories import add_book
from tests.locks import holding, until_gone, until_waiting
from tests.memory import movements_of, stock_is_explained
from tests.processes import BOOKSTORE
from tests.stockroom import shelved

HOBBIT = "9780261103283"
EMMA = "9780141439587"
SMALL = f"""isbn,title,author,genre,price,stock,cover_url
{HOBBIT},The Hobbit,J. R. R. Tolkien,Fantasy,12.50,7,
{EMMA},Emma,Jane Austen,Classics,free,4,
0-14-143951-3,Pride and Prejudice,Jane Austen,Classics,5,4,
{HOBBIT},The Hobbit again,,,1,1,
"""
KNOWN = "INSERT INTO books (id, slug, title, isbn, price) VALUES (gen_random_uuid(), 'held', 'Held', $1, 1)"


@dataclass(frozen=True, slots=True)
class Ended:
    code: int | None
    out: str
    err: str

    @property
    def counts(self) -> list[int]:
        """Added, changed, unchanged and left out, from the table it prints."""
        words = self.out.replace("left out", "left").split()
        return [
            int(words[words.index(name) + 1].replace(",", "")) for name in ("added", "changed", "unchanged", "left")
        ]


@dataclass(frozen=True, slots=True)
class Importer:
    """An operator with a shell in a folder of their own."""

    folder: Path
    settings: Settings

    async def begins(self, *arguments: str) -> asyncio.subprocess.Process:
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

    async def imports(self, content: str | bytes, *flags: str) -> Ended:
        encoded = content.encode() if isinstance(content, str) else content
        (self.folder / "feed.csv").write_bytes(encoded)
        process = await self.begins("feed.csv", *flags)
        out, err = await process.communicate()
        return Ended(process.returncode, out.decode(), err.decode())

    def report(self, name: str = "feed-rejected.csv") -> list[list[str]]:
        with (self.folder / name).open(encoding="utf-8", newline="") as text:
            return list(csv.reader(text))


@pytest.fixture
def importer(shop: Shop, settings: Settings, tmp_path: Path) -> Importer:
    return Importer(tmp_path, settings)


def isbn(number: int) -> str:
    digits = f"978{number:09}"
    return digits + calc_check_digit(digits)


def feed_of(books: int) -> str:
    rows = [f"{isbn(n)},Book {n},Author {n % 50};Editor {n % 7},Genre {n % 9},{n + 1}.50,{n % 4}" for n in range(books)]
    return "\n".join(["isbn,title,author,genre,price,stock", *rows, ""])


# ── Refusals ──────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "feed.csv lacks the column isbn"),
        (b"isbn,title\n1,x\n", "feed.csv lacks the column price"),
        (SMALL.replace(",", ";").encode(), "feed.csv lacks the column isbn"),
        ((SMALL + f"{isbn(1)},Caf\u00e9,,,1,1,\n").encode("latin-1"), "feed.csv is not in UTF-8"),
        (SMALL.encode("utf-16"), "feed.csv is not in UTF-8"),
        ((SMALL + f"{isbn(1)}," + "x" * 200_000 + ",,,1,1,\n").encode(), "feed.csv is no CSV"),
    ],
    ids=["empty", "without a price", "semicolons", "latin-1", "utf-16", "an endless cell"],
)  # fmt: skip
async def test_a_file_that_is_no_feed_is_refused_as_a_whole(
    importer: Importer, postgres: asyncpg.Connection, content: bytes, complaint: str
) -> None:
    ended = await importer.imports(content)
    assert ended.code == 1
    assert complaint in ended.err
    assert "Traceback" not in ended.err + ended.out
    assert await shelved(postgres) == [[], [], [], [], []]


async def test_a_file_that_is_not_there(importer: Importer) -> None:
    process = await importer.begins("nowhere.csv")
    _, err = await process.communicate()
    assert process.returncode == 2
    assert "nowhere.csv" in err.decode()


# ── What it says and writes ───────────────────────────────────────────────────────────────


async def test_rows_left_out_are_reported_and_the_others_are_there(
    importer: Importer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    ended = await importer.imports(SMALL)
    assert (ended.code, ended.counts) == (0, [2, 0, 0, 2])
    assert "4/4 rows" in ended.err
    assert importer.report() == [
        ["row", "reason"],
        ["3", "price must be a number such as 12.90. price is missing."],
        ["5", "Row 2 has this ISBN already."],
    ]
    assert "row 5: Row 2 has this ISBN already." in ended.out
    assert "feed-rejected.csv" in ended.out
    books = await postgres.fetch("SELECT isbn, title, price, stock_quantity, author_names FROM books ORDER BY title")
    assert [tuple(book) for book in books] == [
        ("9780141439518", "Pride and Prejudice", 5, 4, "Jane Austen"),
        (HOBBIT, "The Hobbit", 12.5, 7, "J. R. R. Tolkien"),
    ]
    assert await postgres.fetchval("SELECT count(*) FROM stock_movements WHERE reason = 'IMPORT'") == 2
    assert await stock_is_explained(postgres, shop)


async def test_the_second_run_changes_nothing(importer: Importer, postgres: asyncpg.Connection) -> None:
    assert (await importer.imports(SMALL)).counts == [2, 0, 0, 2]
    before = await shelved(postgres)
    assert (await importer.imports(SMALL, "--set-stock", "--report", "other.csv")).counts == [0, 0, 2, 2]
    assert await shelved(postgres) == before
    assert importer.report("other.csv") == importer.report()


async def test_a_dry_run_writes_nothing(importer: Importer, shop: Shop, postgres: asyncpg.Connection) -> None:
    await add_book(shop, "Hobbit", isbn=HOBBIT, stock=3)
    before = await shelved(postgres)
    ended = await importer.imports(SMALL, "--dry-run", "--set-stock")
    assert (ended.code, ended.counts) == (0, [1, 1, 0, 2])
    assert "What would change" in ended.out
    assert await shelved(postgres) == before


async def test_the_stock_of_known_books_is_set_only_when_asked(
    importer: Importer, shop: Shop, postgres: asyncpg.Connection
) -> None:
    hobbit = await add_book(shop, "The Hobbit", isbn=HOBBIT, stock=3, price="12.50")
    feed = f"isbn,title,price,stock\n{HOBBIT},The Hobbit,12.50,7\n"
    assert (await importer.imports(feed)).counts == [0, 0, 1, 0]
    assert (await importer.imports(feed, "--set-stock")).counts == [0, 1, 0, 0]
    assert await movements_of(postgres, hobbit) == [("NEW_BOOK", 3), ("IMPORT", 4)]
    assert await stock_is_explained(postgres, shop)


async def test_csv_as_spreadsheets_write_it(importer: Importer, postgres: asyncpg.Connection) -> None:
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
    ended = await importer.imports("\ufeff" + "\r\n".join(lines))
    assert (ended.code, ended.counts) == (0, [3, 0, 0, 2])
    assert "shelf mark" in ended.err
    books = await postgres.fetch("SELECT isbn, title, author_names, description FROM books ORDER BY title")
    assert [tuple(book) for book in books] == [
        (EMMA, "Emma", "", None),
        (isbn(2), "Long", "", None),
        (HOBBIT, 'The "Hobbit", or There', "Tolkien\nLee", "one\ntwo"),
    ]
    assert [row[0] for row in importer.report()] == ["row", "5", "6"]  # as a spreadsheet numbers them


# ── Killed half-way ───────────────────────────────────────────────────────────────────────


async def dies_while_it_writes(importer: Importer, postgres: asyncpg.Connection, database_url: str, held: str) -> None:
    """In the batch that adds the ISBN `held`, which a third connection is about to take."""
    async with holding(database_url, KNOWN, held):
        process = await importer.begins("feed.csv")
        writing = await until_waiting(postgres, 1)
        process.kill()
        await process.communicate()
    await until_gone(postgres, writing)


async def test_a_rerun_completes_what_was_killed(
    importer: Importer, shop: Shop, postgres: asyncpg.Connection, database_url: str
) -> None:
    feed, books = feed_of(1200), "SELECT count(*) FROM books WHERE slug <> 'held'"
    (importer.folder / "feed.csv").write_text(feed)
    await dies_while_it_writes(importer, postgres, database_url, isbn(700))
    assert await postgres.fetchval(books) == 500
    assert await stock_is_explained(postgres, shop)
    orphans: list[Any] = await postgres.fetch(
        "SELECT id FROM books WHERE slug <> 'held' AND NOT EXISTS (SELECT FROM book_authors WHERE book_id = books.id)"
    )
    assert orphans == []

    assert (await importer.imports(feed)).counts == [699, 1, 500, 0]
    assert (await importer.imports(feed)).counts == [0, 0, 1200, 0]
    assert await postgres.fetchval("SELECT count(*) FROM books") == 1200
    assert await postgres.fetchval("SELECT count(*) FROM book_authors") == 2400
    assert await postgres.fetchval("SELECT sum(change) FROM stock_movements") == sum(n % 4 for n in range(1200))
    assert await stock_is_explained(postgres, shop)


async def test_killed_in_the_first_batch_it_leaves_nothing(
    importer: Importer, postgres: asyncpg.Connection, database_url: str
) -> None:
    (importer.folder / "feed.csv").write_text(feed_of(20))
    await dies_while_it_writes(importer, postgres, database_url, isbn(10))
    books, *others = await shelved(postgres)
    assert len(books) == 1
    assert others == [[], [], [], []]
