"""How PostgreSQL is connected to: what is agreed on when a connection is opened, and in each transaction behind a pooler."""

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
    "pg_trgm.word_similarity_threshold": "0.5",  # finds letters that changed places, too
}
READ_ONLY_SETTINGS = {"default_transaction_read_only": "on"}
KEEPALIVE_SETTINGS = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
POOLER_PARAMETERS = ("application_name", "timezone")
"""What PgBouncer takes when a connection is opened, and keeps for it."""
CONNECT_TIMEOUT = 3  # seconds, which the hosts of an address share
COMMAND_TIMEOUT = 8  # seconds, for a server that no longer answers; statement_timeout comes first when it does
STATEMENT_CACHE_SIZE = 100
"""Of a connection. Each takes a tenth of a megabyte in PostgreSQL, and documents decide how many there could be."""
_TARGET_SESSION_ATTRS = {"read-write": SessionAttribute.primary, "read-only": SessionAttribute.standby}
"""asyncpg takes a session that is told to read only for one on a host that can do nothing else."""


def build_asyncpg_dsn(url: str) -> str:
    """The address as asyncpg reads it, several hosts, `sslmode` and `target_session_attrs` included.

    Of hosts that are named one by one, as SQLAlchemy has it, it would know the last alone.
    """
    base_url, _, query = url.replace("postgresql+asyncpg://", "postgresql://", 1).partition("?")
    parameters = query.split("&") if query else []
    hosts = [part.removeprefix("host=") for part in parameters if part.startswith("host=")]
    if len(hosts) > 1:
        parameters = [f"host={','.join(hosts)}", *(part for part in parameters if not part.startswith("host="))]
    return "?".join([base_url, *filter(None, ["&".join(parameters)])])


class AccessDenied(asyncpg.InterfaceError):
    """The role may not connect to this database, or not any more; of a statement, the same code would tell a fault of ours."""


async def connect(
    url: str,
    *,
    use_prepared_statements: bool = True,
    read_only: bool = False,
    probe: bool = False,
    timeout: float | None = None,
    **settings: str,
) -> PoolConnection:
    """One for a pool; what is agreed on holds until it is closed, or where nothing is prepared in each transaction anew.

    Whoever only `looks` whether it takes writes must get there when it does not. `within` are seconds, where whoever waits
    for it has fewer than usual.
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
    """One beside the pools, for whoever listens on it for long; the caller closes it.

    PostgreSQL looks every few seconds whether somebody is still at the other end.
    """
    return await connect_any(
        build_asyncpg_dsn(url),
        asyncpg.Connection,
        timeout=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        server_settings={**SESSION_SETTINGS, "application_name": application_name, **KEEPALIVE_SETTINGS},
    )


def _get_target_session_attrs(dsn: str) -> SessionAttribute | None:
    """`None` where it is as the address says."""
    [*_, value] = parse_qs(urlsplit(dsn).query).get("target_session_attrs", [""])
    return _TARGET_SESSION_ATTRS.get(value)


def _get_local_settings(session_settings: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value for name, value in session_settings.items() if name not in (*POOLER_PARAMETERS, "plan_cache_mode")
    }
