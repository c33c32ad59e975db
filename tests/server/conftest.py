"""What the tests of the server share."""

from pathlib import Path

import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.commands import Bookstore, Ended, run


@pytest.fixture
def bookstore(shop: Shop, settings: Settings, tmp_path: Path) -> Bookstore:
    """Runs a command on the tests' database."""
    (tmp_path / "feed.csv").write_text("isbn,title,price\n")

    async def command(*arguments: str, typed: str = "", **more: str) -> Ended:
        given = {"DATABASE_URL": str(settings.database_url)} | more
        return await run(*arguments, folder=tmp_path, typed=typed, **given)

    return command
