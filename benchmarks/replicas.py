"""Two servers of one shop behind HAProxy, which can be restarted one after the other."""

import re
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import psutil

from benchmarks.measures import shop_environment

NOTICE = 2  # seconds; the balancer looks twice a second
START_TIMEOUT, STOP_TIMEOUT = 60, 30  # seconds
BALANCER = Path(__file__).parent.parent / "deploy" / "haproxy.cfg"
HAPROXY = shutil.which("haproxy") or shutil.which("/usr/sbin/haproxy")
"""Debian's package of that name; `None` where it is not."""


class Server:
    """`bookstore serve` at a port."""

    def __init__(self, port: int, environment: dict[str, str], folder: Path) -> None:
        self.port, self._environment, self._folder = port, environment, folder
        self._process = self._started()

    def _started(self) -> "subprocess.Popen[bytes]":
        command = ["bookstore", "serve", "--port", str(self.port)]
        return subprocess.Popen(command, env=self._environment, stdout=subprocess.DEVNULL, cwd=self._folder)

    def until_ready(self) -> None:
        _until_ready(self.port, self._process, "bookstore serve")

    def stop(self) -> None:
        _stop(self._process)

    def restart(self) -> None:
        self.stop()
        self._process = self._started()
        self.until_ready()


def environment_of(url: str) -> dict[str, str]:
    return shop_environment(url) | {
        "LOG_LEVEL": "error",
        "PUBLIC_URL": "http://localhost:8000",
        "TRUSTED_PROXIES": "127.0.0.1",
        "RATE_LIMIT_STORAGE": "postgresql",
        "DRAIN_SECONDS": str(NOTICE),
    }


@contextmanager
def opened(url: str, folder: Path) -> Iterator[tuple[int, list[Server]]]:
    """The balancer's port, and the servers behind it; the database is migrated and has the demo catalogue."""
    port, *places = _free_ports(3)
    environment = environment_of(url)
    for command in ("migrate", "demo"):
        subprocess.run(
            ["bookstore", command], env=environment, check=True, stdout=subprocess.DEVNULL, cwd=folder, timeout=120
        )
    with ExitStack() as stack:
        servers = []
        for place in places:
            servers.append(Server(place, environment, folder))
            stack.callback(servers[-1].stop)
        for server in servers:
            server.until_ready()
        stack.enter_context(balancing(folder / "haproxy.cfg", port, places))
        yield port, servers


@contextmanager
def balancing(settings: Path, port: int, places: Sequence[int]) -> Iterator[psutil.Process]:
    """HAProxy at `port`, as it is deployed, before servers at these places."""
    assert HAPROXY is not None
    settings.write_text(balancer_settings(port, places))
    process = subprocess.Popen([HAPROXY, "-db", "-q", "-f", settings], stderr=subprocess.DEVNULL)
    try:
        _until_ready(port, process, "haproxy")
        yield psutil.Process(process.pid)
    finally:
        _stop(process)


def balancer_settings(port: int, places: Sequence[int]) -> str:
    servers = "".join(f"    server at{place} 127.0.0.1:{place}\n" for place in places)
    return _SERVERS.sub(servers, BALANCER.read_text()).replace("127.0.0.1:8000", f"127.0.0.1:{port}")


_SERVERS = re.compile(r"(^    server .*\n?)+", re.MULTILINE)
"""Of a backend."""


def _until_ready(port: int, process: "subprocess.Popen[bytes]", name: str) -> None:
    until = time.monotonic() + START_TIMEOUT
    while not _is_ready(port):
        if time.monotonic() > until or process.poll() is not None:
            sys.exit(f"{name} did not start")
        time.sleep(0.1)


def _is_ready(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=3) as answer:
            return bool(answer.status == 200)
    except OSError:  # urllib's own among them
        return False


def _stop(process: "subprocess.Popen[bytes]") -> None:
    process.terminate()
    try:
        process.wait(STOP_TIMEOUT)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(STOP_TIMEOUT)


def _free_ports(count: int) -> list[int]:
    with ExitStack() as stack:
        taken = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in taken]
