"""Develop migrations on a temporary database: `python -m migrations check`, or `revision SLUG MESSAGE`."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.util import CommandError

from server.database.embedded import run_embedded_postgres
from server.database.migrations import build_alembic_config, migrate

PROJECT_FILE = Path(__file__).parent.parent / "pyproject.toml"
USAGE = "usage: python -m migrations check | revision SLUG MESSAGE"


def main(arguments: list[str]) -> int:
    """Fail if the tables and the migrations differ, or write a revision from the difference.

    Raises:
        SystemExit: the check fails, or the arguments are not valid.
    """
    with tempfile.TemporaryDirectory() as folder, run_embedded_postgres(Path(folder)) as url:
        migrate(url)
        try:
            match arguments:
                case ["check"]:
                    command.check(build_alembic_config(url))
                case ["revision", slug, message]:
                    write_revision(url, slug, message)
                case _:
                    sys.exit(USAGE)
        except CommandError as error:
            sys.exit(str(error))
    return 0


def write_revision(url: str, slug: str, message: str) -> None:
    """Write `migrations/versions/DATE_SLUG.py`, with the message as its docstring, and let ruff fix and format it."""
    config = build_alembic_config(url, PROJECT_FILE)
    config.set_main_option("file_template", f"%%(year)d_%%(month).2d_%%(day).2d_{slug}")
    command.revision(config, f"{message.rstrip('.')}.", autogenerate=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
