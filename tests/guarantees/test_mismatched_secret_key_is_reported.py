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

OWN_KEY, NEW_KEY, OTHER_KEY = "ours-8d21f7c05b-e94a-36", "new-6f0ab3d9c2-17e5-48", "foreign-4c95e08b7d-2fa1"
StartApp = Callable[..., Any]


@pytest.fixture
async def start_app(settings: Settings, shop: Shop) -> AsyncIterator[StartApp]:
    """Return a function that starts applications with these keys, which run until the test ends."""
    async with AsyncExitStack() as stack:

        async def open_app(*keys: str) -> Starlette:
            return await stack.enter_async_context(running_app(settings, secret_key=list(keys)))

        yield open_app


async def get_ready_notes(app: Starlette) -> list[str]:
    async with ApiClient(app).http() as http:
        response = await http.get("/ready")
    assert response.status_code == 200
    notes: list[str] = response.json().get("notes", [])
    return notes


async def count_stored_keys(postgres: asyncpg.Connection) -> int:
    count: int = await postgres.fetchval("SELECT count(*) FROM secret_keys")
    return count


async def test_mismatched_key_is_reported_and_not_adopted(start_app: StartApp, postgres: asyncpg.Connection) -> None:
    assert await get_ready_notes(await start_app(OWN_KEY)) == []
    assert await get_ready_notes(await start_app(OTHER_KEY)) == [KEY_MISMATCH]
    assert await count_stored_keys(postgres) == 1
    assert await get_ready_notes(await start_app(OTHER_KEY)) == [KEY_MISMATCH]
    assert await get_ready_notes(await start_app(OWN_KEY)) == []


async def test_key_rotation_is_not_reported(start_app: StartApp) -> None:
    for keys in ([OWN_KEY], [OWN_KEY, NEW_KEY], [NEW_KEY, OWN_KEY], [NEW_KEY]):
        assert await get_ready_notes(await start_app(*keys)) == []


async def test_replaced_key_is_adopted_after_an_hour_without_the_old_one(
    shop: Shop,
) -> None:
    old, new = SecretKeyCheck(["old"]), SecretKeyCheck(["new"])
    mismatches = []
    for key_check in (old, new, old, new, new, SecretKeyCheck(["new"])):
        await key_check.check(shop.database)
        mismatches.append(key_check.is_mismatched)
    assert mismatches == [False, True, False, True, False, False]


async def test_check_repeats_every_hour(shop: Shop, postgres: asyncpg.Connection) -> None:
    key_check = SecretKeyCheck(["ours"])
    await key_check.check(shop.database)
    await postgres.execute("DELETE FROM secret_keys")
    await key_check.check_if_due(shop.database)
    assert await count_stored_keys(postgres) == 0
    key_check._next_check_at -= CHECK_INTERVAL
    await key_check.check_if_due(shop.database)
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
    environment = {"DATABASE_URL": url, "SECRET_KEY": f"{OTHER_KEY}-and-longer"}
    async with serve_shop(
        "--no-worker", directory=tmp_path, **(environment | {"SECRET_KEY": f"{OWN_KEY}-and-longer"})
    ) as own_server:
        async with serve_shop("--no-worker", directory=tmp_path, **environment) as other_server:
            assert (await other_server.stop(15)).stderr.rstrip() == f"bookstore: {KEY_MISMATCH}"
        async with (
            start_command("worker", directory=tmp_path, settings=environment) as worker,
            asyncio.timeout(COMMAND_TIMEOUT),
        ):
            assert worker.stdout is not None
            await worker.stdout.readline()
            worker.terminate()
            _, stderr = await worker.communicate()
            assert f"bookstore: {KEY_MISMATCH}" in stderr.decode()
        assert (await own_server.stop(15)).stderr == ""
