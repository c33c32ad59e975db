"""Migrations from inside the program: for the embedded database, the tests and `bookstore migrate`."""

from functools import cache
from importlib.resources import files

import asyncpg
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from alembic.util import CommandError
from sqlalchemy.exc import DBAPIError

from migrations.lock import LockLost
from persistence.postgres.connection import build_asyncpg_dsn
from persistence.postgres.multihost import connect_any
from persistence.postgres.read_session import DRIVER_ERRORS

CONNECT_TIMEOUT = 5  # seconds
MIN_POSTGRESQL_VERSION = 150_000
SCHEMA_OUTDATED = "The database is not at this version's tables: run `bookstore migrate`."
IS_REPLICA = (
    "{name} leads to a standby, which takes no writes: name the primary,"
    " or all hosts as in postgresql://user:password@/name?host=a&host=b&target_session_attrs=read-write."
)
WRONG_ENCODING = (
    "The database at {name} is in {encoding}, which has no place for most of the world's letters:"
    " make another with `createdb --encoding UTF8 --template template0 --locale C.UTF-8 NAME`."
)
MISSING_PRIVILEGES = (
    "The role at {name} lacks rights on {table}: make it the owner of the tables,"
    " or GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public to it (SELECT is enough for DATABASE_READ_URL)."
)
HAS_OUR_TABLES = "SELECT to_regclass('alembic_version') IS NOT NULL AND to_regclass('stock_movements') IS NOT NULL"
INVALID_URL = (
    "DATABASE_URL is not like postgresql://user:password@host:5432/name."
    " In a password, write / as %2F, @ as %40 and : as %3A."
)


def build_alembic_config(url: str | None = None) -> Config:
    config = Config()
    config.set_main_option("script_location", str(files("migrations")))
    config.attributes["url"] = url
    return config


def migrate(url: str) -> None:
    """Brings the tables to this version of the program. Whoever comes second waits and finds the work done."""
    command.upgrade(build_alembic_config(url), "head")


def try_migrate(url: str) -> str | None:
    """Migrates. What kept it from doing so, in a line; then the revision that failed has changed nothing."""
    try:
        migrate(url)
    except CommandError as error:
        return f"The tables are not of an earlier version of this program: {error}."
    except DBAPIError as error:
        return f"The database refused a change, so it was not made: {error.orig}."
    except TimeoutError:
        return "Somebody else has been migrating this database for ten minutes: try again when they are done."
    except LockLost:
        return "The connection that kept others from migrating was cut, so this one stopped: run `bookstore migrate` again."
    except DRIVER_ERRORS as error:  # before there was a change
        return f"The database refused a change, so it was not made: {error}."
    return None


async def check_database(url: str, setting: str = "DATABASE_URL") -> str | None:
    """What keeps the program from serving the database at this setting, in a line that says what to do."""
    try:
        connection = await connect_any(
            build_asyncpg_dsn(url), asyncpg.Connection, timeout=CONNECT_TIMEOUT, statement_cache_size=0
        )
    except (*DRIVER_ERRORS, ValueError, OverflowError) as error:
        return format_connection_error(error, setting)
    try:
        return await _check_connection(connection, setting)
    except asyncpg.InsufficientPrivilegeError:
        return MISSING_PRIVILEGES.format(name=setting, table="alembic_version")
    except DRIVER_ERRORS as error:
        return format_connection_error(error, setting)
    finally:
        await connection.close(timeout=1)


async def _check_connection(connection: asyncpg.Connection, setting: str) -> str | None:
    if int(await connection.fetchval("SHOW server_version_num")) < MIN_POSTGRESQL_VERSION:
        return "PostgreSQL must be 15 or later."
    if (encoding := await connection.fetchval("SHOW server_encoding")) != "UTF8":
        return WRONG_ENCODING.format(name=setting, encoding=encoding)
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return IS_REPLICA.format(name=setting)
    has_our_tables = await connection.fetchval(HAS_OUR_TABLES)
    revision = await connection.fetchval("SELECT version_num FROM alembic_version") if has_our_tables else None
    return SCHEMA_OUTDATED if revision in list_older_revisions() else None


def format_connection_error(error: Exception, setting: str) -> str:
    if isinstance(error, (ValueError, OverflowError)):  # whose messages can hold a piece of the password
        return INVALID_URL.replace("DATABASE_URL", setting)
    return f"The database cannot be reached: {str(error) or type(error).__name__}. Check {setting}."


@cache
def list_older_revisions() -> frozenset[str | None]:
    """Those before ours, and none at all. One that this version does not know is of a later one, which keeps what ours needs."""
    scripts = ScriptDirectory.from_config(build_alembic_config())
    head = scripts.get_current_head()
    return frozenset({None, *(script.revision for script in scripts.walk_revisions())} - {head})
