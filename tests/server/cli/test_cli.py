"""The command `bookstore`: errors are one line, and exit codes are correct."""

from pathlib import Path

import asyncpg
import pytest

from tests.support.processes.cli import CompletedCommand, RunCommand, get_error_line, run_command

COMMANDS = (
    ("migrate",), ("migrate", "--check"), ("demo",), ("import", "feed.csv"), ("serve", "--port", "0"),
    ("admin", "create", "ann@example.com"), ("admin", "revoke", "ann@example.com"),
)  # fmt: skip
UNREACHABLE_URL = "postgresql://nobody:s3same@127.0.0.1:1/none"


@pytest.mark.parametrize(
    "command_line", [(), ("admin",), *(command[:2] if command[0] == "admin" else command[:1] for command in COMMANDS)]
)
async def test_every_command_has_help(bookstore_in_process: RunCommand, command_line: tuple[str, ...]) -> None:
    result = await bookstore_in_process(*command_line, "--help")

    assert (result.exit_code, result.stderr) == (0, "")
    assert "Usage: " + " ".join(("bookstore", *command_line)) in result.stdout


@pytest.mark.parametrize(
    ("command_line", "error_message"),
    [
        (("sell",), "No such command 'sell'"),
        (("serve", "--port", "65536"), "'--port'"),
        (("serve", "--workers", "0"), "'--workers'"),
        (("import", "nowhere.csv"), "'nowhere.csv' does not exist"),
        (("import", "."), "'.' is a directory"),
        (("admin", "create"), "Missing argument 'email'"),
    ],
)
async def test_unknown_command_is_rejected_by_name(
    bookstore_in_process: RunCommand, command_line: tuple[str, ...], error_message: str
) -> None:
    result = await bookstore_in_process(*command_line)

    assert (result.exit_code, result.stdout) == (2, "")
    assert error_message in result.stderr
    assert "--help' for help" in result.stderr


@pytest.mark.parametrize("command_line", COMMANDS)
async def test_unreachable_database_is_one_line(
    bookstore_in_process: RunCommand, command_line: tuple[str, ...]
) -> None:
    line = await get_error_line(bookstore_in_process(*command_line, DATABASE_URL=UNREACHABLE_URL))

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
async def test_invalid_url_is_one_line_without_its_password(
    bookstore_in_process: RunCommand, url: str, command_line: tuple[str, ...]
) -> None:
    line = await get_error_line(bookstore_in_process(*command_line, DATABASE_URL=url))

    assert "DATABASE_URL" in line
    assert "postgresql://" in line
    assert "s3same" not in line


async def test_url_and_data_directory_conflict(bookstore: RunCommand) -> None:
    assert await get_error_line(bookstore("demo", "--data", "here")) == (
        "--data and DATABASE_URL name two databases: use only one of them."
    )


@pytest.mark.parametrize("command_line", [("demo",), ("serve", "--port", "0"), ("migrate",)])
async def test_unusable_data_directory_is_rejected(tmp_path: Path, command_line: tuple[str, ...]) -> None:
    (tmp_path / "a-file").touch()
    line = await get_error_line(run_command(*command_line, "--data", "a-file/data", directory=tmp_path))

    assert (
        line == f"{tmp_path}/a-file/data cannot be used for the data: Not a directory. Name another folder with --data."
    )


@pytest.mark.parametrize(
    ("content", "error_message"),
    [
        (b"", "odd.csv is empty. Its first line must name the columns."),
        (b"PK\x03\x04", "odd.csv is a spreadsheet or a zip file. Open it, and save its table as CSV UTF-8."),
        (b"title,price\nEmma,5\n", "Its first line must name isbn, title, price, separated by"),
        (b"isbn,title,price\n9780141439587,\xff,5\n", "odd.csv line 2 is not in UTF-8; it looks like Windows-1252."),
        (
            b"isbn,title,price\n9780141439587," + b"x" * 2_000_000 + b",5\n",
            "line 2 begins a row with more than 1,000,000",
        ),
    ],
)
async def test_file_without_required_columns_is_rejected(
    bookstore_in_process: RunCommand, postgres: asyncpg.Connection, tmp_path: Path, content: bytes, error_message: str
) -> None:
    (tmp_path / "odd.csv").write_bytes(content)

    assert error_message in await get_error_line(bookstore_in_process("import", "odd.csv"))
    assert await postgres.fetchval("SELECT count(*) FROM books") == 0


async def test_unwritable_report_is_one_line(bookstore: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "bad.csv").write_text("isbn,title,price\nnone,Emma,5\n")
    result = await bookstore("import", "bad.csv", "--report", "nowhere/report.csv")

    assert result.exit_code == 1
    assert result.stderr.splitlines()[-1] == (
        "bookstore: nowhere/report.csv cannot be written: No such file or directory. Name another file with --report."
    )


async def test_the_demo_is_loaded_once(
    bookstore: RunCommand, bookstore_in_process: RunCommand, postgres: asyncpg.Connection
) -> None:
    first_result = await bookstore("demo")
    rows = [await postgres.fetch(f"SELECT * FROM {table}") for table in ("books", "stock_movements", "authors")]
    second_result = await bookstore_in_process("demo")

    assert first_result == CompletedCommand(0, f"{len(rows[0])} books added.\n", "")
    assert len(rows[0]) > 100
    assert second_result == CompletedCommand(0, "0 books added.\n", "")
    assert [await postgres.fetch(f"SELECT * FROM {table}") for table in ("books", "stock_movements", "authors")] == rows


async def test_schema_is_exported_and_checked(
    bookstore: RunCommand, bookstore_in_process: RunCommand, repository: Path, tmp_path: Path
) -> None:
    export = await bookstore("schema")
    missing_error = await get_error_line(bookstore_in_process("schema", "--check"))
    (tmp_path / "schema.graphql").write_text(export.stdout)
    check = await bookstore_in_process("schema", "--check")
    (tmp_path / "schema.graphql").write_text(export.stdout + "\ntype Late { id: ID! }\n")
    outdated_error = await get_error_line(bookstore_in_process("schema", "--check"))

    assert (export.exit_code, export.stdout) == (0, (repository / "schema.graphql").read_text())
    assert check == CompletedCommand(0, "schema.graphql is up to date.\n", "")
    assert missing_error == outdated_error == "schema.graphql is not up to date. Update it with `just schema`."
