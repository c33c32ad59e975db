"""Check the database URLs before the shop opens; each problem is one line that says what to do."""

import asyncio
import secrets
from contextlib import suppress

import asyncpg

from persistence.postgres.connection import SESSION_SETTINGS, build_asyncpg_dsn, connect, connect_dedicated
from persistence.postgres.multihost import connect_any
from persistence.postgres.preflight import find_missing_privilege
from persistence.postgres.read_session import DRIVER_ERRORS
from persistence.postgres.server_identity import ServerIdentity, identify_server
from server.database.migrations import list_older_revisions
from server.messages import MISSING_PRIVILEGES, SCHEMA_OUTDATED
from server.settings import Settings

CONNECT_TIMEOUT = 5  # seconds
NOTIFY_TIMEOUT = 3  # seconds for a notification to arrive, which takes milliseconds
MIN_POSTGRESQL_VERSION = 150_000
PRIMARY_SETTING, REPLICA_SETTING, DIRECT_SETTING = "DATABASE_URL", "DATABASE_READ_URL", "DATABASE_DIRECT_URL"
HAS_OUR_TABLES = "SELECT to_regclass('alembic_version') IS NOT NULL AND to_regclass('stock_movements') IS NOT NULL"

INVALID_URL = (
    "{setting} must look like postgresql://user:password@host:5432/name."
    " In a password, write / as %2F, @ as %40 and : as %3A."
)
IS_REPLICA = (
    "{setting} leads to a read-only replica: name the primary,"
    " or all hosts as in postgresql://user:password@/name?host=a&host=b&target_session_attrs=read-write."
)
WRONG_ENCODING = (
    "The database at {setting} has the encoding {encoding}, which lacks most characters: create another one with"
    " `createdb --encoding UTF8 --template template0 --locale C.UTF-8 NAME`."
)
TRANSACTION_POOLER = (
    f"{{setting}} leads to a pooler in transaction mode: set PREPARED_STATEMENTS=false,"
    f" and {DIRECT_SETTING} to the URL of the database itself."
)
TRANSACTION_POOLER_AT_DIRECT_URL = (
    "{setting} leads to a pooler in transaction mode, but sending emails needs a session of its own:"
    f" set {DIRECT_SETTING} to the URL of the database itself, or run `bookstore worker` elsewhere."
)
READ_ONLY_DATABASE = (
    f"The database at {PRIMARY_SETTING} is read-only: default_transaction_read_only is on for it or for its role."
)
DIFFERENT_DATABASE = (
    f"{{setting}} leads to a different database than {PRIMARY_SETTING}, or to a copy that has diverged:"
    f" it must be the same database, or for {REPLICA_SETTING} a replica of it."
)
_POOLER_ERRORS = (
    asyncpg.ProtocolViolationError,  # an unknown start-up parameter
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
)


async def check_database_urls(settings: Settings, *, sends_email: bool = False) -> str | None:
    """Return what keeps the shop from using its database URLs, or `None`.

    With `sends_email` the URL of the email worker is checked for notifications, too.
    """
    assert settings.database_url is not None
    direct_url, setting = settings.database_direct_url or settings.database_url, PRIMARY_SETTING
    if settings.database_direct_url:
        setting = DIRECT_SETTING
    try:
        return (
            await check_database(direct_url, setting)
            or await _check_primary(settings)
            or (await _check_notifications(direct_url, setting) if sends_email else None)
            or await _check_replica(settings)
        )
    except (*DRIVER_ERRORS, ValueError) as error:
        return format_connection_error(error, PRIMARY_SETTING)


async def check_database(url: str, setting: str = PRIMARY_SETTING) -> str | None:
    """Return what keeps this version from using the database at a setting's URL, or `None`."""
    try:
        connection = await connect_any(
            build_asyncpg_dsn(url), asyncpg.Connection, timeout=CONNECT_TIMEOUT, statement_cache_size=0
        )
    except (*DRIVER_ERRORS, ValueError, OverflowError) as error:
        return format_connection_error(error, setting)
    try:
        return await _check_connection(connection, setting)
    except asyncpg.InsufficientPrivilegeError:
        return MISSING_PRIVILEGES.format(setting=setting, table="alembic_version")
    except DRIVER_ERRORS as error:
        return format_connection_error(error, setting)
    finally:
        await connection.close(timeout=1)


def format_connection_error(error: Exception, setting: str) -> str:
    """Return a message for a failed connection to the URL of a setting, without a part of its password."""
    if isinstance(error, (ValueError, OverflowError)):  # their messages can quote the password
        return INVALID_URL.format(setting=setting)
    return f"The database cannot be reached: {str(error) or type(error).__name__}. Check {setting}."


