"""Dumps go wherever the shop goes: by each form of an address."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from sqlalchemy import make_url

from server.settings import Settings
from tests.commands import Bookstore
from tests.databases import created
from tests.network import between

FILE = "shop.dump"


@pytest.fixture
async def empty(server_url: str) -> AsyncIterator[str]:
    async with created(server_url) as url:
        yield url


def among_hosts(url: str) -> str:
    """As `.env.example` has it; the first of them is away."""
    there = make_url(url)
    hosts = f"host=127.0.0.1:1&host={there.host}:{there.port}"
    return f"postgresql://{there.username}:s3same@/{there.database}?{hosts}&target_session_attrs=read-write"


async def test_with_several_hosts(bookstore: Bookstore, settings: Settings, empty: str, tmp_path: Path) -> None:
    async with between(str(settings.database_url)) as there, between(empty) as elsewhere:
        exported = await bookstore("export-database", FILE, DATABASE_URL=among_hosts(there.url))
        imported = await bookstore("import-database", FILE, DATABASE_URL=among_hosts(elsewhere.url))
        rehearsed = await bookstore("rehearse-restore", DATABASE_URL=among_hosts(there.url))

    assert (exported.code, imported.code, rehearsed.code) == (0, 0, 0), (exported, imported, rehearsed)
    assert (tmp_path / FILE).exists()
    assert "0 books" in imported.out
