"""Opens connections to PostgreSQL with the shop's session settings."""

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
    "pg_trgm.word_similarity_threshold": "0.5",  # low enough to match swapped letters
}
READ_ONLY_SETTINGS = {"default_transaction_read_only": "on"}
KEEPALIVE_SETTINGS = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
POOLER_PARAMETERS = ("application_name", "timezone")
"""The settings that PgBouncer tracks per client. The others are set in each transaction."""
CONNECT_TIMEOUT = 3  # seconds, shared by the hosts of a URL
COMMAND_TIMEOUT = 8  # seconds, for a server that does not respond; otherwise statement_timeout is shorter
STATEMENT_CACHE_SIZE = 100
"""Per connection. A statement takes 0.1 MB in PostgreSQL, and clients' documents determine how many exist."""
_TARGET_SESSION_ATTRS = {"read-write": SessionAttribute.primary, "read-only": SessionAttribute.standby}
"""asyncpg mistakes a session with `default_transaction_read_only` for one on a replica, so it checks for a replica instead."""


def build_asyncpg_dsn(url: str) -> str:
    """Convert a SQLAlchemy URL to a DSN for asyncpg.

    Repeated `host` parameters become one comma-separated list: asyncpg would use only the last of them.
    """
    base_url, _, query = url.replace("postgresql+asyncpg://", "postgresql://", 1).partition("?")
    parameters = query.split("&") if query else []
    hosts = [part.removeprefix("host=") for part in parameters if part.startswith("host=")]
    if len(hosts) > 1:
        parameters = [f"host={','.join(hosts)}", *(part for part in parameters if not part.startswith("host="))]
    return "?".join([base_url, *filter(None, ["&".join(parameters)])])


class AccessDenied(asyncpg.InterfaceError):
    """The role may not connect to this database. On a statement, the same SQLSTATE would be an internal error."""


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

    The settings apply to the session, or without `use_prepared_statements` to each transaction. A `probe` also connects
    to servers that refuse writes. `timeout` is in seconds and shortens `CONNECT_TIMEOUT`.

    Raises:
        AccessDenied: The role may not connect to the database. Other driver errors and `OSError` pass through.
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
    """Open a long-lived connection outside the pools. The caller closes it.

    TCP keepalives let PostgreSQL notice within 25 seconds that the client is gone.
    """
    return await connect_any(
        build_asyncpg_dsn(url),
        asyncpg.Connection,
        timeout=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        server_settings={**SESSION_SETTINGS, "application_name": application_name, **KEEPALIVE_SETTINGS},
    )


def _get_target_session_attrs(dsn: str) -> SessionAttribute | None:
    """Return the attribute that replaces the one in the DSN, or `None` to keep it."""
    [*_, value] = parse_qs(urlsplit(dsn).query).get("target_session_attrs", [""])
    return _TARGET_SESSION_ATTRS.get(value)


def _get_local_settings(session_settings: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in session_settings.items() if name not in (*POOLER_PARAMETERS, "plan_cache_mode")
    }
