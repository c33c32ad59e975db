"""The embedded PostgreSQL heals: after kills, with stale pids, with several users who come and go."""

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

from tests.commands import Ended, run, started
from tests.postmasters import nothing_left, postmaster_of, until_stopped
from tests.shops import opened

UP_TO_DATE = Ended(0, "The database is up to date.\n", "")
TITLES = "{ books { totalCount } }"


@pytest.fixture
async def data(tmp_path: Path) -> AsyncIterator[Path]:
    async with nothing_left(tmp_path / "data") as folder:
        yield folder


@pytest.fixture
def stranger() -> Iterator[psutil.Process]:
    """A process that is alive and no PostgreSQL."""
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        try:
            yield psutil.Process(process.pid)
        finally:
            process.kill()


def handles(data: Path) -> list[int]:
    """Who the library believes to be using the server."""
    listed: list[int] = json.loads((data / "postgres" / ".handle_pids.json").read_text())
    return listed


async def test_what_was_written_survives_and_the_last_to_leave_stops_the_server(data: Path, tmp_path: Path) -> None:
    loaded = await run("demo", "--data", str(data), folder=tmp_path)
    stopped = postmaster_of(data)
    again = await run("demo", "--data", str(data), folder=tmp_path)

    assert loaded.out.endswith(" books added.\n")
    assert loaded.out != "0 books added.\n"
    assert stopped is None
    assert again == Ended(0, "0 books added.\n", "")
    assert postmaster_of(data) is None


async def test_two_first_starts_at_once_share_one_server(data: Path, tmp_path: Path) -> None:
    async with opened("--data", str(data), folder=tmp_path) as one, opened("--data", str(data), folder=tmp_path) as two:
        assert len(handles(data)) == 2
        counts = [(await shop.visitor.ask(TITLES))["books"]["totalCount"] for shop in (one, two)]
        await one.closes(signal.SIGTERM)
        counts.append((await two.visitor.ask(TITLES))["books"]["totalCount"])
        await two.closes(signal.SIGTERM)

    assert len(set(counts)) == 1
    assert postmaster_of(data) is None


async def test_many_first_starts_at_once_all_work(data: Path, tmp_path: Path) -> None:
    starts = [run("migrate", "--data", str(data), folder=tmp_path) for _ in range(4)]

    assert await asyncio.gather(*starts) == [UP_TO_DATE] * 4
    assert postmaster_of(data) is None


async def test_a_killed_shop_does_not_keep_the_server_for_ever(data: Path, tmp_path: Path) -> None:
    async with opened("--data", str(data), folder=tmp_path) as shop:
        shop.process.kill()
        await shop.process.wait()
    assert postmaster_of(data) is not None  # an orphan, with the dead shop on its list

    assert await run("migrate", "--data", str(data), folder=tmp_path) == UP_TO_DATE
    assert postmaster_of(data) is None


async def test_a_killed_postgres_starts_again_with_its_books(data: Path, tmp_path: Path) -> None:
    async with opened("--data", str(data), folder=tmp_path) as shop:
        before = (await shop.visitor.ask(TITLES))["books"]
        postmaster = postmaster_of(data)
        assert postmaster is not None
        shop.process.kill()
        await shop.process.wait()
        postmaster.kill()  # its children notice by themselves, some time later
    assert (data / "postgres" / "postmaster.pid").exists()

    async with opened("--data", str(data), folder=tmp_path) as shop:
        assert (await shop.visitor.ask(TITLES))["books"] == before
        await shop.closes(signal.SIGTERM)
    assert postmaster_of(data) is None


async def test_a_pid_that_is_somebody_elses_is_not_taken_for_the_server(
    data: Path, tmp_path: Path, stranger: psutil.Process
) -> None:
    async with opened("--data", str(data), "--no-demo", folder=tmp_path) as shop:
        pidfile = data / "postgres" / "postmaster.pid"
        lines = pidfile.read_text().splitlines()
        await shop.closes(signal.SIGTERM)
    await until_stopped(data)
    pidfile.write_text("\n".join((str(stranger.pid), *lines[1:])) + "\n")

    assert await run("migrate", "--data", str(data), folder=tmp_path) == UP_TO_DATE
    assert stranger.is_running()


async def test_a_user_whose_pid_is_somebody_elses_does_not_harm_the_data(
    data: Path, tmp_path: Path, stranger: psutil.Process
) -> None:
    """The server may run on for the sake of a stranger; it works all the same."""
    assert await run("migrate", "--data", str(data), folder=tmp_path) == UP_TO_DATE
    (data / "postgres" / ".handle_pids.json").write_text(json.dumps([stranger.pid]))

    assert await run("migrate", "--data", str(data), folder=tmp_path) == UP_TO_DATE
    assert await run("migrate", "--check", "--data", str(data), folder=tmp_path) == UP_TO_DATE


@pytest.mark.parametrize("content", ["", "no pid\n"])
async def test_a_pid_file_that_was_never_finished_is_no_obstacle(data: Path, tmp_path: Path, content: str) -> None:
    assert await run("migrate", "--data", str(data), folder=tmp_path) == UP_TO_DATE
    (data / "postgres" / "postmaster.pid").write_text(content)
    (data / "postgres" / ".handle_pids.json").write_text("")

    assert await run("migrate", "--data", str(data), folder=tmp_path) == UP_TO_DATE


async def test_killed_in_its_very_first_start_the_next_one_works(data: Path, tmp_path: Path) -> None:
    async with started("migrate", "--data", str(data), folder=tmp_path, settings={}) as first, asyncio.timeout(60):
        while not (data / "postgres" / "PG_VERSION").exists():
            await asyncio.sleep(0)
        at_work = psutil.Process(first.pid).children(recursive=True)
        assert "initdb" in [process.name() for process in at_work]
        first.kill()
        for process in at_work:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
    await until_stopped(data)

    assert await run("migrate", "--data", str(data), folder=tmp_path) == UP_TO_DATE


async def test_the_key_is_made_once_and_for_its_owner_alone(data: Path, tmp_path: Path) -> None:
    starts = [run("migrate", "--data", str(data), folder=tmp_path) for _ in range(2)]
    await asyncio.gather(*starts)
    secret = data / "secret_key"
    before = secret.read_text()
    await run("migrate", "--data", str(data), folder=tmp_path)

    assert secret.stat().st_mode & 0o777 == 0o600
    assert len(before) >= 32
    assert secret.read_text() == before
