"""Fixtures of the server's tests: commands on the test database, and fake OAuth providers."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from starlette.applications import Starlette

from domain.shop import Shop
from server.settings import Settings
from tests.support.auth.oauth_flow import app_with_providers
from tests.support.auth.oauth_providers import FakeGitHub, FakeOpenIDProvider, run_provider
from tests.support.http.browser import Browser, open_browser
from tests.support.processes.cli import CompletedCommand, RunCommand, run_command, run_in_process


@pytest.fixture(scope="module")
def providers() -> Iterator[tuple[FakeOpenIDProvider, FakeGitHub]]:
    google, github = FakeOpenIDProvider(), FakeGitHub()
    with run_provider(google), run_provider(github):
        yield google, github


@pytest.fixture
def google(providers: tuple[FakeOpenIDProvider, FakeGitHub]) -> FakeOpenIDProvider:
    providers[0].reset()
    return providers[0]


@pytest.fixture
def github(providers: tuple[FakeOpenIDProvider, FakeGitHub]) -> FakeGitHub:
    providers[1].reset()
    return providers[1]


@pytest.fixture(scope="module")
async def oauth_app(settings: Settings, providers: tuple[FakeOpenIDProvider, FakeGitHub]) -> AsyncIterator[Starlette]:
    async with app_with_providers(settings, providers[0].url, providers[1].url) as app:
        yield app


@pytest.fixture
async def browser(
    oauth_app: Starlette, google: FakeOpenIDProvider, github: FakeGitHub, shop: Shop
) -> AsyncIterator[Browser]:
    async with open_browser(oauth_app) as browser:
        yield browser


@pytest.fixture
def bookstore(shop: Shop, settings: Settings, tmp_path: Path) -> RunCommand:
    """Run a command on the test database."""
    (tmp_path / "feed.csv").write_text("isbn,title,price\n")

    async def command(*arguments: str, stdin_text: str = "", **overrides: str) -> CompletedCommand:
        environment = {"DATABASE_URL": str(settings.database_url)} | overrides
        return await run_command(*arguments, directory=tmp_path, stdin_text=stdin_text, **environment)

    return command


@pytest.fixture
def bookstore_in_process(shop: Shop, settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> RunCommand:
    """Run a command on the test database in this process, which saves the seconds that a process takes to start."""
    (tmp_path / "feed.csv").write_text("isbn,title,price\n")
    monkeypatch.chdir(tmp_path)

    async def command(*arguments: str, **overrides: str) -> CompletedCommand:
        return await run_in_process(*arguments, **{"DATABASE_URL": str(settings.database_url)} | overrides)

    return command
