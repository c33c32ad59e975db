"""Run the migrations from Python: for the embedded database, `bookstore migrate` and the tests."""

from functools import cache
from importlib.resources import files
from pathlib import Path

from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from migrations.lock import LockLost
from persistence.postgres.read_session import DRIVER_ERRORS


def build_alembic_config(url: str | None = None, project_file: Path | None = None) -> Config:
    """Return a configuration for a database, with the further options of a pyproject.toml if given."""
    config = Config(toml_file=project_file)
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["url"] = url
    return config


def migrate(url: str) -> None:
    """Migrate the database to this version. Concurrent callers wait for the first one and then change nothing."""
    command.upgrade(build_alembic_config(url), "head")


def try_migrate(url: str) -> str | None:
    """Migrate the database, and return a one-line message if that fails. A failed revision changes nothing."""
    try:
        migrate(url)
    except CommandError as error:
        return f"The tables do not belong to an earlier version of this program: {error}."
    except DBAPIError as error:
        return f"The database rejected a migration, so nothing was changed: {error.orig}."
    except TimeoutError:
        return "Another process has been migrating this database for ten minutes: try again when it has finished."
    except LockLost:
        return "The connection that held the migration lock was lost, so the migration stopped: run `bookstore migrate` again."
    except DRIVER_ERRORS as error:  # before the first change
        return f"The database rejected a migration, so nothing was changed: {error}."
    return None


@cache
def list_older_revisions() -> frozenset[str | None]:
    """Return all revisions before this version's, and `None` for a database without tables.

    A revision that is not in the history belongs to a later version, whose schema keeps what this version needs.
    """
    scripts = ScriptDirectory.from_config(build_alembic_config())
    head = scripts.get_current_head()
    return frozenset({None, *(script.revision for script in scripts.walk_revisions())} - {head})
