"""A restart or kill of PostgreSQL loses no acknowledged change."""

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

CALLER_COUNT = 8


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[str]:
    with run_embedded_postgres(tmp_path) as url:
        migrate(url)
        yield url


async def restart_postgres(folder: Path, stop_signal: signal.Signals) -> asyncio.subprocess.Process:
    """Stop or kill PostgreSQL with all its processes, and start it again with the same command."""
    postmaster = find_postmaster(folder)
    assert postmaster is not None
    command, working_directory, environment = postmaster.cmdline(), postmaster.cwd(), postmaster.environ()
    user_id, processes = postmaster.uids().real, [postmaster, *postmaster.children()]
    postmaster.send_signal(stop_signal)
    await asyncio.to_thread(psutil.wait_procs, processes, 20)
    devnull = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, cwd=working_directory, env=environment, user=user_id, stdin=devnull, stdout=devnull, stderr=devnull
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
        write_outcomes, read_outcomes = Counter[str](), Counter[int]()
        admin = client.with_token(token)
        tasks = [
            asyncio.create_task(restock_repeatedly(admin, book_id(book), write_outcomes)) for _ in range(CALLER_COUNT)
        ]
        tasks += [asyncio.create_task(read_repeatedly(client, read_outcomes)) for _ in range(CALLER_COUNT)]
        await asyncio.sleep(0.5)
        restart = asyncio.create_task(restart_postgres(tmp_path, stop_signal))
        await wait_for_status(client, 503)
        assert await get_status(client, "/health") == 200
        new_postmaster = await restart
        await wait_for_status(client, 200)
        done_before = write_outcomes["done"]
        await wait_until(lambda: write_outcomes["done"] >= done_before + CALLER_COUNT, 60)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert set(write_outcomes) == {"done", "SERVICE_UNAVAILABLE"}
        assert set(read_outcomes) == {200, 503}

        postgres = await asyncpg.connect(own_server)
        deliveries = await list_stock_movements(postgres, book)
        # Every acknowledged COMMIT took effect; a COMMIT without a response may have taken effect.
        assert 0 <= len(deliveries) - write_outcomes["done"] <= write_outcomes["SERVICE_UNAVAILABLE"] + CALLER_COUNT
        assert set(deliveries) == {("DELIVERY", 1)}
        assert await find_violations(postgres) == []
        await postgres.close()
    new_postmaster.send_signal(signal.SIGINT)
    await new_postmaster.wait()
