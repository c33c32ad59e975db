"""Whether the addresses of PostgreSQL lead where they should: looked at before the shop opens, each fault a line that says what to do."""

import asyncio
import secrets
from contextlib import suppress

import asyncpg

from persistence.connecting import SESSION_SETTINGS, connect, connect_directly, driver_address
from persistence.hosts import connect_to_one
from persistence.lineage import Server, server_at
from persistence.reading import DRIVER_ERRORS
from persistence.rights import lacking_at
from server.migrating import NO_ADDRESS, NO_RIGHTS, STANDBY, TIMEOUT, problem_with, unreachable
from server.settings import Settings

WRITES, READS, DIRECT = "DATABASE_URL", "DATABASE_READ_URL", "DATABASE_DIRECT_URL"
HEARING = 3  # seconds for a notice to come through; it takes milliseconds
POOLED = (
    f"{WRITES} leads through a pooler that has another session for each transaction:"
    f" set PREPARED_STATEMENTS=false, and {DIRECT} to the address past it."
)
POOLED_DIRECTLY = (
    "{name} leads through a pooler that has another session for each transaction, and letters need one that lasts:"
    f" set {DIRECT} to the address past it, or leave the letters to `bookstore worker` elsewhere."
)
TAKES_NO_WRITES = (
    f"The database at {WRITES} takes no writes: default_transaction_read_only is on for it or for its user."
)
ELSEWHERE = (
    f"{{name}} leads to another database than {WRITES}, or to a copy that goes its own way:"
    f" it must be the same one, or for {READS} a standby of it."
)
_POOLER_ERRORS = (
    asyncpg.ProtocolViolationError,  # a start-up parameter that it does not know
    asyncpg.DuplicatePreparedStatementError,
    asyncpg.InvalidSQLStatementNameError,
)


def _is_for_want_of_a_session(error: Exception) -> bool:
    """Not whatever else a pooler says, of which nothing but its words tells it: 08P01 is all that PgBouncer ever raises."""
    is_pooler = isinstance(error, _POOLER_ERRORS)
    return is_pooler and (not isinstance(error, asyncpg.ProtocolViolationError) or "startup parameter" in str(error))


async def problem_among(settings: Settings, *, posts: bool = False) -> str | None:
    """What keeps the shop from serving with these addresses; `posts` where it will post letters, too."""
    assert settings.database_url is not None
    direct, name = settings.database_direct_url or settings.database_url, WRITES
    if settings.database_direct_url:
        name = DIRECT
    try:
        return (
            await problem_with(direct, name)
            or await _problem_with_writes(settings)
            or (await _problem_with_listening(direct, name) if posts else None)
            or await _problem_with_reads(settings)
        )
    except (*DRIVER_ERRORS, ValueError) as error:
        return unreachable(error, WRITES)


async def _problem_with_writes(settings: Settings) -> str | None:
    assert settings.database_url is not None
    try:
        connection = await connect(settings.database_url, prepared=settings.prepared_statements)
    except _POOLER_ERRORS as error:
        return _told_by_a_pooler(error, settings)
    try:
        limit = await connection.fetchval("SHOW statement_timeout")
        if settings.prepared_statements and limit != SESSION_SETTINGS["statement_timeout"]:
            return POOLED
        if await connection.fetchval("SELECT pg_is_in_recovery()"):
            return STANDBY.format(name=WRITES)
        if await connection.fetchval("SHOW transaction_read_only") == "on":
            return TAKES_NO_WRITES
        if table := await lacking_at(connection, writes=True):
            return NO_RIGHTS.format(name=WRITES, table=table)
        ours = await server_at(connection)
    except _POOLER_ERRORS as error:
        return _told_by_a_pooler(error, settings)
    finally:
        await connection.close(timeout=1)
    if settings.database_direct_url:
        directly = await connect_to_one(
            driver_address(settings.database_direct_url), asyncpg.Connection, within=TIMEOUT
        )
        try:
            theirs = await server_at(directly)
        finally:
            directly.terminate()
        if not theirs.is_same(ours):
            return ELSEWHERE.format(name=DIRECT)
    return None


def _told_by_a_pooler(error: Exception, settings: Settings) -> str:
    is_news = settings.prepared_statements and _is_for_want_of_a_session(error)
    return POOLED if is_news else unreachable(error, WRITES)


async def _problem_with_listening(url: str, name: str) -> str | None:
    """Whether what is said on one connection is heard on another."""
    heard, channel = asyncio.Event(), f"bookstore_{secrets.token_hex(8)}"
    connections: list[asyncpg.Connection] = []
    try:
        connections += [await connect_directly(url, "bookstore start"), await connect_directly(url, "bookstore start")]
        await connections[0].add_listener(channel, lambda *_: heard.set())
        await connections[1].execute("SELECT pg_notify($1, '')", channel)
        async with asyncio.timeout(HEARING):
            await heard.wait()
    except (*_POOLER_ERRORS, TimeoutError) as error:
        is_silence = isinstance(error, TimeoutError) and len(connections) > 1
        if is_silence or _is_for_want_of_a_session(error):
            return POOLED_DIRECTLY.format(name=name)
        return unreachable(error, name)
    finally:
        for connection in connections:
            connection.terminate()
    return None


async def _problem_with_reads(settings: Settings) -> str | None:
    """A standby that does not answer is none: the primary takes its place."""
    if not settings.database_read_url or not settings.database_url:
        return None
    servers: list[Server] = []
    table: str | None = None
    for url in (settings.database_url, settings.database_read_url):
        try:
            connection = await connect(url, prepared=settings.prepared_statements)
        except ValueError:
            return NO_ADDRESS.replace(WRITES, READS)
        except DRIVER_ERRORS as error:
            is_news = settings.prepared_statements and _is_for_want_of_a_session(error)
            return POOLED.replace(WRITES, READS) if is_news else None
        with suppress(*DRIVER_ERRORS):
            servers.append(await server_at(connection))
            table = await lacking_at(connection, writes=False)
        connection.terminate()
    if len(servers) > 1:
        primary, there = servers
        if not there.stands_for(primary) and not there.is_behind(primary):  # which may change in a moment
            return ELSEWHERE.format(name=READS)
    return NO_RIGHTS.format(name=READS, table=table) if table else None
