"""The check of the database URLs at startup: each error is one line that says what to do."""

import asyncio
from pathlib import Path

import asyncpg
import pytest
from sqlalchemy import make_url

from server.database import preflight
from server.database.migrations import migrate
from server.database.preflight import DIFFERENT_DATABASE, READ_ONLY_DATABASE, WRONG_ENCODING, check_database_urls
from server.messages import MISSING_PRIVILEGES
from server.settings import Settings
from tests.support.database.db_roles import get_role_url, temporary_role
from tests.support.processes.cli import RunCommand, get_error_line

UNREACHABLE_URL = "postgresql://nobody:s3same@127.0.0.1:1/none"


async def get_preflight_error(settings: Settings, **overrides: object) -> str | None:
    return await check_database_urls(settings.model_copy(update=overrides), sends_email=True)


async def test_one_url_is_enough(settings: Settings) -> None:
    assert await get_preflight_error(settings) is None


async def test_wrong_setting_is_named(settings: Settings) -> None:
    assert str(await get_preflight_error(settings, database_url=UNREACHABLE_URL)).endswith("Check DATABASE_URL.")
    assert str(await get_preflight_error(settings, database_direct_url=UNREACHABLE_URL)).endswith(
        "Check DATABASE_DIRECT_URL."
    )
    error_message = await get_preflight_error(
        settings, database_url=UNREACHABLE_URL, database_direct_url=settings.database_url
    )
    assert str(error_message).endswith("Check DATABASE_URL.")
    assert "s3same" not in str(error_message)


async def test_invalid_read_url_is_reported_without_its_password(settings: Settings) -> None:
    message = str(
        await get_preflight_error(settings, database_read_url="postgresql://nobody:s3same/more@localhost/none")
    )
    assert message.startswith("DATABASE_READ_URL must look like postgresql://")
    assert "s3same" not in message


async def test_outdated_postgresql_is_rejected(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "MIN_POSTGRESQL_VERSION", 1_000_000)
    assert await get_preflight_error(settings) == "PostgreSQL must be 15 or later."


async def test_non_utf8_database_is_rejected(
    settings: Settings, server_url: str, postgres: asyncpg.Connection, bookstore: RunCommand
) -> None:
    name = f"{make_url(str(settings.database_url)).database}_latin"
    options = "TEMPLATE template0 ENCODING 'LATIN1' LOCALE 'C' LOCALE_PROVIDER libc"
    await postgres.execute(f"CREATE DATABASE {name} {options}")
    other_url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    try:
        message = WRONG_ENCODING.format(setting="DATABASE_URL", encoding="LATIN1")
        assert await get_error_line(bookstore("migrate", DATABASE_URL=other_url)) == message
        assert await get_error_line(bookstore("serve", "--port", "0", DATABASE_URL=other_url)) == message
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


async def test_read_only_database_is_rejected(
    settings: Settings, postgres: asyncpg.Connection, bookstore: RunCommand
) -> None:
    name = make_url(str(settings.database_url)).database
    await postgres.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
    try:
        assert await get_error_line(bookstore("serve", "--port", "0")) == READ_ONLY_DATABASE
    finally:
        await postgres.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")


async def test_missing_privileges_are_reported(
    settings: Settings, postgres: asyncpg.Connection, bookstore: RunCommand
) -> None:
    url = str(settings.database_url)
    async with temporary_role(postgres, "SELECT") as read_only_role, temporary_role(postgres) as unprivileged_role:
        message = MISSING_PRIVILEGES.format(setting="DATABASE_URL", table="pgqueuer")
        assert (
            await get_error_line(bookstore("serve", "--port", "0", DATABASE_URL=get_role_url(read_only_role, url)))
            == message
        )
        assert await get_preflight_error(settings, database_read_url=get_role_url(read_only_role, url)) is None
        message = MISSING_PRIVILEGES.format(setting="DATABASE_READ_URL", table="alembic_version")
        assert await get_preflight_error(settings, database_read_url=get_role_url(unprivileged_role, url)) == message
        message = MISSING_PRIVILEGES.format(setting="DATABASE_URL", table="alembic_version")
        assert await get_error_line(bookstore("migrate", DATABASE_URL=get_role_url(unprivileged_role, url))) == message


async def test_urls_of_different_databases_are_rejected(
    settings: Settings, server_url: str, postgres: asyncpg.Connection
) -> None:
    """A second database of the same server with the same tables is a different database."""
    name = f"{make_url(str(settings.database_url)).database}_other"
    await postgres.execute(f"CREATE DATABASE {name}")
    other_url = make_url(server_url).set(database=name).render_as_string(hide_password=False)
    try:
        await asyncio.to_thread(migrate, other_url)
        read_url_error, direct_url_error = (
            await get_preflight_error(settings, database_read_url=other_url),
            await get_preflight_error(settings, database_direct_url=other_url),
        )
    finally:
        await postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")
    assert read_url_error == DIFFERENT_DATABASE.format(setting="DATABASE_READ_URL")
    assert direct_url_error == DIFFERENT_DATABASE.format(setting="DATABASE_DIRECT_URL")


async def test_unwritable_maildir_is_rejected(bookstore: RunCommand, tmp_path: Path) -> None:
    (tmp_path / "mail").write_text("not a folder")
    line = await get_error_line(bookstore("serve", "--port", "0", MAIL_FOLDER="mail"))
    assert line.startswith(f"{tmp_path}/mail is not writable: ")
    assert line.endswith("Name another folder with MAIL_FOLDER, or a mail server with SMTP_URL.")
