"""`bookstore` as a process: every refusal is one line that says what to do, and every exit code tells."""

from pathlib import Path

import asyncpg
import pytest

from tests.commands import Bookstore, Ended, refused, run

COMMANDS = (
    ("migrate",), ("migrate", "--check"), ("demo",), ("import", "feed.csv"), ("serve", "--port", "0"),
    ("admin", "create", "ann@example.com"), ("admin", "revoke", "ann@example.com"),
)  # fmt: skip
UNREACHABLE = "postgresql://nobody:s3same@127.0.0.1:1/none"


@pytest.mark.parametrize(
    "command_line", [(), ("admin",), *(command[:2] if command[0] == "admin" else command[:1] for command in COMMANDS)]
)
async def test_help_is_everywhere(bookstore: Bookstore, command_line: tuple[str, ...]) -> None:
    ended = await bookstore(*command_line, "--help")

    assert (ended.code, ended.err) == (0, "")
    assert "Usage: " + " ".join(("bookstore", *command_line)) in ended.out


@pytest.mark.parametrize(
    ("command_line", "complaint"),
    [
        (("sell",), "No such command 'sell'"),
        (("serve", "--port", "65536"), "'--port'"),
        (("serve", "--workers", "0"), "'--workers'"),
        (("import", "nowhere.csv"), "'nowhere.csv' does not exist"),
        (("import", "."), "'.' is a directory"),
        (("admin", "create"), "Missing argument 'email'"),
    ],
)
async def test_a_command_that_makes_no_sense_is_refused_by_name(
    bookstore: Bookstore, command_line: tuple[str, ...], complaint: str
) -> None:
    ended = await bookstore(*command_line)

    assert (ended.code, ended.out) == (2, "")
    assert complaint in ended.err
    assert "--help' for help" in ended.err


@pytest.mark.parametrize("command_line", COMMANDS)
async def test_a_database_that_is_away_is_one_line(bookstore: Bookstore, command_line: tuple[str, ...]) -> None:
    line = await refused(bookstore(*command_line, DATABASE_URL=UNREACHABLE))

    assert line.startswith("The database cannot be reached: ")
    assert line.endswith("Check DATABASE_URL.")
    assert "s3same" not in line


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://nobody:s3same@localhost:port/none",
        "postgresql://nobody:s3same/more@localhost/none",
        "postgresql://nobody:[/]s3same@localhost/none",
        "mysql://nobody:s3same@localhost/none",
    ],
)
@pytest.mark.parametrize("command_line", [("migrate",), ("demo",)])
async def test_an_address_that_is_none_is_one_line_without_its_password(
    bookstore: Bookstore, url: str, command_line: tuple[str, ...]
) -> None:
    line = await refused(bookstore(*command_line, DATABASE_URL=url))

    assert "DATABASE_URL" in line
    assert "postgresql://" in line
    assert "s3same" not in line


async def test_two_databases_are_one_too_many(bookstore: Bookstore) -> None:
    assert await refused(bookstore("demo", "--data", "here")) == (
        "--data and DATABASE_URL name two databases: give one of them."
    )


@pytest.mark.parametrize("command_line", [("demo",), ("serve", "--port", "0"), ("migrate",)])
async def test_a_folder_that_cannot_hold_the_data(tmp_path: Path, command_line: tuple[str, ...]) -> None:
    (tmp_path / "a-file").touch()
    line = await refused(run(*command_line, "--data", "a-file/data", folder=tmp_path))

    assert line == f"{tmp_path}/a-file/data cannot hold the data: Not a directory. Name another folder with --data."


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "lacks the column isbn"),
        (b"PK\x03\x04", "lacks the column isbn"),
        (b"title,price\nEmma,5\n", "Its first line must name isbn, title, price."),
        (b"isbn,title,price\n9780141439587,\xff,5\n", "is not in UTF-8"),
        (b"isbn,title,price\n9780141439587," + b"x" * 200_000 + b",5\n", "is no CSV: field larger than"),
    ],
)
async def test_a_file_that_is_no_feed(
    bookstore: Bookstore, postgres: asyncpg.Connection, tmp_path: Path, content: bytes, complaint: str
) -> None:
    (tmp_path / "odd.csv").write_bytes(content)

    assert complaint in await refused(bookstore("import", "odd.csv"))
    assert await postgres.fetchval("SELECT count(*) FROM books") == 0


async def test_a_report_that_cannot_be_written_is_one_line(bookstore: Bookstore, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("isbn,title,price\nnone,Emma,5\n")
    ended = await bookstore("import", "bad.csv", "--report", "nowhere/report.csv")

    assert ended.code == 1
    assert ended.err.splitlines()[-1] == (
        "bookstore: nowhere/report.csv cannot list the rows left out: No such file or directory."
        " Name another file with --report."
    )


async def test_the_demo_is_loaded_once(bookstore: Bookstore, postgres: asyncpg.Connection) -> None:
    first = await bookstore("demo")
    before = [await postgres.fetch(f"SELECT * FROM {table}") for table in ("books", "stock_movements", "authors")]
    second = await bookstore("demo")

    assert first == Ended(0, f"{len(before[0])} books added.\n", "")
    assert len(before[0]) > 100
    assert second == Ended(0, "0 books added.\n", "")
    assert [await postgres.fetch(f"SELECT * FROM {t}") for t in ("books", "stock_movements", "authors")] == before


async def test_the_schema_is_printed_and_checked(bookstore: Bookstore, repository: Path, tmp_path: Path) -> None:
    printed = await bookstore("schema")
    missing = await refused(bookstore("schema", "--check"))
    (tmp_path / "schema.graphql").write_text(printed.out)
    equal = await bookstore("schema", "--check")
    (tmp_path / "schema.graphql").write_text(printed.out + "\ntype Late { id: ID! }\n")
    different = await refused(bookstore("schema", "--check"))

    assert (printed.code, printed.out) == (0, (repository / "schema.graphql").read_text())
    assert equal == Ended(0, "schema.graphql is up to date.\n", "")
    assert missing == different == "schema.graphql is not up to date. Write it anew with `just schema`."
