"""Who is compared: how each is started on a core of its own, and ended."""

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
from sqlalchemy.engine import make_url

from benchmarks.dialects import Dialect, GraphQL, Rest
from benchmarks.peers.fastapi_orm.routes import ROUTES
from benchmarks.peers.statements import exported
from benchmarks.stage import PUBLIC_URL, SECRET
from domain.auth.tokens import derive_key
from server.settings import Settings
from tests.support.observability.otlp_collector import run_otlp_collector

ROOT = Path(__file__).parent.parent
PEERS = ROOT / "benchmarks" / "peers"
START_TIME = 60  # seconds


class Absent(Exception):
    """What a contender needs is not on this machine; says what."""


@dataclass(frozen=True, slots=True)
class Contender:
    """`command` is given a free port; `place` a folder for temporary files, and says where to start.

    `beside` is there while it runs, and tells more of its environment. `place` may
    install things, and raises `Absent`. `exact` answers are ours to the byte.
    """

    name: str
    title: str
    command: Callable[[int], list[str]]
    dialect: Dialect = field(default_factory=GraphQL)
    environment: dict[str, str] = field(default_factory=dict)
    beside: Callable[[], AbstractContextManager[dict[str, str]]] = lambda: nullcontext({})
    place: Callable[[Path], Path] = lambda _: ROOT
    exact: bool = False


@dataclass(frozen=True, slots=True)
class Running:
    name: str
    port: int
    process: psutil.Process
    dialect: Dialect
    exact: bool


def _shop(port: int) -> list[str]:
    return ["bookstore", "serve", "--port", str(port), "--no-worker"]


def _elsewhere(folder: Path) -> Path:
    """Away from a developer's `.env`."""
    return folder


@contextmanager
def _collector() -> Iterator[dict[str, str]]:
    """Somebody to send traces to, who does not keep them."""
    with run_otlp_collector(is_recording=False) as collector:
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}


def _asgi(app: str) -> Callable[[int], list[str]]:
    """As `bookstore serve` runs: uvicorn with uvloop and httptools, in one process."""
    options = ["--no-access-log", "--log-level", "warning", "--no-server-header", "--no-proxy-headers"]
    return lambda port: [sys.executable, "-m", "uvicorn", app, "--port", str(port), *options]


def _mercurius(port: int) -> list[str]:
    return ["node", "server.js", str(port)]


def _npm_install(cache: Path) -> Path:
    """The peer's own packages, in a folder that is kept."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Absent("Node and npm are not here")
    folder = cache / "mercurius"
    shutil.copytree(PEERS / "mercurius", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "statements.json").write_bytes(orjson.dumps(exported()))
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=300)
    except (subprocess.SubprocessError, OSError) as error:
        raise Absent(f"npm could not install its packages ({error})") from error
    return folder


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("ours", "Bookstore", _shop, place=_elsewhere),
        Contender(
            "ours-without-engine",
            "Bookstore with ENGINE=false",
            _shop,
            environment={"ENGINE": "false"},
            place=_elsewhere,
        ),
        Contender(
            "ours-with-metrics",
            "Bookstore with METRICS_PORT",
            _shop,
            environment={"METRICS_PORT": "19273"},
            place=_elsewhere,
        ),
        Contender(
            "ours-with-traces",
            "Bookstore with every request traced",
            _shop,
            beside=_collector,
            place=_elsewhere,
        ),
        Contender(
            "handwritten", "a handler written by hand", _asgi("benchmarks.peers.handwritten.app:app"), exact=True
        ),
        Contender("mercurius", "Mercurius with JIT, the same SQL", _mercurius, place=_npm_install),
        Contender("fastapi", "FastAPI with the ORM", _asgi("benchmarks.peers.fastapi_orm.app:app"), Rest(ROUTES)),
        Contender("strawberry", "Strawberry with the ORM", _asgi("benchmarks.peers.idiomatic_strawberry.app:app")),
        Contender(
            "strawberry-caches",
            "Strawberry with the ORM, documents cached",
            _asgi("benchmarks.peers.idiomatic_strawberry.app:app"),
            environment={"DOCUMENT_CACHES": "true"},
        ),
    )
}
LEFT_OUT = {"strawberry-caches", "ours-with-metrics", "ours-with-traces"} | (
    set() if "engine" in Settings.model_fields else {"ours-without-engine"}
)
"""Run when they are named; the engine can be turned off only where there is one."""


@contextmanager
def running(contender: Contender, url: str, folder: Path, core: int | None) -> Iterator[Running]:
    """Starts it, pinned to a core, and ends it. Raises `Absent`, or `RuntimeError` when it does not start."""
    where = contender.place(folder)
    port, log = _free_port(), folder / f"{contender.name}.log"
    with contender.beside() as told, log.open("wb") as out:
        process = subprocess.Popen(
            contender.command(port),
            env=_environment(url) | contender.environment | told,
            cwd=where,
            stdout=out,
            stderr=out,
            preexec_fn=None if core is None else lambda: os.sched_setaffinity(0, {core}),
        )
        try:
            _wait(process, port, log)
            yield Running(contender.name, port, psutil.Process(process.pid), contender.dialect, contender.exact)
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait(10)


def _environment(url: str) -> dict[str, str]:
    """As in production, but for a rate limit that lets the load through, and still counts it."""
    address = make_url(url)
    return os.environ | {
        "DATABASE_URL": url,
        "PGHOST": str(address.query.get("host", address.host)),
        "PGPORT": str(address.port or 5432),
        "PGUSER": address.username or "",
        "PGPASSWORD": address.password or "",
        "PGDATABASE": address.database or "",
        "ENVIRONMENT": "production",
        "SECRET_KEY": SECRET,
        "PUBLIC_URL": PUBLIC_URL,
        "RATE_LIMIT_BURST": "1000000000",
        "RATE_LIMIT_PER_SECOND": "1000000",
        "ACCESS_TOKEN_KEY": derive_key(SECRET, "access-token").hex(),
        "NODE_ENV": "production",
    }


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait(process: "subprocess.Popen[bytes]", port: int, log: Path) -> None:
    until = time.perf_counter() + START_TIME
    while time.perf_counter() < until and process.poll() is None:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
            return
        time.sleep(0.05)
    told = log.read_text(errors="replace")[-2000:]
    raise RuntimeError(f"{process.args!r} did not start: {told}")
