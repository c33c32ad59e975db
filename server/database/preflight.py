"""Whether the addresses of PostgreSQL lead where they should: looked at before the shop opens, each fault a line that says what to do."""

import asyncio
import secrets
from contextlib import suppress

import asyncpg

from persistence.postgres.connection import SESSION_SETTINGS, build_asyncpg_dsn, connect, connect_dedicated
from persistence.postgres.multihost import connect_any
from persistence.postgres.privileges import find_missing_privilege
from persistence.postgres.read_session import DRIVER_ERRORS
from persistence.postgres.server_identity import ServerIdentity, identify_server
from server.database.migrations import (
    CONNECT_TIMEOUT,
    INVALID_URL,
    IS_REPLICA,
    MISSING_PRIVILEGES,
    check_database,
    format_connection_error,
)
from server.settings import Settings

PRIMARY_SETTING, REPLICA_SETTING, DIRECT_SETTING = "DATABASE_URL", "DATABASE_READ_URL", "DATABASE_DIRECT_URL"
NOTIFY_TIMEOUT = 3  # seconds for a notice to come through; it takes milliseconds
TRANSACTION_POOLER = (
    f"{PRIMARY_SETTING} leads through a pooler that has another session for each transaction:"
    f" set PREPARED_STATEMENTS=false, and {DIRECT_SETTING} to the address past it."
)
TRANSACTION_POOLER_AT_DIRECT_URL = (
    "{name} leads through a pooler that has another session for each transaction, and letters need one that lasts:"
    f" set {DIRECT_SETTING} to the address past it, or leave the letters to `bookstore worker` elsewhere."
)
READ_ONLY_DATABASE = (
    f"The database at {PRIMARY_SETTING} takes no writes: default_transaction_read_only is on for it or for its user."
)
DIFFERENT_DATABASE = (
    f"{{name}} leads to another database than {PRIMARY_SETTING}, or to a copy that goes its own way:"
    f" it must be the same one, or for {REPLICA_SETTING} a standby of it."
)
_POOLER_ERRORS = (
    asyncpg.ProtocolViolationError,  # a start-up parameter that it does not know
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
)


def _is_pooler_error(error: Exception) -> bool:
    """Not whatever else a pooler says, of which nothing but its words tells it: 08P01 is all that PgBouncer ever raises."""
    is_candidate = isinstance(error, _POOLER_ERRORS)
    return is_candidate and (not isinstance(error, asyncpg.ProtocolViolationError) or "startup parameter" in str(error))


async def check_database_urls(settings: Settings, *, sends_email: bool = False) -> str | None:
    """What keeps the shop from serving with these addresses; `posts` where it will post letters, too."""
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


async def _check_primary(settings: Settings) -> str | None:
    assert settings.database_url is not None
    try:
        connection = await connect(settings.database_url, use_prepared_statements=settings.prepared_statements)
    except _POOLER_ERRORS as error:
        return _describe_pooler_error(error, settings)
    try:
        statement_timeout = await connection.fetchval("SHOW statement_timeout")
        if settings.prepared_statements and statement_timeout != SESSION_SETTINGS["statement_timeout"]:
            return TRANSACTION_POOLER
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            return IS_REPLICA.format(name=PRIMARY_SETTING)
        if await connection.fetchval("SHOW transaction_read_only") == "on":
            return READ_ONLY_DATABASE
        if table := await find_missing_privilege(connection, needs_write=True):
            return MISSING_PRIVILEGES.format(name=PRIMARY_SETTING, table=table)
        primary = await identify_server(connection)
    except _POOLER_ERRORS as error:
        return _describe_pooler_error(error, settings)
    finally:
        await connection.close(timeout=1)
    if settings.database_direct_url:
        direct_connection = await connect_any(
            build_asyncpg_dsn(settings.database_direct_url), asyncpg.Connection, timeout=CONNECT_TIMEOUT
        )
        try:
            direct = await identify_server(direct_connection)
        finally:
            direct_connection.terminate()
        if not direct.is_same_server(primary):
            return DIFFERENT_DATABASE.format(name=DIRECT_SETTING)
    return None


def _describe_pooler_error(error: Exception, settings: Settings) -> str:
    is_pooler_error = settings.prepared_statements and _is_pooler_error(error)
    return TRANSACTION_POOLER if is_pooler_error else format_connection_error(error, PRIMARY_SETTING)


async def _check_notifications(url: str, setting: str) -> str | None:
    """Whether what is said on one connection is heard on another."""
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
            return TRANSACTION_POOLER_AT_DIRECT_URL.format(name=setting)
        return format_connection_error(error, setting)
    finally:
        for connection in connections:
            connection.terminate()
    return None


async def _check_replica(settings: Settings) -> str | None:
    """A standby that does not answer is none: the primary takes its place."""
    if not settings.database_read_url or not settings.database_url:
        return None
    servers: list[ServerIdentity] = []
    table: str | None = None
    for url in (settings.database_url, settings.database_read_url):
        try:
            connection = await connect(url, use_prepared_statements=settings.prepared_statements)
        except ValueError:
            return INVALID_URL.replace(PRIMARY_SETTING, REPLICA_SETTING)
        except DRIVER_ERRORS as error:
            is_pooler_error = settings.prepared_statements and _is_pooler_error(error)
            return TRANSACTION_POOLER.replace(PRIMARY_SETTING, REPLICA_SETTING) if is_pooler_error else None
        with suppress(*DRIVER_ERRORS):
            servers.append(await identify_server(connection))
            table = await find_missing_privilege(connection, needs_write=False)
        connection.terminate()
    if len(servers) > 1:
        primary, replica = servers
        if not replica.is_valid_replica_of(primary) and not replica.is_on_older_timeline_than(
            primary
        ):  # which may change in a moment
            return DIFFERENT_DATABASE.format(name=REPLICA_SETTING)
    return MISSING_PRIVILEGES.format(name=REPLICA_SETTING, table=table) if table else None
