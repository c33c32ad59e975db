"""The addresses of PostgreSQL, looked at before the shop opens: what is wrong with them is a line that says what to do."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from server import migrating
from server.addresses import ELSEWHERE, TAKES_NO_WRITES, problem_among
from server.migrating import NO_RIGHTS, NOT_UTF8
from server.settings import Settings
from tests.commands import Bookstore, refused
from tests.roles import address_of, guest

NOBODY = "postgresql://nobody:s3same@127.0.0.1:1/none"


async def problem(settings: Settings, **changes: object) -> str | None:
    return await problem_among(settings.model_copy(update=changes), posts=True)


async def test_one_address_for_everything_is_enough(settings: Settings) -> None:
    assert await problem(settings) is None


async def test_the_setting_that_is_wrong_is_named(settings: Settings) -> None:
    assert str(await problem(settings, database_url=NOBODY)).endswith("Check DATABASE_URL.")
    assert str(await problem(settings, database_direct_url=NOBODY)).endswith("Check DATABASE_DIRECT_URL.")
    both = await problem(settings, database_url=NOBODY, database_direct_url=settings.database_url)
    assert str(both).endswith("Check DATABASE_URL.")
    assert "s3same" not in str(both)


async def test_a_read_address_that_is_none_is_told_without_its_password(settings: Settings) -> None:
    told = str(await problem(settings, database_read_url="postgresql://nobody:s3same/more@localhost/none"))
    assert told.startswith("DATABASE_READ_URL is not like postgresql://")
    assert "s3same" not in told


async def test_a_postgresql_that_is_too_old(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(migrating, "OLDEST_POSTGRESQL", 1_000_000)
    assert await problem(settings) == "PostgreSQL must be 15 or later."


async def test_a_database_that_is_not_in_utf8(
    settings: Settings, server_url: str, postgres: asyncpg.Connection, bookstore: Bookstore
) -> None:
    name = f"{make_url(str(settings.database_url)).database}_latin"
    alike = "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc"
    await postgres.execute(f"CREATE DATABASE {name} {alike}")
    other = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    try:
        told = NOT_UTF8.format(name="DATABASE_URL", encoding="LATIN1")
        assert await refused(bookstore("migrate", DATABASE_URL=other)) == told
        assert await refused(bookstore("serve", "--port", "0", DATABASE_URL=other)) == told
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_a_database_that_takes_no_writes(
    settings: Settings, postgres: asyncpg.Connection, bookstore: Bookstore
) -> None:
    name = make_url(str(settings.database_url)).database
    await postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        assert await refused(bookstore("serve", "--port", "0")) == TAKES_NO_WRITES
    finally:
        await postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


async def test_a_role_that_lacks_rights(settings: Settings, postgres: asyncpg.Connection, bookstore: Bookstore) -> None:
    url = str(settings.database_url)
    async with guest(postgres, "SELECT") as reader, guest(postgres) as nobody:
        lacking = NO_RIGHTS.format(name="DATABASE_URL", table="pgqueuer")
        assert await refused(bookstore("serve", "--port", "0", DATABASE_URL=address_of(reader, url))) == lacking
        assert await problem(settings, database_read_url=address_of(reader, url)) is None
        lacking = NO_RIGHTS.format(name="DATABASE_READ_URL", table="alembic_version")
        assert await problem(settings, database_read_url=address_of(nobody, url)) == lacking
        lacking = NO_RIGHTS.format(name="DATABASE_URL", table="alembic_version")
        assert await refused(bookstore("migrate", DATABASE_URL=address_of(nobody, url))) == lacking


async def test_two_databases_for_one_shop(settings: Settings, server_url: str, postgres: asyncpg.Connection) -> None:
    """Another one of the same server, with the same tables."""
    name = f"{make_url(str(settings.database_url)).database}_other"
    await postgres.execute(f"CREATE DATABASE {name}")
    other = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    try:
        await asyncio.to_thread(migrating.migrate, other)
        reads, direct = (
            await problem(settings, database_read_url=other),
            await problem(settings, database_direct_url=other),
        )
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert reads == ELSEWHERE.format(name="DATABASE_READ_URL")
    assert direct == ELSEWHERE.format(name="DATABASE_DIRECT_URL")


async def test_a_folder_that_takes_no_letters(bookstore: Bookstore, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("in the way")
    line = await refused(bookstore("serve", "--port", "0", MAIL_FOLDER="mail"))
    assert line.startswith(f"{tmp_path}/mail takes no letters: ")
    assert line.endswith("Name another folder with MAIL_FOLDER, or a mail server with SMTP_URL.")
