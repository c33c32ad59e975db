"""`just cluster` loses no order, and leaves no process or file behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tools.bench.processes import ProcessFailed
from tools.cluster.cluster import PORT_RANGE, Cluster, find_free_ports
from tools.cluster.journal import Attempt, Journal, Kind, Span
from tools.cluster.processes import ClusterProcesses
from tools.cluster.programs import ACCOUNT, MissingProgram, find_programs
from tools.cluster.scenario import CALM, KILL, KILL_SERVER, SWITCHOVER, Plan, run_scenario

SPAN = Span("fault", "detail", start=10, end=20, recovery=5)


@pytest.fixture
def processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[ClusterProcesses]:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with ClusterProcesses() as processes:
        yield processes


def test_missing_programs_are_named_with_their_packages(tmp_path: Path) -> None:
    (tmp_path / "haproxy").touch(0o755)
    with pytest.raises(MissingProgram) as error_info:
        find_programs(str(tmp_path))
    assert "etcd and pgbouncer cannot be found" in str(error_info.value)
    assert "apt-get install --no-install-recommends etcd-server pgbouncer" in str(error_info.value)


def test_ports_are_distinct() -> None:
    ports = find_free_ports()
    numbers = [*ports.etcd, *ports.etcd_peers, *ports.patroni, *ports.postgres, *ports.servers]
    numbers += [ports.pgbouncer, ports.primary, ports.replicas, ports.front]
    assert len(set(numbers)) == 18
    assert set(numbers) <= set(PORT_RANGE)


def test_failure_leaves_no_process_or_file(tmp_path: Path) -> None:
    folders = list[Path]()

    def fail() -> None:
        with ClusterProcesses(logs=tmp_path / "logs") as processes:
            folders.append(processes.folder)
            processes.start("parent", "sh", "-c", "sleep 321 & echo started; wait")
            _wait_for_child()
            raise LookupError

    with pytest.raises(LookupError):
        fail()
    assert _list_sleepers() == []
    assert [folder.exists() for folder in folders] == [False]
    assert (tmp_path / "logs" / "parent.log").read_text() == "started\n"


async def test_a_process_that_exits_is_reported_with_its_log(processes: ClusterProcesses) -> None:
    async def return_none() -> None:
        return None

    processes.start("short", "sh", "-c", "echo no more >&2; exit 3")
    with pytest.raises(ProcessFailed, match=r"(?s)short exited with 3.*no more"):
        await processes.wait_for("It", 20, return_none)


async def test_waiting_times_out(processes: ClusterProcesses) -> None:
    async def return_none() -> None:
        return None

    with pytest.raises(ProcessFailed, match="It did not happen"):
        await processes.wait_for("It", 0.2, return_none)


def test_a_gap_may_exceed_its_span() -> None:
    writes = [Attempt(Kind.WRITE, time_) for time_ in (1, 9, 17, 18, 30)]
    journal = Journal([*writes, Attempt(Kind.WRITE, 12, "502"), Attempt(Kind.READ, 13)])
    assert journal.longest_gap(SPAN, Kind.WRITE) == 12
    assert journal.count(SPAN, Kind.WRITE) == 3
    assert journal.count_failures(SPAN, Kind.WRITE) == {"502": 1}


def test_without_a_success_the_gap_is_the_whole_span() -> None:
    assert Journal().longest_gap(SPAN, Kind.READ) == 10


@pytest.mark.slow
@pytest.mark.timeout(900)
async def test_no_order_is_lost(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    programs = find_programs()
    account = ACCOUNT if programs.prefix else None
    messages = list[str]()
    with ClusterProcesses(programs.prefix, account) as processes:
        outcome = await run_scenario(Cluster(processes, programs), Plan(kills=1, calm=2), Journal(), messages.append)
    assert [span.name for span in outcome.spans] == [CALM, KILL, SWITCHOVER, KILL_SERVER]
    assert outcome.lost == []
    assert outcome.violations == []
    assert outcome.is_good
    assert outcome.journal.count_failures(outcome.spans[1], Kind.WRITE).total() > 0
    assert _list_processes(processes.folder) == []


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("signal_number", [signal.SIGINT, signal.SIGTERM])
def test_signal_leaves_no_process_or_file(tmp_path: Path, signal_number: signal.Signals) -> None:
    environment = os.environ | {"TMPDIR": str(tmp_path)}
    command = [sys.executable, "-m", "tools.cluster"]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        line = next((line for line in process.stdout if "Two bookstore servers" in line), None)
        assert line is not None
        [folder] = tmp_path.glob("bookstore-cluster-*")
        process_count = len(_list_processes(folder))
        process.send_signal(signal_number)
        assert process.wait(60) == 128 + signal_number
    assert process_count > 10
    assert _list_processes(folder) == []
    assert not folder.exists()


def _list_processes(folder: Path) -> list[psutil.Process]:
    """Return the processes whose working directory is in the folder."""
    return [process for process in psutil.process_iter(["cwd"]) if str(folder) in (process.info["cwd"] or "")]


def _list_sleepers() -> list[psutil.Process]:
    return [process for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"] == ["sleep", "321"]]


def _wait_for_child() -> None:
    deadline = time.monotonic() + 20
    while not _list_sleepers():
        assert time.monotonic() < deadline
        time.sleep(0.02)
