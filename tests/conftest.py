"""Shared fixtures: one PostgreSQL server, one migrated database and one application; every test starts with empty tables."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import hypothesis
import pytest
from sqlalchemy import make_url
from starlette.applications import Starlette

from domain.shop import Shop
from server.database.embedded import run_embedded_postgres
from server.database.migrations import migrate
from server.http import health
from server.settings import Environment, Settings
from tests.support.database.databases import empty_tables, temporary_database
from tests.support.http.apps import running_app
from tests.support.http.client import ApiClient
from tests.support.observability.log_secrets import pytest_runtest_makereport as pytest_runtest_makereport
from tests.support.observability.log_secrets import pytest_runtest_setup as pytest_runtest_setup

hypothesis.settings.register_profile("ci", derandomize=True)  # CI runs are reproducible
if os.environ.get("CI"):
    hypothesis.settings.load_profile("ci")

SECRET_KEY = "5f8e1c3a-tests-sign-with-this-9b7d2f60"


@pytest.fixture(autouse=True)
def uncached_readiness(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let `/ready` query the database each time; the test of the cache restores the default."""
    monkeypatch.setattr(health, "CACHE_TTL", 0)


@pytest.fixture(scope="session")
def server_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Yield TEST_DATABASE_URL, or the URL of an embedded server in a temporary directory."""
    configured_url = os.environ.get("TEST_DATABASE_URL")
    if configured_url:
        yield configured_url
    else:
        with run_embedded_postgres(tmp_path_factory.mktemp("server")) as url:
            asyncio.run(_disable_fsync(url))
            yield url


async def _disable_fsync(url: str) -> None:
    """Switch off durability, which makes creating and dropping databases many times faster."""
    connection = await asyncpg.connect(url)
    await connection.execute("ALTER SYSTEM SET fsync = off")
    await connection.execute("SELECT pg_reload_conf()")
    await connection.close()


@pytest.fixture(scope="session")
async def template_database(server_url: str) -> AsyncIterator[str]:
    """Yield the name of a migrated, empty database to create copies of."""
    async with temporary_database(server_url) as url:
        await asyncio.to_thread(migrate, url)  # alembic's env runs its own event loop
        yield str(make_url(url).database)


@pytest.fixture(scope="session")
async def database_url(server_url: str, template_database: str) -> AsyncIterator[str]:
    """Yield the URL of the migrated database of this run."""
    async with temporary_database(server_url, template_database) as url:
        yield url


@pytest.fixture(scope="session")
def settings(database_url: str, tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """Return development settings without sweeper and email worker, which tests run themselves."""
    return Settings(
        _env_file=None,
        environment=Environment.DEVELOPMENT,
        database_url=database_url,
        secret_key=[SECRET_KEY],
        sweep_every_seconds=3600,
        worker=False,
        rate_limit_burst=1_000_000_000,  # tests send more requests than any caller may
        log_level="debug",
    )


@pytest.fixture(scope="session")
async def app(settings: Settings) -> AsyncIterator[Starlette]:
    async with running_app(settings) as app:
        yield app


@pytest.fixture(scope="session")
async def open_shop(app: Starlette) -> Shop:
    shop: Shop = app.state.shop
    return shop


@pytest.fixture(scope="session")
async def postgres(database_url: str) -> AsyncIterator[asyncpg.Connection]:
    """Yield a connection on which tests read, lock and change tables."""
    connection = await asyncpg.connect(database_url)
    yield connection
    await connection.close()


@pytest.fixture
async def shop(open_shop: Shop, postgres: asyncpg.Connection) -> Shop:
    """Empty all tables and return the application's `Shop`."""
    await empty_tables(open_shop, postgres)
    return open_shop


@pytest.fixture
async def client(app: Starlette, shop: Shop) -> ApiClient:
    """Return an anonymous client."""
    return ApiClient(app)


@pytest.fixture(scope="session")
def repository() -> Path:
    return Path(__file__).parent.parent
