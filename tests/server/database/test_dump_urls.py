"""Dumps accept all forms of database URLs, and expose no secrets."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import make_url

from server.database.libpq import split_password
from server.settings import Settings
from tests.support.database.databases import temporary_database
from tests.support.database.fault_proxy import start_fault_proxy
from tests.support.database.locks import hold_lock, wait_for_blocked
from tests.support.processes.cli import COMMAND_TIMEOUT, RunCommand, get_error_line, start_command

FILE = "shop.dump"
PASSWORD = "s3same"
URL_FORMS = {
    "postgresql://shop:s3same@db1/books": "postgresql://shop@db1/books",
    "postgresql+asyncpg://shop:s3same@db1:1,db2:2/books": "postgresql://shop@db1:1,db2:2/books",
    "postgresql://shop:s3same@/books?host=db1:1&host=[::1]:2&sslmode=require": (
        "postgresql://shop@db1:1,[::1]:2/books?sslmode=require"
    ),
    "postgresql://db1?user=sh%2Fop&password=s3same&dbname=books": "postgresql://sh%2Fop@db1/books",
    "postgresql://shop:s3same@db1/books?user=x&password=x&host=x&port=1&database=x": "postgresql://shop@db1/books",
    "postgresql://shop:s3same@/books?host=/var/run/my%20postgresql&port=2": (
        "postgresql://shop@%2Fvar%2Frun%2Fmy%20postgresql/books?port=2"
    ),
}
"""URLs as asyncpg accepts them, and the equivalent for libpq."""


@pytest.mark.parametrize("url", URL_FORMS)
def test_url_is_equivalent_for_libpq_and_asyncpg(url: str) -> None:
    assert split_password(url) == (URL_FORMS[url], PASSWORD)


@pytest.fixture
async def empty_database_url(server_url: str) -> AsyncIterator[str]:
    async with temporary_database(server_url) as url:
        yield url


def build_multi_host_url(url: str) -> str:
    """Return a URL with two hosts, as in `.env.example`; the first host does not respond."""
    parsed_url = make_url(url)
    hosts = f"host=127.0.0.1:1&host={parsed_url.host}:{parsed_url.port}"
    return (
        f"postgresql://{parsed_url.username}:{PASSWORD}@/{parsed_url.database}?{hosts}&target_session_attrs=read-write"
    )


async def test_multi_host_url(
    bookstore: RunCommand, settings: Settings, empty_database_url: str, tmp_path: Path
) -> None:
    async with (
        start_fault_proxy(str(settings.database_url)) as source_proxy,
        start_fault_proxy(empty_database_url) as target_proxy,
    ):
        export = await bookstore("export-database", FILE, DATABASE_URL=build_multi_host_url(source_proxy.url))
        import_ = await bookstore("import-database", FILE, DATABASE_URL=build_multi_host_url(target_proxy.url))
        rehearsal = await bookstore("rehearse-restore", DATABASE_URL=build_multi_host_url(source_proxy.url))

    assert (export.exit_code, import_.exit_code, rehearsal.exit_code) == (0, 0, 0), (export, import_, rehearsal)
    assert (tmp_path / FILE).exists()
    assert "0 books" in import_.stdout


async def test_a_password_in_the_query_is_not_shown(server_url: str, template_database: str, tmp_path: Path) -> None:
    async with temporary_database(server_url, template_database) as url:
        parsed_url = make_url(url)
        url_with_query = parsed_url.set(username=None, password=None).update_query_pairs(
            [("user", str(parsed_url.username)), ("password", PASSWORD)]
        )
        settings = {"DATABASE_URL": url_with_query.render_as_string(hide_password=False)}
        postgres = await asyncpg.connect(url)
        async with start_command("export-database", FILE, directory=tmp_path, settings=settings) as process:
            async with hold_lock(url, "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"), asyncio.timeout(COMMAND_TIMEOUT):
                await wait_for_blocked(postgres, 1)
                [pg_dump] = psutil.Process(process.pid).children(recursive=True)
                command_line, environment = pg_dump.cmdline(), pg_dump.environ()
            exit_code = await process.wait()
        await postgres.close()

    assert exit_code == 0
    assert PASSWORD not in " ".join(command_line)
    assert environment["PGPASSWORD"] == PASSWORD


async def test_secret_visible_to_others_is_rejected(bookstore: RunCommand, settings: Settings) -> None:
    url = make_url(str(settings.database_url)).update_query_pairs([("sslpassword", PASSWORD)])
    message = await get_error_line(
        bookstore("export-database", FILE, DATABASE_URL=url.render_as_string(hide_password=False))
    )

    assert message == (
        "The database URL has the parameter sslpassword, which other users of this machine could read. Use a URL without it."
    )
