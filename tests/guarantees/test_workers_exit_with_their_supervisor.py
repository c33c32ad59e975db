"""Workers of a killed supervisor complete their requests, exit, and free the address."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.support.database.db_snapshots import list_stock_movements
from tests.support.database.embedded_postgres import find_postmaster, kill_leftover_server
from tests.support.database.locks import LOCK_BOOKS, hold_lock, wait_for_blocked, wait_until_disconnected
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, LOCK_GENRES, post_graphql
from tests.support.observability.prometheus import sum_series, wait_for_metrics
from tests.support.processes.cli import CompletedCommand, run_command
from tests.support.processes.ports import find_free_port
from tests.support.processes.served_shop import serve_shop
from tests.support.processes.servers import kill_processes, start_server, wait_until_ended, wait_until_refusing
from tests.support.shop.factories import add_admin, add_book, book_id


@asynccontextmanager
async def assert_processes_exit(processes: list[psutil.Process]) -> AsyncIterator[None]:
    """Assert after the block that the processes end by themselves; kill those that do not."""
    try:
        yield
        await wait_until_ended(processes)
    finally:
        kill_processes(processes)


@pytest.mark.usefixtures("check_invariants")
@pytest.mark.parametrize(
    ("options", "process_count"), [(("--workers", "2"), 2), (("--reload",), 1)], ids=["workers", "reload"]
)
async def test_killed_server_completes_requests_and_accepts_none(
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
    options: tuple[str, ...],
    process_count: int,
) -> None:
    book, token = await add_book(shop, stock=1), (await add_admin(shop)).token
    counter_directory = tmp_path / "counters"
    counter_directory.mkdir()
    port = find_free_port()
    environment = {"METRICS_PORT": str(port), "TMPDIR": str(counter_directory)}
    async with (
        start_server(settings, tmp_path, *options, **environment) as server,
        assert_processes_exit(server.descendants),
    ):
        await wait_for_metrics(port, lambda metrics: sum_series(metrics, "processes") == process_count)
        async with AsyncExitStack() as locks:
            await locks.enter_async_context(hold_lock(database_url, LOCK_GENRES))
            await locks.enter_async_context(hold_lock(database_url, LOCK_BOOKS, [book.id]))
            requests = [asyncio.create_task(post_graphql(server.client, GENRES_QUERY)) for _ in range(5)]
            requests.append(
                asyncio.create_task(post_graphql(server.client.with_token(token), INCREMENT_STOCK, id=book_id(book)))
            )
            blocked_pids = await wait_for_blocked(postgres, 6)
            assert list(counter_directory.iterdir())
            server.process.kill()
            await server.process.wait()
            await wait_until_refusing(server.url)
            assert not any(task.done() for task in requests)
        responses = await asyncio.gather(*requests)
    assert [response.status_code for response in responses] == [200] * 6
    assert not any("errors" in response.json() for response in responses)
    assert await list_stock_movements(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    await wait_until_disconnected(postgres, blocked_pids)
    assert list(counter_directory.iterdir()) == []


async def test_embedded_database_is_reused_and_stopped_by_the_next_server(tmp_path: Path) -> None:
    command_line = ("--data", str(tmp_path / "data"))
    async with kill_leftover_server(tmp_path / "data") as data:
        async with serve_shop(*command_line, "--workers", "2", directory=tmp_path) as shop:
            descendants = psutil.Process(shop.process.pid).children(recursive=True)
            async with assert_processes_exit(descendants):
                books = (await shop.client.execute("{ books { totalCount } }"))["books"]
                shop.process.kill()
        assert find_postmaster(data) is not None

        async with serve_shop(*command_line, directory=tmp_path) as shop:
            assert (await shop.client.execute("{ books { totalCount } }"))["books"] == books
        assert await run_command("migrate", *command_line, directory=tmp_path) == CompletedCommand(
            0, "The database is up to date.\n", ""
        )
        assert find_postmaster(data) is None
