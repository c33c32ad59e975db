"""After PostgreSQL restarts or is killed, every acknowledged change is still there."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from persistence.invariants import find_violations
from server.database.embedded import run_embedded_postgres
from server.database.migrations import migrate
from server.settings import Settings
from tests.support.database.db_snapshots import list_stock_movements
from tests.support.database.embedded_postgres import find_postmaster
from tests.support.http.apps import get_shop, running_client
from tests.support.http.client import ApiClient
from tests.support.http.probes import GENRES_QUERY, INCREMENT_STOCK, get_status, post_graphql
from tests.support.shop.factories import add_admin, add_book, book_id
from tests.support.waiting import wait_until

CALLERS = 8


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[str]:
    with run_embedded_postgres(tmp_path) as url:
        migrate(url)
        yield url


async def restart_postgres(folder: Path, stop_signal: signal.Signals) -> asyncio.subprocess.Process:
    """Stop or kill the server with its processes, and start it again in the same way."""
    postmaster = find_postmaster(folder)
    assert postmaster is not None
    command, working_directory, environment = postmaster.cmdline(), postmaster.cwd(), postmaster.environ()
    owner, processes = postmaster.uids().real, [postmaster, *postmaster.children()]
    postmaster.send_signal(stop_signal)
    await asyncio.to_thread(psutil.wait_procs, processes, 20)
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, cwd=working_directory, env=environment, user=owner, stdin=quiet, stdout=quiet, stderr=quiet
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
    async def has_status() -> bool:
        return await get_status(client, "/ready") == status

    await wait_until(has_status, 60)


@pytest.mark.parametrize("stop_signal", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
async def test_database_restart_under_load(
    settings: Settings, own_server: str, tmp_path: Path, stop_signal: signal.Signals
) -> None:
    async with running_client(settings, database_url=own_server) as client:
        shop = get_shop(client)
        book, token = await add_book(shop, stock=0), (await add_admin(shop)).token
        changes, reads = Counter[str](), Counter[int]()
        admin = client.with_token(token)
        crowd = [asyncio.create_task(restock_repeatedly(admin, book_id(book), changes)) for _ in range(CALLERS)]
        crowd += [asyncio.create_task(read_repeatedly(client, reads)) for _ in range(CALLERS)]
        await asyncio.sleep(0.5)
        restarting = asyncio.create_task(restart_postgres(tmp_path, stop_signal))
        await wait_for_status(client, 503)
        assert await get_status(client, "/health") == 200
        server = await restarting
        await wait_for_status(client, 200)
        before = changes["done"]
        await wait_until(lambda: changes["done"] >= before + CALLERS, 60)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        assert set(changes) == {"done", "SERVICE_UNAVAILABLE"}
        assert set(reads) == {200, 503}

        postgres = await asyncpg.connect(own_server)
        deliveries = await list_stock_movements(postgres, book)
        # Every acknowledged COMMIT has happened; one without a response may have.
        assert 0 <= len(deliveries) - changes["done"] <= changes["SERVICE_UNAVAILABLE"] + CALLERS
        assert set(deliveries) == {("DELIVERY", 1)}
        assert await find_violations(postgres) == []
        await postgres.close()
    server.send_signal(signal.SIGINT)
    await server.wait()
