"""When PostgreSQL restarts under load, every confirmed change is kept and the server recovers."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from persistence.invariants import find_violations
from server.app import create_app
from server.database.embedded import run_embedded_postgres
from server.database.migrations import migrate
from server.settings import Settings
from tests.support.database.db_snapshots import list_stock_movements
from tests.support.database.embedded_postgres import find_postmaster
from tests.support.http.client import ApiClient
from tests.support.http.fault_app import GENRES_QUERY, INCREMENT_STOCK, get_status, post_graphql
from tests.support.shop.factories import add_admin, add_book, book_id

CALLERS = 8


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[str]:
    with run_embedded_postgres(tmp_path) as url:
        migrate(url)
        yield url


async def restart_postgres(folder: Path, stop_signal: signal.Signals) -> asyncio.subprocess.Process:
    """Stop the server and all of its processes, and start it with the same command."""
    postmaster = find_postmaster(folder)
    assert postmaster is not None
    command, directory, environment = postmaster.cmdline(), postmaster.cwd(), postmaster.environ()
    owner, processes = postmaster.uids().real, [postmaster, *postmaster.children()]
    postmaster.send_signal(stop_signal)
    await asyncio.to_thread(psutil.wait_procs, processes, 20)
    null = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, cwd=directory, env=environment, user=owner, stdin=null, stdout=null, stderr=null
    )


async def restock_repeatedly(admin: ApiClient, id_: str, outcomes: Counter[str]) -> None:
    while True:
        response = await admin.execute(INCREMENT_STOCK, id=id_)
        outcomes[response.codes[0] if response.errors else "done"] += 1
        await asyncio.sleep(0.01)


async def read_repeatedly(client: ApiClient, outcomes: Counter[int]) -> None:
    while True:
        outcomes[(await post_graphql(client, GENRES_QUERY)).status_code] += 1
        await asyncio.sleep(0.01)


async def wait_for_status(client: ApiClient, status: int) -> None:
    async with asyncio.timeout(60):
        while await get_status(client, "/ready") != status:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
async def test_database_restart_under_load(
    settings: Settings, own_server: str, tmp_path: Path, stop_signal: signal.Signals
) -> None:
    app = create_app(settings.model_copy(update={"database_url": own_server}))
    async with app.router.lifespan_context(app):
        visitor, shop = ApiClient(app), app.state.shop
        book, token = await add_book(shop, stock=0), (await add_admin(shop)).token
        changes, reads = Counter[str](), Counter[int]()
        admin = visitor.with_token(token)
        tasks = [asyncio.create_task(restock_repeatedly(admin, book_id(book), changes)) for _ in range(CALLERS)]
        tasks += [asyncio.create_task(read_repeatedly(visitor, reads)) for _ in range(CALLERS)]
        await asyncio.sleep(0.5)
        restart = asyncio.create_task(restart_postgres(tmp_path, stop_signal))
        await wait_for_status(visitor, 503)
        assert await get_status(visitor, "/health") == 200
        server = await restart
        await wait_for_status(visitor, 200)
        before = changes["done"]
        async with asyncio.timeout(60):
            while changes["done"] < before + CALLERS:
                await asyncio.sleep(0.02)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert set(changes) == {"done", "SERVICE_UNAVAILABLE"}
        assert set(reads) == {200, 503}

        postgres = await asyncpg.connect(own_server)
        deliveries = await list_stock_movements(postgres, book)
        # A COMMIT whose response was lost may have happened; a confirmed one must have.
        assert 0 <= len(deliveries) - changes["done"] <= changes["SERVICE_UNAVAILABLE"] + CALLERS
        assert set(deliveries) == {("DELIVERY", 1)}
        assert await find_violations(postgres) == []
        await postgres.close()
    server.send_signal(signal.SIGINT)
    await server.wait()
