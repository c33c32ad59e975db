"""`bookstore serve`: opens with nothing set, tells the way, and leaves nothing running when it is stopped."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.commands import refused, run
from tests.postmasters import nothing_left, postmaster_of
from tests.shops import opened

TITLES = "{ books(first: 3) { totalCount nodes { title } } }"
EVERYTHING = "SELECT (SELECT count(*) FROM books) + (SELECT count(*) FROM users)"


@pytest.fixture(scope="module")
async def data(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """A data folder that the tests here share: making one takes seconds."""
    async with nothing_left(tmp_path_factory.mktemp("shop") / "data") as folder:
        yield folder


async def test_a_newcomer_has_a_shop_with_books_and_is_told_the_way(tmp_path: Path) -> None:
    async with nothing_left(tmp_path / ".bookstore") as data, opened(folder=tmp_path) as shop:
        async with shop.visitor.http() as http:
            health = await http.get("/health")
            page = await http.get("/graphql", headers={"accept": "text/html"})
        books = (await shop.visitor.ask(TITLES))["books"]
        ended = await shop.closes(signal.SIGINT)

        assert health.json() == {"status": "ok"}
        assert page.headers["content-type"].startswith("text/html")
        assert len(books["nodes"]) == 3
        assert f"{books['totalCount']} demo books loaded" in shop.welcome
        assert f"http://localhost:{shop.url.rpartition(':')[2]}/graphql" in shop.welcome
        assert "bookstore admin create you@example.com  (in" in shop.welcome
        assert (ended.code, ended.err) == (0, "")
        assert postmaster_of(data) is None


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
@pytest.mark.parametrize("kill", [signal.SIGTERM, signal.SIGINT])
async def test_stopped_by_a_signal_it_leaves_no_postgres(
    data: Path, tmp_path: Path, kill: signal.Signals, options: tuple[str, ...]
) -> None:
    async with opened("--data", str(data), *options, folder=tmp_path) as shop:
        assert postmaster_of(data) is not None
        assert (await shop.visitor.ask(TITLES)).errors == []
        ended = await shop.closes(kill)

    assert ended.code in (0, 128 + kill)
    assert ended.err == ""
    assert postmaster_of(data) is None


async def test_other_commands_work_while_it_is_open(data: Path, tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("isbn,title,price\n9780141439587,A Book That Came Later,5\n")
    query = '{ books(search: "came later") { nodes { title } } }'
    async with opened("--data", str(data), folder=tmp_path) as shop:
        imported = await run("import", "feed.csv", "--data", str(data), folder=tmp_path)
        revoked = await refused(run("admin", "revoke", "ann@example.com", "--data", str(data), folder=tmp_path))
        found = (await shop.visitor.ask(query))["books"]["nodes"]

        assert f"bookstore admin create you@example.com --data {data}" in shop.welcome

    assert imported.code == 0
    assert revoked == "ann@example.com is no administrator."
    assert found == [{"title": "A Book That Came Later"}]


async def test_an_empty_catalogue_is_left_empty_when_told_so(tmp_path: Path) -> None:
    async with nothing_left(tmp_path / ".bookstore"), opened("--no-demo", folder=tmp_path) as shop:
        assert (await shop.visitor.ask(TITLES))["books"] == {"totalCount": 0, "nodes": []}
        assert "demo books" not in shop.welcome
        await shop.closes(signal.SIGINT)


async def test_a_database_of_ones_own_is_loaded_with_nothing(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    async with opened(folder=tmp_path, DATABASE_URL=str(settings.database_url)) as mine:
        assert (await mine.visitor.ask(TITLES))["books"]["totalCount"] == 0
        await mine.closes(signal.SIGINT)

    assert await postgres.fetchval(EVERYTHING) == 0
    assert not (tmp_path / ".bookstore" / "postgres").exists()


@pytest.mark.parametrize(
    ("options", "chosen", "shared"),
    [
        (("--workers", "2"), {}, 1),
        ((), {}, 0),
        (("--workers", "2"), {"RATE_LIMIT_STORAGE": "memory"}, 0),
        ((), {"RATE_LIMIT_STORAGE": "postgresql"}, 1),
    ],
)
async def test_several_processes_share_budgets_unless_told_otherwise(
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    tmp_path: Path,
    options: tuple[str, ...],
    chosen: dict[str, str],
    shared: int,
) -> None:
    url = str(settings.database_url)
    async with opened(*options, folder=tmp_path, DATABASE_URL=url, **chosen) as mine:
        assert (await mine.visitor.ask(TITLES)).errors == []
        await mine.closes(signal.SIGTERM)
    assert await postgres.fetchval("SELECT count(*) FROM rate_limits") == shared


async def test_an_address_that_is_taken_is_one_line(settings: Settings, tmp_path: Path) -> None:
    url = str(settings.database_url)
    async with opened(folder=tmp_path, DATABASE_URL=url) as shop:
        port = shop.url.rpartition(":")[2]
        line = await refused(run("serve", "--port", port, folder=tmp_path, DATABASE_URL=url))

    assert line.startswith(f"Cannot listen at 127.0.0.1:{port}: ")
    assert line.endswith("Choose others with --host and --port.")
