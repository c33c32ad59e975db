"""Reads from replicas, with the primary as fallback while no replica responds; `Context.read_session` chooses them."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

import asyncpg
import structlog

from persistence.postgres.connection import connect
from persistence.postgres.errors import Unavailable
from persistence.postgres.pool import ConnectionLost, ConnectionPool, PoolConnection, PoolTimeout
from persistence.postgres.read_session import DRIVER_ERRORS, ReadSession
from persistence.postgres.server_identity import ServerIdentity, identify_server
from persistence.postgres.statements import Query

Connect = Callable[..., Awaitable[PoolConnection]]

log = structlog.get_logger()

PROBE_INTERVAL = 5.0  # seconds between probes while no replica responds
PROBE_TIMEOUT = 2.0  # seconds
REPLICA_CONNECTION_TTL = 300.0  # seconds; a pooler may silently lead elsewhere later
PRIMARY_CONNECTION_TTL = 30.0  # seconds; a replica may be available again
PRIMARY_IDENTITY_TTL = 30.0  # seconds; a failover may have replaced the primary
UNVERIFIED_TTL = 5.0  # seconds for a server that may be a valid replica, while the primary is unreachable
NO_REPLICA_RESPONDS = "no replica responds at DATABASE_READ_URL"
NOT_A_VALID_REPLICA = "DATABASE_READ_URL leads to a server that is not a replica of DATABASE_URL"
REPLICA_STATEMENTS_FAIL = "statements fail at DATABASE_READ_URL"
FAILURE_THRESHOLD = 10  # consecutive failed statements; a lost connection or a pending migration causes only a few
QUERY_CANCELED = "57014"


class NoReplica(Exception):
    """No server responds at the URL, or the server is not a valid replica of the primary."""


class ReplicaConnector:
    """Opens connections to the primary or its replicas; rejects copies that have diverged from it."""

    def __init__(
        self,
        url: str,
        connect_to_primary: Callable[[], Awaitable[PoolConnection]],
        *,
        use_prepared_statements: bool,
        timeout: float,
    ) -> None:
        self._connect: Connect = partial(
            connect, url, use_prepared_statements=use_prepared_statements, timeout=timeout, read_only=True
        )
        self._connect_to_primary, self._primary_timeout = connect_to_primary, timeout / 2
        self._primary: ServerIdentity | None = None
        self._retry_primary_at = self._identity_valid_until = 0.0

    async def connect(self, **settings: str) -> PoolConnection:
        """Return a connection to a valid replica or the primary.

        Raises:
            NoReplica: No server responds, or the server is not a valid replica.
        """
        try:
            connection = await self._connect(**settings)
            try:
                server = await identify_server(connection)
                ttl = await self._get_connection_ttl(server)
            except BaseException:
                connection.terminate()
                raise
        except (*DRIVER_ERRORS, ValueError) as error:
            raise NoReplica(NO_REPLICA_RESPONDS) from error
        if ttl is None:
            connection.terminate()
            raise NoReplica(NOT_A_VALID_REPLICA)
        connection.was_on_replica = server.is_replica
        connection.expires_at = asyncio.get_running_loop().time() + ttl
        return connection

    async def refresh_primary_identity(self) -> bool:
        """Read the identity of the primary, which decides what a valid replica is; return whether it responded."""
        clock = asyncio.get_running_loop().time
        if clock() < self._retry_primary_at:
            return False
        try:
            async with asyncio.timeout(self._primary_timeout):
                connection = await self._connect_to_primary()
                try:
                    self._primary = await identify_server(connection)
                finally:
                    connection.terminate()
        except (*DRIVER_ERRORS, ValueError):
            self._retry_primary_at = clock() + UNVERIFIED_TTL
            return False
        self._identity_valid_until = clock() + PRIMARY_IDENTITY_TTL
        return True

    async def _get_connection_ttl(self, server: ServerIdentity) -> float | None:
        """Return the seconds for which a connection may be kept, or `None` to reject it."""
        is_identity_fresh = server.is_replica and asyncio.get_running_loop().time() < self._identity_valid_until
        if (is_identity_fresh and self._is_valid_replica(server)) or await self.refresh_primary_identity():
            ttl = REPLICA_CONNECTION_TTL if server.is_replica else PRIMARY_CONNECTION_TTL
            return ttl if self._is_valid_replica(server) else None
        return (
            UNVERIFIED_TTL if self._is_valid_replica(server) or server.may_be_valid_replica_of(self._primary) else None
        )

    def _is_valid_replica(self, server: ServerIdentity) -> bool:
        return self._primary is not None and server.is_valid_replica_of(self._primary)


class ReplicaPool(ConnectionPool):
    """A pool that drops expired connections: PostgreSQL keeps a connection open when its replica is promoted."""

    async def acquire(self) -> PoolConnection:
        """Return a connection that is not expired."""
        while self._idle and _is_expired(self._idle[-1]):
            self._idle.pop().terminate()
            self._size -= 1
        return await super().acquire()

    def release(self, connection: PoolConnection) -> None:
        """Release a connection; close it when it is expired."""
        if not connection.is_closed() and _is_expired(connection):
            connection.terminate()
        super().release(connection)


def _is_expired(connection: PoolConnection) -> bool:
    is_overdue = asyncio.get_running_loop().time() > connection.expires_at
    return is_overdue or (connection.was_on_replica and not _is_on_replica(connection))


def _is_on_replica(connection: PoolConnection) -> bool:
    """Return the server's reported `in_hot_standby`; poolers do not forward it."""
    return getattr(connection.get_settings(), "in_hot_standby", "on") == "on"


