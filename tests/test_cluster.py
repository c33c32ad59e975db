"""What `just cluster` promises: nothing is lost, and nothing is left behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from cluster.cluster import Cluster
from cluster.journal import Answer, Journal, Kind, Span
from cluster.ports import RANGE, free_ports
from cluster.processes import Broken, Processes
from cluster.programs import ACCOUNT, Missing, find_programs
from cluster.stage import CALM, KILL, KILL_SHOP, SWITCHOVER, Plan, perform
from cluster.waiting import until

SPAN = Span("fault", "who", began=10, ended=20, whole_after=5)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Processes]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with Processes() as processes:
        yield processes


def test_missing_programs_are_reported_with_their_packages(tmp_path: Path) -> None:
    (tmp_path / "haproxy").touch(0o755)
    with pytest.raises(Missing) as told:
        find_programs(str(tmp_path))
    assert "etcd and pgbouncer cannot be found" in str(told.value)
    assert "apt-get install --no-install-recommends etcd-server pgbouncer" in str(told.value)


def test_ports_are_distinct() -> None:
    ports = free_ports()
    chosen = [*ports.etcd, *ports.etcd_peers, *ports.patroni, *ports.postgres, *ports.shops]
    chosen += [ports.pgbouncer, ports.primary, ports.standbys, ports.front]
    assert len(set(chosen)) == 18
    assert set(chosen) <= set(RANGE)


def test_failure_leaves_no_process_or_file(tmp_path: Path) -> None:
    folders = list[Path]()

    def fail() -> None:
        with Processes(logs=tmp_path / "logs") as processes:
            folders.append(processes.folder)
            processes.start("parent", "sh", "-c", "sleep 321 & echo told; wait")
            _wait_for_child()
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert _find_sleep_processes() == []
    assert [folder.exists() for folder in folders] == [False]
    assert (tmp_path / "logs" / "parent.log").read_text() == "told\n"


async def test_exited_component_is_reported_with_its_last_output(processes: Processes) -> None:
    async def never() -> None:
        return None

    processes.start("short", "sh", "-c", "echo no more >&2; exit 3")
    with pytest.raises(Broken, match=r"(?s)short ended with 3.*no more"):
        await until(processes, "It", 20, never)


async def test_waiting_times_out(processes: Processes) -> None:
    async def never() -> None:
        return None

    with pytest.raises(Broken, match="It did not happen"):
        await until(processes, "It", 0.2, never)


def test_gap_crosses_the_edge_of_a_span() -> None:
    writes = [Answer(Kind.WRITE, at) for at in (1, 9, 17, 18, 30)]
    journal = Journal([*writes, Answer(Kind.WRITE, 12, "502"), Answer(Kind.READ, 13)])
    assert journal.gap(SPAN, Kind.WRITE) == 12
    assert journal.asked(SPAN, Kind.WRITE) == 3
    assert journal.failures(SPAN, Kind.WRITE) == {"502": 1}


def test_gap_without_a_response_is_the_whole_span() -> None:
    assert Journal().gap(SPAN, Kind.READ) == 10


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_order_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = find_programs()
    account = ACCOUNT if programs.as_account else None
    told = list[str]()
    with Processes(programs.as_account, account) as processes:
        result = await perform(Cluster(processes, programs), Plan(kills=1, calm=2), Journal(), told.append)
    assert [span.name for span in result.spans] == [CALM, KILL, SWITCHOVER, KILL_SHOP]
    assert result.lost == []
    assert result.violated == []
    assert result.is_good
    assert result.journal.failed(result.spans[1], Kind.WRITE) > 0
    assert _find_processes_in(processes.folder) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_no_process_or_file(tmp_path: Path, number: signal.Signals) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "cluster"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        opening = next((line for line in process.stdout if "The shop, two replicas" in line), None)
        assert opening is not None
        [folder] = tmp_path.glob("bookstore-cluster-*")
        busy = len(_find_processes_in(folder))
        process.send_signal(number)
        assert process.wait(60) == 128 + number
    assert busy > 10
    assert _find_processes_in(folder) == []
    assert not folder.exists()


def _find_processes_in(folder: Path) -> list[psutil.Process]:
    """Processes that work below it."""
    return [process for process in psutil.process_iter(["cwd"]) if str(folder) in (process.info["cwd"] or "")]


def _find_sleep_processes() -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "321"]]


def _wait_for_child() -> None:
    until = time.monotonic() + 20
    while not _find_sleep_processes():
        assert time.monotonic() < until
        time.sleep(0.02)
