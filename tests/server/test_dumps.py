"""What is exported can be read back, by whoever may make a database, and is sound; what is not is told."""

import asyncio
import uuid
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from domain.shop import Shop
from persistence.invariants import violated
from persistence.models import Table
from server.app import create_app
from server.dumps import dump, restore
from server.migrating import problem_with
from server.settings import Settings
from tests.client import Visitor
from tests.commands import Bookstore, Ended, refused, run
from tests.customers import add_customer
from tests.databases import created
from tests.factories import add_book

PASSWORD = "s3same:/open@"
FILE = "shop.dump"


@dataclass(frozen=True, slots=True)
class Exported:
    """A shop in which something has happened, and its file."""

    url: str
    file: Path
    said: Ended


@pytest.fixture(scope="module")
async def exported(
    server_url: str, migrated: str, settings: Settings, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Exported]:
    folder = tmp_path_factory.mktemp("exported")
    async with created(server_url, migrated) as url:
        app = create_app(settings.model_copy(update={"database_url": url}))
        async with app.router.lifespan_context(app):
            await sell(Visitor(app), app.state.shop)
        said = await run("export-database", FILE, folder=folder, DATABASE_URL=url)
        yield Exported(url, folder / FILE, said)


async def sell(visitor: Visitor, shop: Shop) -> None:
    book = await add_book(shop, "Émile, or On Education", authors=("Jean-Jacques Rousseau",), stock=5)
    for key in ("stands", "cancelled"):
        customer = await add_customer(visitor, shop, (book, 1))
        placed = await customer.buys(key)
        if key == "cancelled":
            await customer.cancels(placed["order"]["id"])


@pytest.fixture
async def empty(server_url: str) -> AsyncIterator[str]:
    """A database of somebody who may do nothing beside it."""
    name = f"bookstore_empty_{uuid.uuid4().hex[:12]}"
    connection = await asyncpg.connect(server_url)
    await connection.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{PASSWORD}'")
    await connection.execute(f"CREATE DATABASE {name} OWNER {name}")
    yield make_url(server_url).set(database=name, username=name, password=PASSWORD).render_as_string(False)
    await connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
    await connection.execute(f"DROP ROLE {name}")
    await connection.close()


async def everything(postgres: asyncpg.Connection) -> dict[str, list[asyncpg.Record]]:
    names = [*(table.name for table in Table.metadata.sorted_tables), "pgqueuer"]
    return {name: await postgres.fetch(f"SELECT * FROM {name} AS it ORDER BY it::text") for name in names}


async def test_all_of_it_comes_back(bookstore: Bookstore, exported: Exported, empty: str) -> None:
    imported = await bookstore("import-database", str(exported.file), DATABASE_URL=empty)

    assert (exported.said.code, imported.code) == (0, 0), (exported, imported)
    assert exported.file.stat().st_mode & 0o777 == 0o600
    assert "1 books, 2 users, 2 orders" in imported.out
    assert await problem_with(empty) is None
    here, there = await asyncpg.connect(exported.url), await asyncpg.connect(empty)
    try:
        assert await everything(there) == await everything(here)
        assert await there.fetchval("SELECT fold('Émile')") == "emile"
        assert await violated(there) == []
    finally:
        await there.close()
        await here.close()


async def test_the_rehearsal_tells_what_is_sound(bookstore: Bookstore, exported: Exported) -> None:
    sound = await bookstore("rehearse-restore", DATABASE_URL=exported.url)

    assert (sound.code, sound.err) == (0, "")
    assert "invariants hold" in sound.out


async def test_and_what_is_not(bookstore: Bookstore, exported: Exported, server_url: str, tmp_path: Path) -> None:
    async with created(server_url, str(make_url(exported.url).database)) as copy:
        connection = await asyncpg.connect(copy)
        await connection.execute("UPDATE books SET stock_quantity = stock_quantity + 1")
        await connection.close()
        await asyncio.to_thread(dump, copy, tmp_path / FILE)
    broken = await bookstore("rehearse-restore", FILE)

    assert broken.code == 1
    assert broken.err.strip() == (
        "bookstore: What was read back is not sound. It is not true that stock is the sum of its ledger."
    )


async def test_nothing_is_written_over(bookstore: Bookstore, exported: Exported) -> None:
    before, name = exported.file.read_bytes(), str(exported.file)

    assert await refused(bookstore("export-database", name)) == (
        f"{name} is there already. Name another file, or remove it."
    )
    assert await refused(bookstore("import-database", name)) == (
        "The database is not empty. Make a new one for what is to be imported."
    )
    assert exported.file.read_bytes() == before


async def test_what_is_no_dump_or_cut_short_leaves_the_database_empty(
    bookstore: Bookstore, exported: Exported, empty: str, tmp_path: Path
) -> None:
    whole = exported.file.read_bytes()
    (tmp_path / "half.dump").write_bytes(whole[: len(whole) // 2])

    told = await refused(bookstore("import-database", "feed.csv", DATABASE_URL=empty))
    assert told.startswith("pg_restore failed: input file does not appear to be a valid archive")
    assert "pg_restore failed: " in await refused(bookstore("import-database", "half.dump", DATABASE_URL=empty))
    await asyncio.to_thread(restore, exported.file, empty)  # which refuses one that is not


@pytest.mark.parametrize("command_line", [("export-database", FILE), ("import-database", "feed.csv")])
async def test_a_database_that_is_away_is_one_line(
    bookstore: Bookstore, tmp_path: Path, command_line: tuple[str, ...]
) -> None:
    line = await refused(bookstore(*command_line, DATABASE_URL="postgresql://nobody:s3same@127.0.0.1:1/none"))

    assert "Connection refused" in line or line == "The database cannot be reached. Check DATABASE_URL."
    assert "s3same" not in line
    assert not (tmp_path / FILE).exists()


async def test_a_folder_that_is_not_there_is_one_line(bookstore: Bookstore) -> None:
    told = await refused(bookstore("export-database", "nowhere/shop.dump"))
    assert told == "nowhere/shop.dump cannot be written: No such file or directory."
