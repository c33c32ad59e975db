"""Exported databases can be restored, also by a role without other privileges; violated invariants are reported."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from domain.shop import Shop
from persistence.invariants import find_violations
from persistence.tables import Base
from server.database.dumps import dump, restore
from server.database.preflight import check_database
from server.settings import Settings
from tests.support.database.databases import temporary_database
from tests.support.http.apps import get_shop, running_client
from tests.support.http.client import ApiClient
from tests.support.processes.cli import CompletedCommand, RunCommand, get_error_line, run_command
from tests.support.shop.customers import add_customer
from tests.support.shop.factories import add_book

PASSWORD = "s3same:/open@"
FILE = "shop.dump"


@dataclass(frozen=True, slots=True)
class ExportedDump:
    """The URL of a shop with data, its exported file, and the output of the export."""

    url: str
    file: Path
    output: CompletedCommand


@pytest.fixture(scope="module")
async def exported_dump(
    server_url: str, template_database: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[ExportedDump]:
    folder = tmp_path_factory.mktemp("exported")
    async with temporary_database(server_url, template_database) as url:
        async with running_client(settings, database_url=url) as client:
            await place_orders(client, get_shop(client))
        export = await run_command("export-database", FILE, directory=folder, DATABASE_URL=url)
        yield ExportedDump(url, folder / FILE, export)


async def place_orders(client: ApiClient, shop: Shop) -> None:
    book = await add_book(shop, "Émile, or On Education", authors=("Jean-Jacques Rousseau",), stock=5)
    for key in ("confirmed", "cancelled"):
        customer = await add_customer(client, shop, (book, 1))
        result = await customer.checkout(key)
        if key == "cancelled":
            await customer.cancel_order(result["order"]["id"])


@pytest.fixture
async def empty_database_url(server_url: str) -> AsyncIterator[str]:
    """Create a database whose owner has no other privileges."""
    name = f"bookstore_empty_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(server_url)
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    yield make_url(server_url).set(database=name, username=name, password=PASSWORD).render_as_string(False)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.execute(f"DROP ROLE {name}")
    await connection.close()


async def dump_all_tables(postgres: asyncpg.Connection) -> dict[str, list[asyncpg.Record]]:
    names = [*(table.name for table in Base.metadata.sorted_tables), "pgqueuer"]
    return {name: await postgres.fetch(f"SELECT * FROM {name} AS row_ ORDER BY row_::text") for name in names}


async def test_import_restores_everything(
    bookstore: RunCommand, exported_dump: ExportedDump, empty_database_url: str
) -> None:
    import_result = await bookstore("import-database", str(exported_dump.file), DATABASE_URL=empty_database_url)

    assert (exported_dump.output.exit_code, import_result.exit_code) == (0, 0), (exported_dump, import_result)
    assert exported_dump.file.stat().st_mode & 0o777 == 0o600
    assert "1 books, 2 users, 2 orders" in import_result.stdout
    assert await check_database(empty_database_url) is None
    source, target = await asyncpg.connect(exported_dump.url), await asyncpg.connect(empty_database_url)
    try:
        assert await dump_all_tables(target) == await dump_all_tables(source)
        assert await target.fetchval("SELECT fold('Émile')") == "emile"
        assert await find_violations(target) == []
    finally:
        await target.close()
        await source.close()


async def test_rehearse_restore_passes_without_violations(bookstore: RunCommand, exported_dump: ExportedDump) -> None:
    result = await bookstore("rehearse-restore", DATABASE_URL=exported_dump.url)

    assert (result.exit_code, result.stderr) == (0, "")
    assert "invariants hold" in result.stdout


async def test_rehearse_restore_reports_violations(
    bookstore: RunCommand, exported_dump: ExportedDump, server_url: str, tmp_path: Path
) -> None:
    async with temporary_database(server_url, str(make_url(exported_dump.url).database)) as copy_url:
        connection = await asyncpg.connect(copy_url)
        await connection.execute("UPDATE books SET stock_quantity = stock_quantity + 1")
        await connection.close()
        await asyncio.to_thread(dump, copy_url, tmp_path / FILE)
    failure = await bookstore("rehearse-restore", FILE)

    assert failure.exit_code == 1
    assert failure.stderr.strip() == (
        "bookstore: The imported data violates invariants. It is not true that stock is the sum of its ledger."
    )


async def test_existing_files_are_not_overwritten(bookstore: RunCommand, exported_dump: ExportedDump) -> None:
    before, name = exported_dump.file.read_bytes(), str(exported_dump.file)

    assert await get_error_line(bookstore("export-database", name)) == (
        f"{name} exists already. Name another file, or remove it."
    )
    assert await get_error_line(bookstore("import-database", name)) == (
        "The database is not empty. Create a new one for the import."
    )
    assert exported_dump.file.read_bytes() == before


async def test_invalid_or_truncated_dump_leaves_database_empty(
    bookstore: RunCommand, exported_dump: ExportedDump, empty_database_url: str, tmp_path: Path
) -> None:
    content = exported_dump.file.read_bytes()
    (tmp_path / "half.dump").write_bytes(content[: len(content) // 2])

    message = await get_error_line(bookstore("import-database", "feed.csv", DATABASE_URL=empty_database_url))
    assert message.startswith("pg_restore failed: input file does not appear to be a valid archive")
    assert "pg_restore failed: " in await get_error_line(
        bookstore("import-database", "half.dump", DATABASE_URL=empty_database_url)
    )
    await asyncio.to_thread(restore, exported_dump.file, empty_database_url)  # rejects a database that is not empty


@pytest.mark.parametrize("command_line", [("export-database", FILE), ("import-database", "feed.csv")])
async def test_unreachable_database_is_one_line(
    bookstore: RunCommand, tmp_path: Path, command_line: tuple[str, ...]
) -> None:
    line = await get_error_line(bookstore(*command_line, DATABASE_URL="postgresql://nobody:s3same@127.0.0.1:1/none"))

    assert "Connection refused" in line or line == "The database cannot be reached. Check DATABASE_URL."
    assert "s3same" not in line
    assert not (tmp_path / FILE).exists()


async def test_missing_directory_is_one_line(bookstore: RunCommand) -> None:
    message = await get_error_line(bookstore("export-database", "nowhere/shop.dump"))
    assert message == "nowhere/shop.dump cannot be written: No such file or directory."