class ReplicaReader(ReadSession):
    """Reads from replicas, and repeats a failed statement on the primary.

    While no replica responds, every statement goes to the primary. A replica that is only slow keeps its load, so that it
    does not overload the primary.
    """

    __slots__ = ("_connector", "_failure", "_failure_count", "_primary", "_probe_at", "_probe_task")

    def __init__(
        self, pool: ConnectionPool, custom_plan_pool: ConnectionPool, primary: ReadSession, connector: ReplicaConnector
    ) -> None:
        super().__init__(pool, custom_plan_pool)
        self._primary, self._connector = primary, connector
        self._probe_at = 0.0
        self._probe_task: asyncio.Task[None] | None = None
        self._failure: str | None = None
        self._failure_count = 0  # statements in a row

    @property
    def failure(self) -> str | None:
        """Why reads go to the primary, or `None` while replicas serve them."""
        return self._failure or (REPLICA_STATEMENTS_FAIL if self._failure_count >= FAILURE_THRESHOLD else None)

    async def fetch(self, query: Query[Any], arguments: list[Any]) -> list[asyncpg.Record]:
        """Return the records of a query, from a replica or the primary. Raises `Unavailable`."""
        if self._failure is not None:
            self._probe_in_background()
            return await self._primary.fetch(query, arguments)
        try:
            records = await self._fetch_once(query, arguments)
        except NoReplica as error:
            self._mark_unavailable(error, str(error))
        except PoolTimeout as error:  # statements are slow, or no server responds
            await self._wait_for_probe()
            if self._failure is None:
                raise Unavailable from error
        except TimeoutError as error:
            self._mark_unavailable(error, NO_REPLICA_RESPONDS)
        except (ConnectionLost, *DRIVER_ERRORS) as error:  # the replica may lag behind a migration
            if getattr(error, "sqlstate", None) == QUERY_CANCELED:
                raise Unavailable from error
            self._failure_count += 1
            log.info("replica_statement_failed", cause=repr(error.__cause__ or error))
        else:
            self._failure_count = 0
            return records
        return await self._primary.fetch(query, arguments)

    def close(self) -> None:
        """Cancel the running probe."""
        if self._probe_task is not None:
            self._probe_task.cancel()

    def _mark_unavailable(self, error: Exception, failure: str) -> None:
        if self._failure is None:
            log.warning("replica_unavailable", failure=failure, cause=repr(error.__cause__ or error))
        self._failure, self._probe_at = failure, asyncio.get_running_loop().time() + PROBE_INTERVAL

    def _probe_in_background(self) -> None:
        """Start a probe if one is due, without waiting for it."""
        loop = asyncio.get_running_loop()
        if loop.time() >= self._probe_at:
            self._probe_at = loop.time() + PROBE_INTERVAL
            self._probe_task = loop.create_task(self._probe())

    async def _wait_for_probe(self) -> None:
        """Probe outside the pool, whose connections are all busy; concurrent callers share one probe."""
        if self._probe_task is None or self._probe_task.done():
            self._probe_task = asyncio.get_running_loop().create_task(self._probe())
        await asyncio.shield(self._probe_task)

    async def _probe(self) -> None:
        try:
            async with asyncio.timeout(PROBE_TIMEOUT):
                (await self._connector.connect()).terminate()
        except NoReplica as error:
            self._mark_unavailable(error, str(error))
        except TimeoutError as error:
            self._mark_unavailable(error, NO_REPLICA_RESPONDS)
        else:
            if self._failure is not None:
                log.info("replica_recovered")
            self._failure = None
