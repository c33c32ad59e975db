"""`python -m migrations check` and `revision SLUG`, on a database made for the moment."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from server.embedded import embedded
from server.migrating import migrate, migrations


def dated(url: str) -> Config:
    """As the `alembic` command has it, with the day in the name of a new file."""
    config = Config(toml_file="pyproject.toml")
    config.attributes["url"] = url
    return config


def main(arguments: list[str]) -> int:
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder)) as url:
        migrate(url)
        try:
            match arguments:
                case ["check"]:
                    command.check(migrations(url))
                case ["revision", slug]:
                    command.revision(dated(url), slug, autogenerate=True)
                case _:
                    sys.exit(f"usage: python -m migrations {__doc__}")
        except CommandError as error:
            sys.exit(str(error))
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
