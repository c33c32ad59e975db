"""What is compared: Bookstore and its peers, and how each is started."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from pathlib import Path

import orjson
import psutil
from sqlalchemy.engine import make_url

from domain.auth.tokens import derive_key
from server.settings import Settings
from tests.support.observability.otlp_collector import run_otlp_collector
from tools.bench.peers.fastapi_orm.routes import ROUTES
from tools.bench.peers.statements import export_statements
from tools.bench.processes import BOOKSTORE, PUBLIC_URL, ROOT, SECRET, Process, find_free_ports, inherit_environment
from tools.bench.protocols import GraphQL, Rest

PEERS = Path(__file__).parent / "peers"
NPM_TIMEOUT = 300  # seconds

Meter = Callable[[], float]
"""Returns the seconds of CPU used so far."""


class Unavailable(Exception):
    """Something that a target needs is not on this machine. The message says what."""


@dataclass(frozen=True, slots=True)
class Target:
    """A server to measure. `command` gets a free port.

    `sidecar` runs beside it and adds to its environment. `prepare` gets a folder for temporary files, may install things
    there, returns the working directory, and raises `Unavailable`. The responses of an `exact` target are ours to the byte.
    """

    name: str
    title: str
    command: Callable[[int], list[str]]
    protocol: GraphQL = field(default_factory=GraphQL)
    environment: dict[str, str] = field(default_factory=dict)
    sidecar: Callable[[], AbstractContextManager[dict[str, str]]] = lambda: nullcontext({})
    prepare: Callable[[Path], Path] = lambda _: ROOT
    exact: bool = False


@dataclass(frozen=True, slots=True)
class RunningTarget:
    """A target that is ready at a port: the processes that are measured, and the CPU of what runs beside them."""

    name: str
    port: int
    processes: Sequence[psutil.Process]
    protocol: GraphQL = field(default_factory=GraphQL)
    exact: bool = False
    components: Mapping[str, Meter] = field(default_factory=dict)

    def read_components(self) -> dict[str, float]:
        """Return the seconds of CPU of each component."""
        return {name: meter() for name, meter in self.components.items()}


def serve_command(port: int) -> list[str]:
    """Return the command of our server."""
    return [str(BOOKSTORE), "serve", "--port", str(port), "--no-worker"]


@contextmanager
def _collect_traces() -> Iterator[dict[str, str]]:
    with run_otlp_collector(is_recording=False) as collector:
        yield {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}


def _asgi(app: str) -> Callable[[int], list[str]]:
    """Run an app as `bookstore serve` does: uvicorn with uvloop and httptools, in one process."""
    options = ["--no-access-log", "--log-level", "warning", "--no-server-header", "--no-proxy-headers"]
    return lambda port: [
        sys.executable,
        "-m",
        "uvicorn",
        f"tools.bench.peers.{app}.app:app",
        "--port",
        f"{port}",
        *options,
    ]


def _install_mercurius(cache: Path) -> Path:
    """Install the peer's packages in a folder that is kept."""
    if shutil.which("node") is None or shutil.which("npm") is None:
        raise Unavailable("Node and npm are not installed")
    folder = cache / "mercurius"
    shutil.copytree(PEERS / "mercurius", folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("node_modules"))
    (folder / "statements.json").write_bytes(orjson.dumps(export_statements()))
    command = ["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--omit=dev", "--ignore-scripts"]
    try:
        subprocess.run(command, cwd=folder, check=True, capture_output=True, timeout=NPM_TIMEOUT)
    except (subprocess.SubprocessError, OSError) as error:
        raise Unavailable(f"npm could not install its packages ({error})") from error
    return folder


def _ours(name: str, title: str, **environment: str) -> Target:
    """Return our server. Its working directory keeps a developer's `.env` out."""
    return Target(name, title, serve_command, environment=environment, prepare=lambda folder: folder)


OURS = _ours("ours", "Bookstore")
TARGETS = {
    target.name: target
    for target in (
        OURS,
        _ours("ours-without-engine", "Bookstore with ENGINE=false", ENGINE="false"),
        _ours("ours-with-metrics", "Bookstore with METRICS_PORT", METRICS_PORT="19273"),
        Target(
            "ours-with-traces",
            "Bookstore with every request traced",
            serve_command,
            sidecar=_collect_traces,
            prepare=lambda folder: folder,
        ),
        Target("handwritten", "a handler written by hand", _asgi("handwritten"), exact=True),
        Target(
            "mercurius",
            "Mercurius with JIT, the same SQL",
            lambda port: ["node", "server.js", str(port)],
            prepare=_install_mercurius,
        ),
        Target("fastapi", "FastAPI with the ORM", _asgi("fastapi_orm"), Rest(ROUTES)),
        Target("strawberry", "Strawberry with the ORM", _asgi("idiomatic_strawberry")),
        Target(
            "strawberry-caches",
            "Strawberry with the ORM, documents cached",
            _asgi("idiomatic_strawberry"),
            environment={"DOCUMENT_CACHES": "true"},
        ),
    )
}
OPTIONAL = {"strawberry-caches", "ours-with-metrics", "ours-with-traces"} | (
    set() if "engine" in Settings.model_fields else {"ours-without-engine"}
)
"""These run only when they are named. `ENGINE` is not a setting of every version."""


@contextmanager
def start_target(target: Target, url: str, folder: Path, core: int | None = None) -> Iterator[RunningTarget]:
    """Run a target until the block ends, pinned to a core if there is one.

    Raises:
        Unavailable: It needs something that is not installed.
        ProcessFailed: It did not start.
    """
    working_directory = target.prepare(folder)
    [port] = find_free_ports(1)
    with (
        target.sidecar() as sidecar_environment,
        Process(
            target.command(port),
            folder / f"{target.name}.log",
            environment=_environment(url) | target.environment | sidecar_environment,
            folder=working_directory,
            port=port,
            ready_path=None,
            core=core,
        ) as process,
    ):
        yield RunningTarget(target.name, port, [process.info], target.protocol, target.exact)


def _environment(url: str) -> dict[str, str]:
    """As in production, with a rate limit that admits the load and still counts it."""
    address = make_url(url)
    return inherit_environment() | {
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
