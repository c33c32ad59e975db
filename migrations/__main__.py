"""`python -m migrations check` and `revision SLUG`, on a database made for the moment; `releasing` without one."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from migrations.releasing import complaints
from server.embedded import embedded
from server.migrating import migrate, migrations


def main(arguments: list[str]) -> int:
    if arguments == ["releasing"]:
        if said := complaints(migrations()):
            sys.exit("\n".join(said))
        return 0
    with tempfile.TemporaryDirectory() as folder, embedded(Path(folder)) as url:
        migrate(url)
        try:
            match arguments:
                case ["check"]:
                    command.check(migrations(url))
                case ["revision", slug]:
                    command.revision(dated(migrations(url)), slug, autogenerate=True)
                case _:
                    sys.exit(f"usage: python -m migrations {__doc__}")
        except CommandError as error:
            sys.exit(str(error))
    return 0


def dated(config: Config) -> Config:
    """With a file name that begins with the day."""
    config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(slug)s")
    return config


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
