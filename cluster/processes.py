"""The processes of a cluster and the folder they live in: whatever happens, both are gone afterwards."""

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

END_WAIT = 10  # seconds
TOLD = 15  # last lines of a log


class Broken(Exception):
    """A part has ended by itself, or did not do in time what it was waited for."""


class Processes:
    """What was started here, by name. Leaving the `with` ends it and nothing else."""

    def __init__(self, as_account: Sequence[str] = (), account: str | None = None, logs: Path | None = None) -> None:
        self._as_account, self._account, self._logs = list(as_account), account, logs
        self._running: dict[str, subprocess.Popen[bytes]] = {}
        self._errands: set[str] = set()

    def __enter__(self) -> Self:
        self.folder = Path(tempfile.mkdtemp(prefix="bookstore-cluster-")).resolve()
        self._hand_over(self.folder)
        return self

    def start(self, name: str, *command: str | Path, **environment: str) -> None:
        """In a session of its own, so that Ctrl-C at the terminal reaches us alone."""
        with (self.folder / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                [*self._as_account, *map(str, command)], env=_inherited() | environment, cwd=self.folder,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def send(self, name: str, *command: str | Path, **environment: str) -> None:
        """Starts one that is expected to end."""
        self._errands.add(name)
        self.start(name, *command, **environment)

    def ended(self, name: str) -> int | None:
        """The exit code of one that was sent."""
        return self._running[name].poll()

    def check(self) -> None:
        """Raises `Broken` when something ended that nobody has killed."""
        for name, process in self._running.items():
            if name not in self._errands and process.poll() is not None:
                raise Broken(f"{name} ended with {process.returncode}. Its last words:\n{self.last_words(name)}")

    def kill(self, name: str) -> None:
        """As kill -9 does, with whatever it has started in its session."""
        process = self._running[name]
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(END_WAIT)
        del self._running[name]

    def write(self, name: str, text: str) -> Path:
        """A file that its owner alone can read."""
        path = self.folder / name
        path.touch(0o600)
        path.write_text(text, encoding="utf-8")
        self._hand_over(path)
        return path

    def postmasters(self, data: Path | None = None) -> list[psutil.Process]:
        """Those of PostgreSQL servers below our folder, or of one; they live on without the Patroni that started them."""
        return list(_serving(data or self.folder))

    def last_words(self, name: str) -> str:
        text = (self.folder / f"{name}.log").read_text(encoding="utf-8", errors="replace")
        return "\n".join(text.splitlines()[-TOLD:])

    def _hand_over(self, path: Path) -> None:
        if self._account is not None:
            shutil.chown(path, self._account, self._account)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        impatient = [signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)]
        for name in reversed(list(self._running)):
            self.kill(name)
        self._end_postmasters()
        if self._logs is not None:
            self._logs.mkdir(parents=True, exist_ok=True)
            for log in self.folder.glob("*.log"):
                shutil.copyfile(log, self._logs / log.name)
        shutil.rmtree(self.folder)
        for number, handler in zip((signal.SIGINT, signal.SIGTERM), impatient, strict=True):
            signal.signal(number, handler)

    def _end_postmasters(self) -> None:
        """At once but tidily: PostgreSQL gives its shared memory back. What kill -9 has left of it is given back here."""
        for postmaster in (leaving := self.postmasters()):
            with contextlib.suppress(psutil.NoSuchProcess):
                postmaster.send_signal(signal.SIGQUIT)
        for postmaster in _lingering(leaving):
            end_with_children(postmaster)
        for left in self.folder.glob("*/postmaster.pid"):
            memory = left.read_text().splitlines()[6:7]
            if memory:
                subprocess.run(
                    ["ipcrm", "-m", memory[0].split()[1]], timeout=END_WAIT, check=False, capture_output=True
                )


def end_with_children(process: psutil.Process) -> None:
    """As kill -9 does."""
    with contextlib.suppress(psutil.NoSuchProcess):
        for member in [process, *process.children(recursive=True)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                member.kill()


def _lingering(processes: list[psutil.Process]) -> list[psutil.Process]:
    """Those that are still there after a while; a zombie is not, whoever is to collect it."""
    until = time.monotonic() + END_WAIT
    while (left := [process for process in processes if _is_alive(process)]) and time.monotonic() < until:
        time.sleep(0.05)
    return left


def _is_alive(process: psutil.Process) -> bool:
    try:
        return process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _serving(below: Path) -> Iterator[psutil.Process]:
    for process in psutil.process_iter(["name", "cmdline"]):
        command = process.info["cmdline"] or []
        if process.info["name"] == "postgres" and any(Path(word).is_relative_to(below) for word in command[1:]):
            yield process


def _inherited() -> dict[str, str]:
    """No setting of the shop's that happens to be set here."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "PYTHONPATH")}
