"""Dumps go wherever the shop goes, by each form of an address, and show none of its secrets on the way."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import psutil
import pytest
from sqlalchemy import make_url

from server.libpq import without_password
from server.settings import Settings
from tests.commands import PATIENCE, Bookstore, refused, started
from tests.databases import created
from tests.locks import holding, until_waiting
from tests.network import between

FILE = "shop.dump"
PASSWORD = "s3same"
FORMS = {
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
"""As the driver takes it, and as libpq has to be told to do the same."""


@pytest.mark.parametrize("address", FORMS)
def test_means_the_same_to_both(address: str) -> None:
    assert without_password(address) == (FORMS[address], PASSWORD)


@pytest.fixture
async def empty(server_url: str) -> AsyncIterator[str]:
    async with created(server_url) as url:
        yield url


def among_hosts(url: str) -> str:
    """As `.env.example` has it; the first of them is away."""
    there = make_url(url)
    hosts = f"host=127.0.0.1:1&host={there.host}:{there.port}"
    return f"postgresql://{there.username}:{PASSWORD}@/{there.database}?{hosts}&target_session_attrs=read-write"


async def test_with_several_hosts(bookstore: Bookstore, settings: Settings, empty: str, tmp_path: Path) -> None:
    async with between(str(settings.database_url)) as there, between(empty) as elsewhere:
        exported = await bookstore("export-database", FILE, DATABASE_URL=among_hosts(there.url))
        imported = await bookstore("import-database", FILE, DATABASE_URL=among_hosts(elsewhere.url))
        rehearsed = await bookstore("rehearse-restore", DATABASE_URL=among_hosts(there.url))

    assert (exported.code, imported.code, rehearsed.code) == (0, 0, 0), (exported, imported, rehearsed)
    assert (tmp_path / FILE).exists()
    assert "0 books" in imported.out


async def test_a_password_in_the_query_is_not_shown(server_url: str, migrated: str, tmp_path: Path) -> None:
    async with created(server_url, migrated) as url:
        there = make_url(url)
        asked = there.set(username=None, password=None).update_query_pairs(
            [("user", str(there.username)), ("password", PASSWORD)]
        )
        settings = {"DATABASE_URL": asked.render_as_string(hide_password=False)}
        postgres = await asyncpg.connect(url)
        async with started("export-database", FILE, folder=tmp_path, settings=settings) as process:
            async with holding(url, "LOCK TABLE books IN ACCESS EXCLUSIVE MODE"), asyncio.timeout(PATIENCE):
                await until_waiting(postgres, 1)
                [dumping] = psutil.Process(process.pid).children(recursive=True)
                shown, given = dumping.cmdline(), dumping.environ()
            code = await process.wait()
        await postgres.close()

    assert code == 0
    assert PASSWORD not in " ".join(shown)
    assert given["PGPASSWORD"] == PASSWORD


async def test_a_secret_that_would_be_shown_is_refused(bookstore: Bookstore, settings: Settings) -> None:
    address = make_url(str(settings.database_url)).update_query_pairs([("sslpassword", PASSWORD)])
    said = await refused(bookstore("export-database", FILE, DATABASE_URL=address.render_as_string(hide_password=False)))

    assert said == (
        "The address has sslpassword, which everybody on this machine could read meanwhile. Name one without it."
    )
