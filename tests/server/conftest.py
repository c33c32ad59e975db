"""What the tests of the server share: commands on their database, and providers to sign in at that lie, fail and hang."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.settings import Settings
from tests.arrivals import offering
from tests.browser import Browser, browsing
from tests.commands import Bookstore, Ended, invoked, run
from tests.oauth_providers import GitHub, OpenID, at_work


@pytest.fixture(scope="module")
def providers() -> Iterator[tuple[OpenID, GitHub]]:
    google, github = OpenID(), GitHub()
    with at_work(google), at_work(github):
        yield google, github


@pytest.fixture
def google(providers: tuple[OpenID, GitHub]) -> OpenID:
    providers[0].begin_anew()
    return providers[0]


@pytest.fixture
def github(providers: tuple[OpenID, GitHub]) -> GitHub:
    providers[1].begin_anew()
    return providers[1]


@pytest.fixture(scope="module")
async def offered(settings: Settings, providers: tuple[OpenID, GitHub]) -> AsyncIterator[Starlette]:
    async with offering(settings, providers[0].address, providers[1].address) as app:
        yield app


@pytest.fixture
async def browser(offered: Starlette, google: OpenID, github: GitHub, shop: Shop) -> AsyncIterator[Browser]:
    async with browsing(offered) as browser:
        yield browser


@pytest.fixture
def bookstore(shop: Shop, settings: Settings, tmp_path: Path) -> Bookstore:
    """Runs a command on the tests' database."""
    (tmp_path / "feed.csv").write_text("isbn,title,price\n")

    async def command(*arguments: str, typed: str = "", **more: str) -> Ended:
        given = {"DATABASE_URL": str(settings.database_url)} | more
        return await run(*arguments, folder=tmp_path, typed=typed, **given)

    return command


@pytest.fixture
def in_process(shop: Shop, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Bookstore:
    """The same without a process, which takes a second to start."""
    monkeypatch.chdir(tmp_path)

    async def command(*arguments: str, **more: str) -> Ended:
        return await invoked(*arguments, **{"DATABASE_URL": str(settings.database_url)} | more)

    return command
