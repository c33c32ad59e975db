"""PostgreSQL ends in the middle of everything and comes back: what was told is there, and the shop is well again."""

import asyncio
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import psutil
import pytest

from persistence.invariants import violated
from server.app import create_app
from server.embedded import embedded
from server.migrating import migrate
from server.settings import Settings
from tests.client import Visitor
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import GENRES, RESTOCK, ask, status_of
from tests.memory import movements_of
from tests.postmasters import postmaster_of

CALLERS = 8


@pytest.fixture
def own_server(tmp_path: Path) -> Iterator[str]:
    with embedded(tmp_path) as url:
        migrate(url)
        yield url


async def restart(folder: Path, how: signal.Signals) -> asyncio.subprocess.Process:
    """Ends the server and all of its processes, and starts it as it was."""
    postmaster = postmaster_of(folder)
    assert postmaster is not None
    command, place, environment = postmaster.cmdline(), postmaster.cwd(), postmaster.environ()
    owner, processes = postmaster.uids().real, [postmaster, *postmaster.children()]
    postmaster.send_signal(how)
    await asyncio.to_thread(psutil.wait_procs, processes, 20)
    quiet = asyncio.subprocess.DEVNULL
    return await asyncio.create_subprocess_exec(
        *command, cwd=place, env=environment, user=owner, stdin=quiet, stdout=quiet, stderr=quiet
    )


async def keeps_restocking(admin: Visitor, id_: str, told: Counter[str]) -> None:
    while True:
        reply = await admin.ask(RESTOCK, id=id_)
        told[reply.codes[0] if reply.errors else "done"] += 1
        await asyncio.sleep(0.01)


async def keeps_reading(visitor: Visitor, told: Counter[int]) -> None:
    while True:
        told[(await ask(visitor, GENRES)).status_code] += 1
        await asyncio.sleep(0.01)


async def until(visitor: Visitor, status: int) -> None:
    async with asyncio.timeout(60):
        while await status_of(visitor, "/ready") != status:
            await asyncio.sleep(0.02)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL], ids=["stopped", "killed"])
async def test_restarted_under_load(settings: Settings, own_server: str, tmp_path: Path, how: signal.Signals) -> None:
    app = create_app(settings.model_copy(update={"database_url": own_server}))
    async with app.router.lifespan_context(app):
        visitor, shop = Visitor(app), app.state.shop
        book, token = await add_book(shop, stock=0), (await add_administrator(shop)).token
        changes, reads = Counter[str](), Counter[int]()
        admin = visitor.signed_in(token)
        crowd = [asyncio.create_task(keeps_restocking(admin, book_id(book), changes)) for _ in range(CALLERS)]
        crowd += [asyncio.create_task(keeps_reading(visitor, reads)) for _ in range(CALLERS)]
        await asyncio.sleep(0.5)
        restarting = asyncio.create_task(restart(tmp_path, how))
        await until(visitor, 503)
        assert await status_of(visitor, "/health") == 200
        server = await restarting
        await until(visitor, 200)
        before = changes["done"]
        async with asyncio.timeout(60):
            while changes["done"] < before + CALLERS:
                await asyncio.sleep(0.02)
        for task in crowd:
            task.cancel()
        await asyncio.gather(*crowd, return_exceptions=True)
        assert set(changes) == {"done", "SERVICE_UNAVAILABLE"}
        assert set(reads) == {200, 503}

        postgres = await asyncpg.connect(own_server)
        deliveries = await movements_of(postgres, book)
        # A COMMIT that nobody heard of may have happened; one that was told must have.
        assert 0 <= len(deliveries) - changes["done"] <= changes["SERVICE_UNAVAILABLE"] + CALLERS
        assert set(deliveries) == {("DELIVERY", 1)}
        assert await violated(postgres) == []
        await postgres.close()
    server.send_signal(signal.SIGINT)
    await server.wait()
