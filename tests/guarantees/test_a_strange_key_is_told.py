"""A process with another SECRET_KEY than the shop's is told so, and so are those that look at it; a rotation is no news."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from starlette.applications import Starlette

from domain.secret_keys import EVERY, SecretKeys
from domain.shop import Shop
from server.commands.opening import STRANGE_KEYS as LINE
from server.health import STRANGE_KEYS as NOTE
from server.settings import Settings
from tests import browser
from tests.client import Visitor
from tests.commands import PATIENCE, started
from tests.shops import opened

OURS, NEW, STRANGE = "ours-8d21f7c05b-e94a-36", "new-6f0ab3d9c2-17e5-48", "strange-4c95e08b7d-2fa1"
Opens = Callable[..., Any]


@pytest.fixture
async def opens(settings: Settings, shop: Shop) -> AsyncIterator[Opens]:
    """Servers that stay open."""
    async with AsyncExitStack() as stack:

        async def opens(*keys: str) -> Starlette:
            return await stack.enter_async_context(browser.opened(settings, secret_key=list(keys)))

        yield opens


async def notes(app: Starlette) -> list[str]:
    async with Visitor(app).http() as http:
        response = await http.get("/ready")
    assert response.status_code == 200
    found: list[str] = response.json().get("notes", [])
    return found


async def used(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM secret_keys")
    return count


async def test_another_key_is_told_and_is_not_taken_for_the_shops(opens: Opens, postgres: asyncpg.Connection) -> None:
    assert await notes(await opens(OURS)) == []
    assert await notes(await opens(STRANGE)) == [NOTE]
    assert await used(postgres) == 1
    assert await notes(await opens(STRANGE)) == [NOTE]
    assert await notes(await opens(OURS)) == []


async def test_the_steps_of_a_rotation_are_no_news(opens: Opens) -> None:
    for keys in ([OURS], [OURS, NEW], [NEW, OURS], [NEW]):
        assert await notes(await opens(*keys)) == []


async def test_one_that_was_dropped_at_once_is_the_shops_when_nobody_runs_with_the_old_one_for_an_hour(
    shop: Shop,
) -> None:
    old, new = SecretKeys(["old"]), SecretKeys(["new"])
    strange = []
    for keys in (old, new, old, new, new, SecretKeys(["new"])):
        await keys.look(shop.database)
        strange.append(keys.are_strange)
    assert strange == [False, True, False, True, False, False]


async def test_it_looks_again_every_hour(shop: Shop, postgres: asyncpg.Connection) -> None:
    keys = SecretKeys(["ours"])
    await keys.look(shop.database)
    await postgres.execute("DELETE FROM secret_keys")
    await keys.look_when_due(shop.database)
    assert await used(postgres) == 0
    keys._look_at -= EVERY
    await keys.look_when_due(shop.database)
    assert await used(postgres) == 1


async def test_those_that_nobody_has_used_for_long_are_forgotten(shop: Shop, postgres: asyncpg.Connection) -> None:
    await SecretKeys(["long ago"]).look(shop.database)
    await postgres.execute("UPDATE secret_keys SET used_at = now() - interval '91 days'")
    await SecretKeys(["long ago", "ours"]).look(shop.database)
    await postgres.execute("UPDATE secret_keys SET used_at = now() - interval '91 days' WHERE id = 'long ago'")
    await SecretKeys(["ours"]).look(shop.database)
    assert await used(postgres) == 1


async def test_serve_and_worker_say_so_at_the_start(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    url = str(settings.database_url)
    keys = {"DATABASE_URL": url, "SECRET_KEY": f"{STRANGE}-and-longer"}
    async with opened("--no-worker", folder=tmp_path, **(keys | {"SECRET_KEY": f"{OURS}-and-longer"})) as ours:
        async with opened("--no-worker", folder=tmp_path, **keys) as another:
            assert (await another.closes(15)).err.rstrip() == f"bookstore: {LINE}"
        async with started("worker", folder=tmp_path, settings=keys) as worker, asyncio.timeout(PATIENCE):
            assert worker.stdout is not None
            await worker.stdout.readline()
            worker.terminate()
            _, err = await worker.communicate()
            assert f"bookstore: {LINE}" in err.decode()
        assert (await ours.closes(15)).err == ""
