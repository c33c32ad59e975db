"""`python -m migrations check` and `revision SLUG`, on a database made for the moment; `releasing` without one."""

import sys
import tempfile
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.util import CommandError

from migrations.releasing import lint_revisions
from server.database.embedded import run_embedded_postgres
from server.database.migrations import build_alembic_config, migrate


def main(arguments: list[str]) -> int:
    if arguments == ["releasing"]:
        if violations := lint_revisions(build_alembic_config()):
            sys.exit("\n".join(violations))
        return 0
    with tempfile.TemporaryDirectory() as folder, run_embedded_postgres(Path(folder)) as url:
        migrate(url)
        try:
            match arguments:
                case ["check"]:
                    command.check(build_alembic_config(url))
                case ["revision", slug]:
                    command.revision(use_dated_file_names(build_alembic_config(url)), slug, autogenerate=True)
                case _:
                    sys.exit(f"usage: python -m migrations {__doc__}")
        except CommandError as error:
            sys.exit(str(error))
    return 0


def use_dated_file_names(config: Config) -> Config:
    """With a file name that begins with the day."""
    config.set_main_option("file_template", "%%(year)d_%%(month).2d_%%(day).2d_%%(slug)s")
    return config


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
