"""The processes of a cluster and their folder: both are gone afterwards, whatever happens."""

import asyncio
import contextlib
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, TypeVar

import httpx2
import psutil

from tools.bench.processes import KILL_TIMEOUT, Process, ProcessFailed, inherit_environment

T = TypeVar("T")
POLL_INTERVAL = 0.1  # seconds
HTTP_TIMEOUT = 3  # seconds
NOT_REACHABLE = (httpx2.HTTPError, OSError)


class ClusterProcesses:
    """Processes by name. Leaving the `with` block kills them, and nothing else."""

    def __init__(self, prefix: Sequence[str] = (), account: str | None = None, logs: Path | None = None) -> None:
        """Prepare to start commands: with a prefix, as an account that owns their files. `logs` is a folder for copies."""
        self._prefix, self._account, self._logs = list(prefix), account, logs
        self._running: dict[str, Process] = {}
        self._finite: set[str] = set()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="bookstore-cluster-")).resolve()
        self._give_to_account(self.folder)
        return self

    def start(self, name: str, *command: str | Path, **environment: str) -> None:
        """Start a process that must not exit by itself."""
        process = Process(
            [*self._prefix, *command],
            self.folder / f"{name}.log",
            environment=inherit_environment() | environment,
            folder=self.folder,
        )
        process.start()
        self._running[name] = process

    async def run(self, name: str, seconds: float, *command: str | Path, **environment: str) -> None:
        """Run a command to its end.

        Raises:
            ProcessFailed: It failed, or took too long.
        """
        self._finite.add(name)
        self.start(name, *command, **environment)

        async def find_exit_code() -> int | None:
            return self._running[name].exit_code

        if await self.wait_for(f"The end of {name}", seconds, find_exit_code) != 0:
            raise ProcessFailed(f"{name} failed:\n{self._running[name].read_log_end()}")

    def check(self) -> None:
        """Check that all processes run.

        Raises:
            ProcessFailed: One has exited by itself.
        """
        for name, process in self._running.items():
            if name not in self._finite and process.exit_code is not None:
                raise ProcessFailed(
                    f"{name} exited with {process.exit_code}. Its log ends with:\n{process.read_log_end()}"
                )

    async def wait_for(self, event: str, seconds: float, find: Callable[[], Awaitable[T | None]]) -> T:
        """Call `find` until it returns something, and return that.

        Raises:
            ProcessFailed: It took too long, or a process has exited meanwhile.
        """
        try:
            async with asyncio.timeout(seconds):
                while True:
                    self.check()
                    with contextlib.suppress(*NOT_REACHABLE):
                        if (result := await find()) is not None:
                            return result
                    await asyncio.sleep(POLL_INTERVAL)
        except TimeoutError:
            raise ProcessFailed(
                f"{event} did not happen within {seconds:.0f} seconds. `--logs DIR` keeps the logs."
            ) from None

    def kill(self, name: str) -> None:
        """Send SIGKILL to a process and to its session."""
        self._running.pop(name).kill()

    def write(self, name: str, text: str) -> Path:
        """Write a file that only its owner can read."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text, encoding="utf-8")
        self._give_to_account(path)
        return path

    def list_postmasters(self, data: Path | None = None) -> list[psutil.Process]:
        """Return the main processes of PostgreSQL below our folder, or of one data folder. They outlive their Patroni."""
        return list(_list_postmasters(data or self.folder))

    def _give_to_account(self, path: Path) -> None:
        if self._account is not None:
            shutil.chown(path, self._account, self._account)

    def __exit__(self, *_: object) -> None:
        numbers = (signal.SIGINT, signal.SIGTERM)
        handlers = [signal.signal(number, signal.SIG_IGN) for number in numbers]
        for name in reversed(list(self._running)):
            self.kill(name)
        self._stop_postmasters()
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            for log in self.folder.glob("*.log"):
                shutil.copyfile(log, self._logs / log.name)
        shutil.rmtree(self.folder)
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)

    def _stop_postmasters(self) -> None:
        """Stop PostgreSQL so that it frees its shared memory, and free what a killed one has left."""
        for postmaster in (postmasters := self.list_postmasters()):
            with contextlib.suppress(psutil.NoSuchProcess):
                postmaster.send_signal(signal.SIGQUIT)
        deadline = time.monotonic() + KILL_TIMEOUT
        while any(map(_is_alive, postmasters)) and time.monotonic() < deadline:
            time.sleep(0.05)
        for postmaster in filter(_is_alive, postmasters):
            kill_with_children(postmaster)
        for pid_file in self.folder.glob("*/postmaster.pid"):
            for line in pid_file.read_text().splitlines()[6:7]:
                command = ["ipcrm", "-m", line.split()[1]]
                subprocess.run(command, timeout=KILL_TIMEOUT, check=False, capture_output=True)


def kill_with_children(process: psutil.Process) -> None:
    """Send SIGKILL to a process and to its descendants."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def _is_alive(process: psutil.Process) -> bool:
    """Tell whether a process runs. A zombie does not."""
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _list_postmasters(folder: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name", "cmdline"]):
        command = process.info["cmdline"] or []
        if process.info["name"] == "postgres" and any(Path(word).is_relative_to(folder) for word in command[1:]):
            yield process


async def request(url: str, **options: Any) -> httpx2.Response:
    """Send a GET, or a POST if there is `json`."""
    async with httpx2.AsyncClient(timeout=options.pop("timeout", HTTP_TIMEOUT), trust_env=False) as client:
        return await client.request("POST" if "json" in options else "GET", url, **options)
