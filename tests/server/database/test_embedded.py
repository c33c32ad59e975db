"""The embedded PostgreSQL recovers from kills and stale process ids, and is shared by processes."""

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import psutil
import pytest

from tests.support.database.embedded_postgres import find_postmaster, kill_leftover_server, wait_until_stopped
from tests.support.processes.cli import CompletedCommand, run_command, start_command
from tests.support.processes.served_shop import serve_shop

UP_TO_DATE = CompletedCommand(0, "The database is up to date.\n", "")
TITLES = "{ books { totalCount } }"


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    async with kill_leftover_server(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
def other_process() -> Iterator[psutil.Process]:
    """Yield a running process that is not PostgreSQL."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def list_user_pids(data: Path) -> list[int]:
    """Return the process ids that the library counts as users of the server."""
    pids: list[int] = json.loads((data / "postgres" / ".handle_pids.json").read_text())
    return pids


async def test_data_survives_and_last_user_stops_the_server(data: Path, tmp_path: Path) -> None:
    first_result = await run_command("demo", "--data", str(data), directory=tmp_path)
    postmaster = find_postmaster(data)
    second_result = await run_command("demo", "--data", str(data), directory=tmp_path)

    assert first_result.stdout.endswith(" books added.\n")
    assert first_result.stdout != "0 books added.\n"
    assert postmaster is None
    assert second_result == CompletedCommand(0, "0 books added.\n", "")
    assert find_postmaster(data) is None


async def test_two_concurrent_first_starts_share_one_server(data: Path, tmp_path: Path) -> None:
    async with (
        serve_shop("--data", str(data), directory=tmp_path) as first_server,
        serve_shop("--data", str(data), directory=tmp_path) as second_server,
    ):
        assert len(list_user_pids(data)) == 2
        counts = [(await shop.client.execute(TITLES))["books"]["totalCount"] for shop in (first_server, second_server)]
        await first_server.stop(signal.SIGTERM)
        counts.append((await second_server.client.execute(TITLES))["books"]["totalCount"])
        await second_server.stop(signal.SIGTERM)

    assert len(set(counts)) == 1
    assert find_postmaster(data) is None


async def test_many_concurrent_first_starts_work(data: Path, tmp_path: Path) -> None:
    starts = [run_command("migrate", "--data", str(data), directory=tmp_path) for _ in range(4)]

    assert await asyncio.gather(*starts) == [UP_TO_DATE] * 4
    assert find_postmaster(data) is None


async def test_killed_process_does_not_keep_the_server_running(data: Path, tmp_path: Path) -> None:
    async with serve_shop("--data", str(data), directory=tmp_path) as shop:
        shop.process.kill()
        await shop.process.wait()
    assert find_postmaster(data) is not None  # an orphan that still lists the killed server

    assert await run_command("migrate", "--data", str(data), directory=tmp_path) == UP_TO_DATE
    assert find_postmaster(data) is None


async def test_killed_postgres_restarts_with_its_data(data: Path, tmp_path: Path) -> None:
    async with serve_shop("--data", str(data), directory=tmp_path) as shop:
        before = (await shop.client.execute(TITLES))["books"]
        postmaster = find_postmaster(data)
        assert postmaster is not None
        shop.process.kill()
        await shop.process.wait()
        postmaster.kill()  # its children exit later
    assert (data / "postgres" / "postmaster.pid").exists()

    async with serve_shop("--data", str(data), directory=tmp_path) as shop:
        assert (await shop.client.execute(TITLES))["books"] == before
        await shop.stop(signal.SIGTERM)
    assert find_postmaster(data) is None


async def test_reused_pid_is_not_mistaken_for_the_server(
    data: Path, tmp_path: Path, other_process: psutil.Process
) -> None:
    async with serve_shop("--data", str(data), "--no-demo", directory=tmp_path) as shop:
        pidfile = data / "postgres" / "postmaster.pid"
        lines = pidfile.read_text().splitlines()
        await shop.stop(signal.SIGTERM)
    await wait_until_stopped(data)
    pidfile.write_text("\n".join((str(other_process.pid), *lines[1:])) + "\n")

    assert await run_command("migrate", "--data", str(data), directory=tmp_path) == UP_TO_DATE
    assert other_process.is_running()


async def test_reused_user_pid_does_not_harm_the_data(
    data: Path, tmp_path: Path, other_process: psutil.Process
) -> None:
    """A foreign process with a listed id keeps the server running, and does not disturb it."""
    assert await run_command("migrate", "--data", str(data), directory=tmp_path) == UP_TO_DATE
    (data / "postgres" / ".handle_pids.json").write_text(json.dumps([other_process.pid]))

    assert await run_command("migrate", "--data", str(data), directory=tmp_path) == UP_TO_DATE
    assert await run_command("migrate", "--check", "--data", str(data), directory=tmp_path) == UP_TO_DATE


@pytest.mark.parametrize("content", ["", "no pid\n"])
async def test_incomplete_pid_file_is_ignored(data: Path, tmp_path: Path, content: str) -> None:
    assert await run_command("migrate", "--data", str(data), directory=tmp_path) == UP_TO_DATE
    (data / "postgres" / "postmaster.pid").write_text(content)
    (data / "postgres" / ".handle_pids.json").write_text("")

    assert await run_command("migrate", "--data", str(data), directory=tmp_path) == UP_TO_DATE


async def test_start_after_killed_first_start(data: Path, tmp_path: Path) -> None:
    async with (
        start_command("migrate", "--data", str(data), directory=tmp_path, settings={}) as process,
        asyncio.timeout(60),
    ):
        while not (data / "postgres" / "PG_VERSION").exists():
            await asyncio.sleep(0)
        children = psutil.Process(process.pid).children(recursive=True)
        assert "initdb" in [child.name() for child in children]
        process.kill()
        for child in children:
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    await wait_until_stopped(data)

    assert await run_command("migrate", "--data", str(data), directory=tmp_path) == UP_TO_DATE


async def test_secret_key_is_created_once_and_private(data: Path, tmp_path: Path) -> None:
    starts = [run_command("migrate", "--data", str(data), directory=tmp_path) for _ in range(2)]
    await asyncio.gather(*starts)
    secret = data / "secret_key"
    before = secret.read_text()
    await run_command("migrate", "--data", str(data), directory=tmp_path)

    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(before) >= 32
    assert secret.read_text() == before
