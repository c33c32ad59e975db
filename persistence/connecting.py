"""How PostgreSQL is connected to: what is agreed on when a connection is opened, and in each transaction behind a pooler."""

from collections.abc import Mapping
from urllib.parse import parse_qs, urlsplit

import asyncpg
from asyncpg.connect_utils import SessionAttribute

from persistence.hosts import connect_to_one
from persistence.lending import LentConnection
from persistence.pooled import PooledConnection, beginning

SESSION_SETTINGS = {
    "application_name": "bookstore",
    "timezone": "UTC",
    "statement_timeout": "5s",
    "lock_timeout": "3s",
    "idle_in_transaction_session_timeout": "15s",
    "pg_trgm.word_similarity_threshold": "0.5",  # finds letters that changed places, too
}
READ_ONLY = {"default_transaction_read_only": "on"}
KEEPALIVES = {"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"}
LET_THROUGH = ("application_name", "timezone")
"""What PgBouncer takes when a connection is opened, and keeps for it."""
CONNECT_TIMEOUT = 3  # seconds, which the hosts of an address share
COMMAND_TIMEOUT = 8  # seconds, for a server that no longer answers; statement_timeout comes first when it does
MOST_PLANS = 100
"""Of a connection. Each takes a tenth of a megabyte in PostgreSQL, and documents decide how many there could be."""
_SAME_HOSTS = {"read-write": SessionAttribute.primary, "read-only": SessionAttribute.standby}
"""asyncpg takes a session that is told to read only for one on a host that can do nothing else."""


def driver_address(url: str) -> str:
    """The address as asyncpg reads it, several hosts, `sslmode` and `target_session_attrs` included.

    Of hosts that are named one by one, as SQLAlchemy has it, it would know the last alone.
    """
    place, _, query = url.replace("postgresql+asyncpg://", "postgresql://", 1).partition("?")
    told = query.split("&") if query else []
    hosts = [part.removeprefix("host=") for part in told if part.startswith("host=")]
    if len(hosts) > 1:
        told = [f"host={','.join(hosts)}", *(part for part in told if not part.startswith("host="))]
    return "?".join([place, *filter(None, ["&".join(told)])])


class NotLetIn(asyncpg.InterfaceError):
    """The role may not connect to this database, or not any more; of a statement, the same code would tell a fault of ours."""


async def connect(
    url: str,
    *,
    prepared: bool = True,
    read_only: bool = False,
    looks: bool = False,
    within: float | None = None,
    **settings: str,
) -> LentConnection:
    """One for a pool; what is agreed on holds until it is closed, or where nothing is prepared in each transaction anew.

    Whoever only `looks` whether it takes writes must get there when it does not. `within` are seconds, where whoever waits
    for it has fewer than usual.
    """
    address, session = driver_address(url), {**SESSION_SETTINGS, **settings}
    seconds = min(CONNECT_TIMEOUT, within or CONNECT_TIMEOUT)
    wanted = _same_hosts(address) if read_only or looks else None
    try:
        if not prepared:
            return await _connect_to_pooler(address, session, read_only=read_only, within=seconds)
        return await connect_to_one(
            address,
            LentConnection,
            wanted=wanted,
            within=seconds,
            command_timeout=COMMAND_TIMEOUT,
            statement_cache_size=MOST_PLANS,
            server_settings={**session, **READ_ONLY} if read_only else session,
        )
    except asyncpg.InsufficientPrivilegeError as error:
        raise NotLetIn(str(error)) from error


async def _connect_to_pooler(
    address: str, session: Mapping[str, str], *, read_only: bool, within: float
) -> PooledConnection:
    connection = await connect_to_one(
        address,
        PooledConnection,
        within=within,
        command_timeout=COMMAND_TIMEOUT,
        statement_cache_size=0,
        server_settings={name: session[name] for name in LET_THROUGH},
    )
    connection.begin = beginning(_local(session), read_only=read_only)
    return connection


async def connect_directly(url: str, name: str) -> asyncpg.Connection:
    """One beside the pools, for whoever listens on it for long; the caller closes it.

    PostgreSQL looks every few seconds whether somebody is still at the other end.
    """
    return await connect_to_one(
        driver_address(url),
        asyncpg.Connection,
        within=CONNECT_TIMEOUT,
        command_timeout=COMMAND_TIMEOUT,
        server_settings={**SESSION_SETTINGS, "application_name": name, **KEEPALIVES},
    )


def _same_hosts(address: str) -> SessionAttribute | None:
    """`None` where it is as the address says."""
    [*_, told] = parse_qs(urlsplit(address).query).get("target_session_attrs", [""])
    return _SAME_HOSTS.get(told)


def _local(session: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in session.items() if name not in (*LET_THROUGH, "plan_cache_mode")}
