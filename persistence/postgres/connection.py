"""Opening connections to PostgreSQL, with the settings of a session, or of each transaction behind PgBouncer."""

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from persistence.postgres.multihost import connect_any
from persistence.postgres.pgbouncer import PgBouncerConnection, build_begin_statement
from persistence.postgres.pool import PoolConnection

SESSION_SETTINGS = {
    "application_name": "bookstore",
    "timezone": "UTC",
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "15s",
    "pg_trgm.word_similarity_threshold": "0.5",  # also finds swapped letters
}
READ_ONLY_SETTINGS = {"default_transaction_read_only": "on"}
KEEPALIVE_SETTINGS = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
POOLER_PARAMETERS = ("application_name", "timezone")
"""Start-up parameters that PgBouncer accepts and keeps for the client."""
CONNECT_TIMEOUT = 3  # seconds, shared by all hosts of a URL
COMMAND_TIMEOUT = 8  # seconds, for a server that stopped responding; otherwise statement_timeout comes first
STATEMENT_CACHE_SIZE = 100
"""Prepared statements per connection. Each takes about 0.1 MB in PostgreSQL, and documents decide how many there are."""
_TARGET_SESSION_ATTRS = {"read-write": SessionAttribute.primary, "read-only": SessionAttribute.standby}
"""asyncpg takes a read-only session for a replica, so these values of libpq are mapped to the server's role."""


def build_asyncpg_dsn(url: str) -> str:
    """Convert a database URL to a DSN for asyncpg, with all hosts, `sslmode` and `target_session_attrs`.

    SQLAlchemy repeats `host=` for several hosts; asyncpg would keep the last only.
    """
    base_url, _, query = url.replace("postgresql+asyncpg://", "postgresql://", 1).partition("?")
    parameters = query.split("&") if query else []
    hosts = [part.removeprefix("host=") for part in parameters if part.startswith("host=")]
    if len(hosts) > 1:
        parameters = [f"host={','.join(hosts)}", *(part for part in parameters if not part.startswith("host="))]
    return "?".join([base_url, *filter(None, ["&".join(parameters)])])


class AccessDenied(asyncpg.InterfaceError):
    """The role may not connect to this database. In a statement, the same SQLSTATE is an internal error."""


async def connect(
    url: str,
    *,
    use_prepared_statements: bool = True,
    read_only: bool = False,
    probe: bool = False,
    timeout: float | None = None,
    **settings: str,
) -> PoolConnection:
    """Open a connection for a pool.

    Args:
        url: The database URL.
        use_prepared_statements: False behind PgBouncer; settings are then sent with each transaction.
        read_only: Open a session that cannot write.
        probe: Also connect to a server that does not accept writes, to examine it.
        timeout: Seconds, if less than `CONNECT_TIMEOUT`.
        **settings: PostgreSQL settings of the session.

    Raises:
        AccessDenied: The role may not connect.
    """
    dsn, session_settings = build_asyncpg_dsn(url), {**SESSION_SETTINGS, **settings}
    connect_timeout = min(CONNECT_TIMEOUT, timeout or CONNECT_TIMEOUT)
    target_session_attrs = _get_target_session_attrs(dsn) if read_only or probe else None
    try:
        if not use_prepared_statements:
            return await _connect_to_pgbouncer(dsn, session_settings, read_only=read_only, timeout=connect_timeout)
        return await connect_any(
            dsn,
            PoolConnection,
            target_session_attrs=target_session_attrs,
            timeout=connect_timeout,
            command_timeout=COMMAND_TIMEOUT,
            statement_cache_size=STATEMENT_CACHE_SIZE,
            server_settings={**session_settings, **READ_ONLY_SETTINGS} if read_only else session_settings,
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise AccessDenied(str(error)) from error


async def _connect_to_pgbouncer(
    dsn: str, session_settings: Mapping[str, str], *, read_only: bool, timeout: float
) -> PgBouncerConnection:
    connection = await connect_any(
        dsn,
        PgBouncerConnection,
        timeout=timeout,
        command_timeout=COMMAND_TIMEOUT,
        statement_cache_size=0,
        server_settings={name: session_settings[name] for name in POOLER_PARAMETERS},
    )
    connection.begin_statement = build_begin_statement(_get_local_settings(session_settings), read_only=read_only)
    return connection


async def connect_dedicated(url: str, application_name: str) -> asyncpg.Connection:
    """Open a long-lived connection outside the pools, such as for LISTEN; the caller closes it.

    TCP keepalives let PostgreSQL detect a dead client within seconds.
    """
    return await connect_any(
        build_asyncpg_dsn(url),
        asyncpg.Connection,
        timeout=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        server_settings={**SESSION_SETTINGS, "application_name": application_name, **KEEPALIVE_SETTINGS},
    )


def _get_target_session_attrs(dsn: str) -> SessionAttribute | None:
    """Return the server role that a DSN asks for, or `None` to leave it to asyncpg."""
    [*_, value] = parse_qs(urlsplit(dsn).query).get("target_session_attrs", [""])
    return _TARGET_SESSION_ATTRS.get(value)


def _get_local_settings(session_settings: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in session_settings.items() if name not in (*POOLER_PARAMETERS, "plan_cache_mode")
    }