async def _check_connection(connection: asyncpg.Connection, setting: str) -> str | None:
    if int(await connection.fetchval("SHOW server_version_num")) < MIN_POSTGRESQL_VERSION:
        return "PostgreSQL must be 15 or later."
    if (encoding := await connection.fetchval("SHOW server_encoding")) != "UTF8":
        return WRONG_ENCODING.format(setting=setting, encoding=encoding)
    if await connection.fetchval("SELECT pg_is_in_recovery()"):
        return IS_REPLICA.format(setting=setting)
    has_our_tables = await connection.fetchval(HAS_OUR_TABLES)
    revision = await connection.fetchval("SELECT version_num FROM alembic_version") if has_our_tables else None
    return SCHEMA_OUTDATED if revision in list_older_revisions() else None


async def _check_primary(settings: Settings) -> str | None:
    assert settings.database_url is not None
    try:
        connection = await connect(settings.database_url, use_prepared_statements=settings.prepared_statements)
    except _POOLER_ERRORS as error:
        return _describe_pooler_error(error, settings)
    try:
        statement_timeout = await connection.fetchval("SHOW statement_timeout")
        if settings.prepared_statements and statement_timeout != SESSION_SETTINGS["statement_timeout"]:
            return TRANSACTION_POOLER.format(setting=PRIMARY_SETTING)
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            return IS_REPLICA.format(setting=PRIMARY_SETTING)
        if await connection.fetchval("SHOW transaction_read_only") == "on":
            return READ_ONLY_DATABASE
        if table := await find_missing_privilege(connection, needs_write=True):
            return MISSING_PRIVILEGES.format(setting=PRIMARY_SETTING, table=table)
        primary = await identify_server(connection)
    except _POOLER_ERRORS as error:
        return _describe_pooler_error(error, settings)
    finally:
        await connection.close(timeout=1)
    if settings.database_direct_url and not await _is_same_server(settings.database_direct_url, primary):
        return DIFFERENT_DATABASE.format(setting=DIRECT_SETTING)
    return None


async def _is_same_server(url: str, primary: ServerIdentity) -> bool:
    connection = await connect_any(build_asyncpg_dsn(url), asyncpg.Connection, timeout=CONNECT_TIMEOUT)
    try:
        return (await identify_server(connection)).is_same_server(primary)
    finally:
        connection.terminate()


async def _check_notifications(url: str, setting: str) -> str | None:
    """Check that one connection receives the notifications of another."""
    received, channel = asyncio.Event(), f"bookstore_{secrets.token_hex(8)}"
    connections: list[asyncpg.Connection] = []
    try:
        connections += [
            await connect_dedicated(url, "bookstore start"),
            await connect_dedicated(url, "bookstore start"),
        ]
        await connections[0].add_listener(channel, lambda *_: received.set())
        await connections[1].execute("SELECT pg_notify($1, '')", channel)
        async with asyncio.timeout(NOTIFY_TIMEOUT):
            await received.wait()
    except (*_POOLER_ERRORS, TimeoutError) as error:
        timed_out = isinstance(error, TimeoutError) and len(connections) > 1
        if timed_out or _is_pooler_error(error):
            return TRANSACTION_POOLER_AT_DIRECT_URL.format(setting=setting)
        return format_connection_error(error, setting)
    finally:
        for connection in connections:
            connection.terminate()
    return None


async def _check_replica(settings: Settings) -> str | None:
    """Check the replica, unless it does not respond: then the primary serves its reads."""
    if not settings.database_read_url or not settings.database_url:
        return None
    servers: list[ServerIdentity] = []
    table: str | None = None
    for url in (settings.database_url, settings.database_read_url):
        try:
            connection = await connect(url, use_prepared_statements=settings.prepared_statements)
        except ValueError:
            return INVALID_URL.format(setting=REPLICA_SETTING)
        except DRIVER_ERRORS as error:
            is_pooler_error = settings.prepared_statements and _is_pooler_error(error)
            return TRANSACTION_POOLER.format(setting=REPLICA_SETTING) if is_pooler_error else None
        with suppress(*DRIVER_ERRORS):
            servers.append(await identify_server(connection))
            table = await find_missing_privilege(connection, needs_write=False)
        connection.terminate()
    if len(servers) > 1:
        primary, replica = servers
        # a replica on an older timeline may follow the new primary in a moment
        if not replica.is_valid_replica_of(primary) and not replica.is_on_older_timeline_than(primary):
            return DIFFERENT_DATABASE.format(setting=REPLICA_SETTING)
    return MISSING_PRIVILEGES.format(setting=REPLICA_SETTING, table=table) if table else None


def _describe_pooler_error(error: Exception, settings: Settings) -> str:
    if settings.prepared_statements and _is_pooler_error(error):
        return TRANSACTION_POOLER.format(setting=PRIMARY_SETTING)
    return format_connection_error(error, PRIMARY_SETTING)


def _is_pooler_error(error: Exception) -> bool:
    """Tell whether a pooler in transaction mode is the cause: PgBouncer reports all its errors as 08P01."""
    if isinstance(error, asyncpg.ProtocolViolationError):
        return "startup parameter" in str(error)
    return isinstance(error, _POOLER_ERRORS)
