"""A server that is killed leaves no processes that go on without it: they finish what was begun, and let the address go."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import asyncpg
import psutil
import pytest

from domain.shop import Shop
from server.settings import Settings
from tests.commands import Ended, run
from tests.exposition import free_port, total, until
from tests.factories import add_administrator, add_book, book_id
from tests.faulty import ALL_GENRES, GENRES, RESTOCK, ask
from tests.locks import BOOKS, holding, until_gone, until_waiting
from tests.memory import movements_of
from tests.postmasters import nothing_left, postmaster_of
from tests.processes import kill, serving, until_ended, until_nobody_is_let_in
from tests.shops import opened


@asynccontextmanager
async def outliving(family: list[psutil.Process]) -> AsyncIterator[None]:
    """Sees that they end by themselves after the block; otherwise they are killed."""
    try:
        yield
        await until_ended(family)
    finally:
        kill(family)


@pytest.mark.usefixtures("sound")
@pytest.mark.parametrize(
    ("options", "processes"), [(("--workers", "2"), 2), (("--reload",), 1)], ids=["workers", "reload"]
)
async def test_whoever_is_inside_when_the_server_is_killed_is_served_and_nobody_new_is_let_in(
    shop: Shop,
    settings: Settings,
    postgres: asyncpg.Connection,
    database_url: str,
    tmp_path: Path,
    options: tuple[str, ...],
    processes: int,
) -> None:
    book, token = await add_book(shop, stock=1), (await add_administrator(shop)).token
    counted = tmp_path / "counted"
    counted.mkdir()
    port = free_port()
    watched = {"METRICS_PORT": str(port), "TMPDIR": str(counted)}
    async with serving(settings, tmp_path, *options, **watched) as server, outliving(server.family):
        await until(port, lambda told: total(told, "processes") == processes)
        async with AsyncExitStack() as locks:
            await locks.enter_async_context(holding(database_url, ALL_GENRES))
            await locks.enter_async_context(holding(database_url, BOOKS, [book.id]))
            begun = [asyncio.create_task(ask(server.visitor, GENRES)) for _ in range(5)]
            begun.append(asyncio.create_task(ask(server.visitor.signed_in(token), RESTOCK, id=book_id(book))))
            inside = await until_waiting(postgres, 6)
            assert list(counted.iterdir())
            server.process.kill()
            await server.process.wait()
            await until_nobody_is_let_in(server.url)
            assert not any(task.done() for task in begun)
        answers = await asyncio.gather(*begun)
    assert [answer.status_code for answer in answers] == [200] * 6
    assert not any("errors" in answer.json() for answer in answers)
    assert await movements_of(postgres, book) == [("NEW_BOOK", 1), ("DELIVERY", 1)]
    await until_gone(postgres, inside)
    assert list(counted.iterdir()) == []


async def test_the_embedded_database_is_there_for_the_next_who_comes_and_stopped_with_them(tmp_path: Path) -> None:
    command_line = ("--data", str(tmp_path / "data"))
    async with nothing_left(tmp_path / "data") as data:
        async with opened(*command_line, "--workers", "2", folder=tmp_path) as shop:
            family = psutil.Process(shop.process.pid).children(recursive=True)
            async with outliving(family):
                before = (await shop.visitor.ask("{ books { totalCount } }"))["books"]
                shop.process.kill()
        assert postmaster_of(data) is not None

        async with opened(*command_line, folder=tmp_path) as shop:
            assert (await shop.visitor.ask("{ books { totalCount } }"))["books"] == before
        assert await run("migrate", *command_line, folder=tmp_path) == Ended(0, "The database is up to date.\n", "")
        assert postmaster_of(data) is None
