"""A process with a different `SECRET_KEY` from the other servers warns and destroys nothing."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from starlette.applications import Starlette

from domain.auth.secret_key_check import CHECK_INTERVAL, SecretKeyCheck
from domain.shop import Shop
from server.messages import KEY_MISMATCH
from server.settings import Settings
from tests.support.http.apps import running_app
from tests.support.http.client import ApiClient
from tests.support.processes.cli import COMMAND_TIMEOUT, start_command
from tests.support.processes.served_shop import serve_shop

OWN_KEY, NEW, STRANGE = "ours-8d21f7c05b-e94a-36", "new-6f0ab3d9c2-17e5-48", "strange-4c95e08b7d-2fa1"
StartApp = Callable[..., Any]


@pytest.fixture
async def start_app(settings: Settings, shop: Shop) -> AsyncIterator[StartApp]:
    """Return a function that starts applications with these keys, which run until the test ends."""
    async with AsyncExitStack() as stack:

        async def opens(*keys: str) -> Starlette:
            return await stack.enter_async_context(running_app(settings, secret_key=list(keys)))

        yield opens


async def get_ready_notes(app: Starlette) -> list[str]:
    async with ApiClient(app).http() as http:
        response = await http.get("/ready")
    assert response.status_code == 200
    findings: list[str] = response.json().get("notes", [])
    return findings


async def count_stored_keys(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM secret_keys")
    return count


async def test_mismatched_key_is_reported_and_not_adopted(start_app: StartApp, postgres: asyncpg.Connection) -> None:
    assert await get_ready_notes(await start_app(OWN_KEY)) == []
    assert await get_ready_notes(await start_app(STRANGE)) == [KEY_MISMATCH]
    assert await count_stored_keys(postgres) == 1
    assert await get_ready_notes(await start_app(STRANGE)) == [KEY_MISMATCH]
    assert await get_ready_notes(await start_app(OWN_KEY)) == []


async def test_key_rotation_is_not_reported(start_app: StartApp) -> None:
    for keys in ([OWN_KEY], [OWN_KEY, NEW], [NEW, OWN_KEY], [NEW]):
        assert await get_ready_notes(await start_app(*keys)) == []


async def test_replaced_key_is_adopted_after_an_hour_without_the_old_one(
    shop: Shop,
) -> None:
    old, new = SecretKeyCheck(["old"]), SecretKeyCheck(["new"])
    strange = []
    for keys in (old, new, old, new, new, SecretKeyCheck(["new"])):
        await keys.check(shop.database)
        strange.append(keys.is_mismatched)
    assert strange == [False, True, False, True, False, False]


async def test_check_repeats_every_hour(shop: Shop, postgres: asyncpg.Connection) -> None:
    keys = SecretKeyCheck(["ours"])
    await keys.check(shop.database)
    await postgres.execute("DELETE FROM secret_keys")
    await keys.check_if_due(shop.database)
    assert await count_stored_keys(postgres) == 0
    keys._next_check_at -= CHECK_INTERVAL
    await keys.check_if_due(shop.database)
    assert await count_stored_keys(postgres) == 1


async def test_unused_keys_are_deleted(shop: Shop, postgres: asyncpg.Connection) -> None:
    await SecretKeyCheck(["long ago"]).check(shop.database)
    await postgres.execute("UPDATE secret_keys SET used_at = now() - interval '91 days'")
    await SecretKeyCheck(["long ago", "ours"]).check(shop.database)
    await postgres.execute("UPDATE secret_keys SET used_at = now() - interval '91 days' WHERE id = 'long ago'")
    await SecretKeyCheck(["ours"]).check(shop.database)
    assert await count_stored_keys(postgres) == 1


async def test_serve_and_worker_report_mismatch_at_startup(settings: Settings, shop: Shop, tmp_path: Path) -> None:
    url = str(settings.database_url)
    keys = {"DATABASE_URL": url, "SECRET_KEY": f"{STRANGE}-and-longer"}
    async with serve_shop("--no-worker", directory=tmp_path, **(keys | {"SECRET_KEY": f"{OWN_KEY}-and-longer"})) as own:
        async with serve_shop("--no-worker", directory=tmp_path, **keys) as another:
            assert (await another.stop(15)).stderr.rstrip() == f"bookstore: {KEY_MISMATCH}"
        async with (
            start_command("worker", directory=tmp_path, settings=keys) as worker,
            asyncio.timeout(COMMAND_TIMEOUT),
        ):
            assert worker.stdout is not None
            await worker.stdout.readline()
            worker.terminate()
            _, err = await worker.communicate()
            assert f"bookstore: {KEY_MISMATCH}" in err.decode()
        assert (await own.stop(15)).stderr == ""
