"""The identity of a PostgreSQL server, and whether it is a valid replica of another."""

import datetime as dt
from dataclasses import dataclass

import asyncpg

_IDENTIFY = """
SELECT system_identifier, current_database()::text, here.is_standby, pg_postmaster_start_time(),
    CASE WHEN here.is_standby
        THEN greatest(
            (SELECT timeline_id FROM pg_control_checkpoint()),
            (SELECT min_recovery_end_timeline FROM pg_control_recovery()),
            (SELECT max(received_tli) FROM pg_stat_wal_receiver)
        )
        ELSE ('x' || left(pg_walfile_name(pg_current_wal_lsn()), 8))::bit(32)::int
    END,
    EXISTS (SELECT FROM pg_stat_wal_receiver WHERE received_tli IS NULL)
FROM pg_control_system(), (SELECT pg_is_in_recovery() AS is_standby) AS here
"""
"""The timeline comes from several views: a replica's control file lags minutes behind, and few roles see its receiver."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    """What identifies a server and its history."""

    system_identifier: int
    database: str
    is_replica: bool
    started_at: dt.datetime
    timeline: int
    """Each promotion starts a new timeline."""
    has_wal_receiver: bool
    """Whether it receives WAL with a timeline that this role cannot see (`pg_read_all_stats` can)."""

    def is_same_database(self, other: "ServerIdentity") -> bool:
        """Whether both have the same system identifier and database name, as a primary and all copies of it have."""
        return (self.system_identifier, self.database) == (other.system_identifier, other.database)

    def is_same_server(self, other: "ServerIdentity") -> bool:
        """Whether both are the same running server on the same timeline."""
        return self.is_same_database(other) and (self.started_at, self.timeline) == (other.started_at, other.timeline)

    def is_valid_replica_of(self, primary: "ServerIdentity") -> bool:
        """Whether it has, or will receive, everything that the primary commits; a diverged copy has not."""
        if not self.is_replica:
            return self.is_same_server(primary)
        is_following = self.timeline == primary.timeline or (self.timeline < primary.timeline and self.has_wal_receiver)
        return self.is_same_database(primary) and is_following

    def is_on_older_timeline_than(self, primary: "ServerIdentity") -> bool:
        """Whether it is a replica that has not followed a failover yet."""
        return self.is_same_database(primary) and self.is_replica and self.timeline < primary.timeline

    def may_be_valid_replica_of(self, primary: "ServerIdentity | None") -> bool:
        """Like `is_valid_replica_of`, while the primary is unreachable: compares with its last known state.

        A replica may have been promoted in the meantime.
        """
        if primary is None:
            return self.is_replica
        return self.is_same_database(primary) and (self.is_replica or self.timeline > primary.timeline)


async def identify_server(connection: asyncpg.Connection) -> ServerIdentity:
    """Read the identity of the server that a connection leads to."""
    record = await connection.fetchrow(_IDENTIFY)
    assert record is not None
    return ServerIdentity(*record)
