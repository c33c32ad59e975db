"""Identifies the server of a connection and decides whether it is a valid replica of the primary."""

import datetime as dt
from dataclasses import dataclass

import asyncpg

_IDENTIFY = """
SELECT system_identifier, current_database()::text, here.is_replica, pg_postmaster_start_time(),
    CASE WHEN here.is_replica
        THEN greatest(
            (SELECT timeline_id FROM pg_control_checkpoint()),
            (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
            (SELECT max(received_tli) FROM pg_stat_wal_receiver)
        )
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
    END,
    EXISTS (SELECT FROM pg_stat_wal_receiver WHERE received_tli IS NULL)
FROM pg_control_system(), (SELECT pg_is_in_recovery() AS is_replica) AS here
"""
"""A replica's control file shows a new timeline minutes after a failover; few roles may see its WAL receiver's."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What distinguishes a PostgreSQL server: its cluster, database, start and timeline."""

    system_identifier: int
    database: str
    is_replica: bool
    started_at: dt.datetime
    timeline: int
    """Each promotion starts a new timeline."""
    has_wal_receiver: bool
    """Whether a WAL receiver runs whose timeline this role may not see; roles in `pg_read_all_stats` may."""

    def is_same_database(self, other: "ServerIdentity") -> bool:
        """Return whether both belong to one cluster, as a primary, its replicas and all their copies do."""
        return (self.system_identifier, self.database) == (other.system_identifier, other.database)

    def is_same_server(self, other: "ServerIdentity") -> bool:
        """Return whether both are the same server since its last start and promotion."""
        return self.is_same_database(other) and (self.started_at, self.timeline) == (other.started_at, other.timeline)

    def is_valid_replica_of(self, primary: "ServerIdentity") -> bool:
        """Return whether this server follows the primary. A copy whose history has diverged does not."""
        if not self.is_replica:
            return self.is_same_server(primary)
        is_following = self.timeline == primary.timeline or (self.timeline < primary.timeline and self.has_wal_receiver)
        return self.is_same_database(primary) and is_following

    def is_on_older_timeline_than(self, primary: "ServerIdentity") -> bool:
        """Return whether this is a replica that has not followed a failover."""
        return self.is_same_database(primary) and self.is_replica and self.timeline < primary.timeline

    def may_be_valid_replica_of(self, primary: "ServerIdentity | None") -> bool:
        """Return whether this may be a valid replica while the primary is unreachable.

        Compares with the primary's last known identity, since a replica may have been promoted.
        """
        if primary is None:
            return self.is_replica
        return self.is_same_database(primary) and (self.is_replica or self.timeline > primary.timeline)


async def identify_server(connection: asyncpg.Connection) -> ServerIdentity:
    """Return the identity of the server that the connection leads to."""
    record = await connection.fetchrow(_IDENTIFY)
    assert record is not None
    return ServerIdentity(*record)
