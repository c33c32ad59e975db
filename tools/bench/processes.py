"""Start processes, wait until they serve, and stop them."""

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Self

import psutil

HOST = "127.0.0.1"
ROOT = Path(__file__).parents[2]
BOOKSTORE = Path(sys.executable).with_name("bookstore")
HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
"""`None` where Debian's package `haproxy` is not installed."""
HAPROXY_CONFIG = ROOT / "deploy" / "haproxy.cfg"
SECRET = "6b1f4e0c-benchmarks-sign-with-this-2d97a358"
PUBLIC_URL = "http://localhost:8000"
COMMAND_TIMEOUT, START_TIMEOUT, STOP_TIMEOUT, KILL_TIMEOUT = 120, 60, 30, 10  # seconds
LOG_LINES = 15
"""Last lines of a log that an error message quotes."""
_SERVER_LINES = re.compile(r"(^    server .*\n?)+", re.MULTILINE)


class ProcessFailed(RuntimeError):
    """A process exited by itself, or something did not happen in time."""


class Process:
    """A command with its output in a log file. It runs in a session of its own, so Ctrl-C reaches only its parent.

    As a context manager it starts, waits until it is ready, and stops.
    """

    def __init__(
        self,
        command: Sequence[str | Path],
        log: Path,
        *,
        environment: Mapping[str, str],
        folder: Path,
        port: int = 0,
        ready_path: str | None = "/ready",
        core: int | None = None,
    ) -> None:
        """Describe the command. `core` pins it to one CPU core; `port` and `ready_path` say where it is ready."""
        self.command, self.log, self.port = list(map(str, command)), log, port
        self._environment, self._folder, self._ready_path, self._core = environment, folder, ready_path, core

    def start(self) -> None:
        """Start the command."""
        core = self._core
        with self.log.open("ab") as log:
            self._popen = subprocess.Popen(
                self.command,
                env=self._environment,
                cwd=self._folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
            )

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def restart(self) -> None:
        """Stop, start, and wait until ready."""
        self.stop()
        self.start()
        self.wait_until_ready()

    @property
    def info(self) -> psutil.Process:
        """The process for psutil, which measures it."""
        return psutil.Process(self._popen.pid)

    @property
    def exit_code(self) -> int | None:
        """`None` while the process runs."""
        return self._popen.poll()

    def read_log_end(self) -> str:
        """Return the last lines of the log."""
        return "\n".join(self.log.read_text(encoding="utf-8", errors="replace").splitlines()[-LOG_LINES:])

    def wait_until_ready(self) -> None:
        """Wait until `ready_path` answers 200; without a path, until the port accepts connections.

        Raises:
            ProcessFailed: The process exited, or was not ready within 60 seconds.
        """
        deadline = time.monotonic() + START_TIMEOUT
        while not self._is_ready():
            if time.monotonic() > deadline or self.exit_code is not None:
                raise ProcessFailed(f"{' '.join(self.command)} did not start:\n{self.read_log_end()}")
            time.sleep(0.05)

    def _is_ready(self) -> bool:
        try:
            if self._ready_path is None:
                with socket.create_connection((HOST, self.port), timeout=1):
                    return True
            with urllib.request.urlopen(f"http://{HOST}:{self.port}{self._ready_path}", timeout=3) as response:
                return bool(response.status == 200)
        except OSError:  # includes urllib's errors
            return False

    def stop(self) -> None:
        """Send SIGTERM; after 30 seconds, kill."""
        self._popen.terminate()
        try:
            self._popen.wait(STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self.kill()

    def kill(self) -> None:
        """Send SIGKILL to the process and to its session."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._popen.pid, signal.SIGKILL)
        self._popen.wait(KILL_TIMEOUT)


def find_free_ports(count: int) -> list[int]:
    """Return different ports that are free now."""
    with ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind((HOST, 0))
        return [int(one.getsockname()[1]) for one in sockets]


def reserve_core() -> int | None:
    """Keep this process and its children off one CPU core, and return that core; `None` where there is only one."""
    if sys.platform != "linux" or len(cores := sorted(os.sched_getaffinity(0))) < 2:
        return None
    reserved, *others = cores
    os.sched_setaffinity(0, others)
    return reserved


def inherit_environment() -> dict[str, str]:
    """Return this process's environment without settings of the server."""
    return {name: value for name, value in os.environ.items() if name in ("PATH", "HOME", "LANG", "PYTHONPATH")}


# ── The server ────────────────────────────────────────────────────────────────────────────


def server_environment(url: str, **settings: str) -> dict[str, str]:
    """Return the environment of a server in development at a database."""
    defaults = {"DATABASE_URL": url, "ENVIRONMENT": "development", "SECRET_KEY": SECRET, "LOG_LEVEL": "error"}
    return inherit_environment() | defaults | settings


def run_bookstore(*arguments: str, environment: Mapping[str, str], folder: Path) -> None:
    """Run a `bookstore` command to its end. Its working directory keeps a developer's `.env` out."""
    subprocess.run(
        [BOOKSTORE, *arguments],
        env=environment,
        cwd=folder,
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=COMMAND_TIMEOUT,
    )


def serve_bookstore(environment: Mapping[str, str], folder: Path, port: int) -> Process:
    """Return a `bookstore serve` to enter."""
    command: list[str | Path] = [BOOKSTORE, "serve", "--port", str(port)]
    return Process(command, folder / f"server-{port}.log", environment=environment, folder=folder, port=port)


# ── The load balancer ─────────────────────────────────────────────────────────────────────


def format_haproxy_config(port: int, server_ports: Sequence[int]) -> str:
    """Return deploy/haproxy.cfg for other ports: its own and its servers'."""
    servers = "".join(f"    server at{server_port} {HOST}:{server_port}\n" for server_port in server_ports)
    return _SERVER_LINES.sub(servers, HAPROXY_CONFIG.read_text()).replace(f"{HOST}:8000", f"{HOST}:{port}")


def balance(folder: Path, port: int, server_ports: Sequence[int]) -> Process:
    """Return an HAProxy to enter: as it is deployed, in front of servers at these ports."""
    assert HAPROXY is not None
    config = folder / f"haproxy-{port}.cfg"
    config.write_text(format_haproxy_config(port, server_ports))
    command: list[str | Path] = [HAPROXY, "-db", "-q", "-f", config]
    environment = inherit_environment()
    return Process(command, config.with_suffix(".log"), environment=environment, folder=folder, port=port)
