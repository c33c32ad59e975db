"""The command `serve`: starts without settings, prints a welcome, and stops its processes."""

import signal
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.support.database.embedded_postgres import find_postmaster, kill_leftover_server
from tests.support.processes.cli import get_error_line, run_command
from tests.support.processes.served_shop import serve_shop

TITLES = "{ books(first: 3) { totalCount nodes { title } } }"
COUNT_ROWS = "SELECT (SELECT count(*) FROM books) + (SELECT count(*) FROM users)"


@pytest.fixture(scope="module")
async def data(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Path]:
    """Yield a data folder for all tests of this module, because creating one takes seconds."""
    async with kill_leftover_server(tmp_path_factory.mktemp("shop") / "data") as folder:
        yield folder


async def test_first_start_has_demo_books_and_instructions(tmp_path: Path) -> None:
    async with kill_leftover_server(tmp_path / ".bookstore") as data, serve_shop(directory=tmp_path) as shop:
        async with shop.client.http() as http:
            health = await http.get("/health")
            page = await http.get("/graphql", headers={"accept": "text/html"})
        books = (await shop.client.execute(TITLES))["books"]
        result = await shop.stop(signal.SIGINT)

        assert health.json() == {"status": "ok"}
        assert page.headers["content-type"].startswith("text/html")
        assert len(books["nodes"]) == 3
        assert f"{books['totalCount']} demo books loaded" in shop.startup_message
        assert f"http://localhost:{shop.url.rpartition(':')[2]}/graphql" in shop.startup_message
        assert "bookstore admin create you@example.com  (in" in shop.startup_message
        assert (result.exit_code, result.stderr) == (0, "")
        assert find_postmaster(data) is None


@pytest.mark.parametrize("options", [(), ("--workers", "2")])
@pytest.mark.parametrize("stop_signal", [signal.SIGTERM, signal.SIGINT])
async def test_stopping_stops_embedded_postgres(
    data: Path, tmp_path: Path, stop_signal: signal.Signals, options: tuple[str, ...]
) -> None:
    async with serve_shop("--data", str(data), *options, directory=tmp_path) as shop:
        assert find_postmaster(data) is not None
        assert (await shop.client.execute(TITLES)).errors == []
        result = await shop.stop(stop_signal)

    assert result.exit_code in (0, 128 + stop_signal)
    assert result.stderr == ""
    assert find_postmaster(data) is None


async def test_other_commands_work_while_serving(data: Path, tmp_path: Path) -> None:
    feed = tmp_path / "feed.csv"
    feed.write_text("isbn,title,price\n9780141439587,A Book That Came Later,5\n")
    query = '{ books(search: "came later") { nodes { title } } }'
    async with serve_shop("--data", str(data), directory=tmp_path) as shop:
        import_result = await run_command("import", "feed.csv", "--data", str(data), directory=tmp_path)
        error_line = await get_error_line(
            run_command("admin", "revoke", "ann@example.com", "--data", str(data), directory=tmp_path)
        )
        nodes = (await shop.client.execute(query))["books"]["nodes"]

        assert f"bookstore admin create you@example.com --data {data}" in shop.startup_message

    assert import_result.exit_code == 0
    assert error_line == "ann@example.com is not an administrator."
    assert nodes == [{"title": "A Book That Came Later"}]


async def test_demo_can_be_disabled(tmp_path: Path) -> None:
    async with kill_leftover_server(tmp_path / ".bookstore"), serve_shop("--no-demo", directory=tmp_path) as shop:
        assert (await shop.client.execute(TITLES))["books"] == {"totalCount": 0, "nodes": []}
        assert "demo books" not in shop.startup_message
        await shop.stop(signal.SIGINT)


async def test_external_database_gets_no_demo_books(
    shop: Shop, settings: Settings, postgres: asyncpg.Connection, tmp_path: Path
) -> None:
    async with serve_shop(directory=tmp_path, DATABASE_URL=str(settings.database_url)) as server:
        assert (await server.client.execute(TITLES))["books"]["totalCount"] == 0
        await server.stop(signal.SIGINT)

    assert await postgres.fetchval(COUNT_ROWS) == 0
    assert not (tmp_path / ".bookstore" / "postgres").exists()


@pytest.mark.parametrize(
    ("options", "environment", "budget_count"),
    [
        (("--workers", "2"), {}, 1),
        ((), {}, 0),
        (("--workers", "2"), {"RATE_LIMIT_STORAGE": "memory"}, 0),
        ((), {"RATE_LIMIT_STORAGE": "postgresql"}, 1),
    ],
)
async def test_several_processes_share_budgets_by_default(
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    tmp_path: Path,
    options: tuple[str, ...],
    environment: dict[str, str],
    budget_count: int,
) -> None:
    url = str(settings.database_url)
    async with serve_shop(*options, directory=tmp_path, DATABASE_URL=url, **environment) as server:
        assert (await server.client.execute(TITLES)).errors == []
        await server.stop(signal.SIGTERM)
    assert await postgres.fetchval("SELECT count(*) FROM rate_limits") == budget_count


async def test_address_in_use_is_one_line(settings: Settings, tmp_path: Path) -> None:
    url = str(settings.database_url)
    async with serve_shop(directory=tmp_path, DATABASE_URL=url) as shop:
        port = shop.url.rpartition(":")[2]
        line = await get_error_line(run_command("serve", "--port", port, directory=tmp_path, DATABASE_URL=url))

    assert line.startswith(f"Cannot listen at 127.0.0.1:{port}: ")
    assert line.endswith("Choose others with --host and --port.")
