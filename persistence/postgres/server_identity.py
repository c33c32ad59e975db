"""Which server a connection leads to, and whether it may be read in the place of the primary."""

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
"""A standby's control file learns of a new timeline minutes after a failover, and what it receives shows to few roles."""


@dataclass(frozen=True, slots=True)
class ServerIdentity:
    system_identifier: int
    database: str
    is_replica: bool
    started_at: dt.datetime
    timeline: int
    """A promotion begins a new one."""
    has_wal_receiver: bool
    """Whether somebody sends it a log, and its timeline is shown to other roles alone, as those in `pg_read_all_stats`."""

    def is_same_database(self, other: "ServerIdentity") -> bool:
        """As a primary, its standbys and all their copies are."""
        return (self.system_identifier, self.database) == (other.system_identifier, other.database)

    def is_same_server(self, other: "ServerIdentity") -> bool:
        return self.is_same_database(other) and (self.started_at, self.timeline) == (other.started_at, other.timeline)

    def is_valid_replica_of(self, primary: "ServerIdentity") -> bool:
        """Whether it has what the primary has, or will have it: a copy that goes its own way has not."""
        if not self.is_replica:
            return self.is_same_server(primary)
        is_following = self.timeline == primary.timeline or (self.timeline < primary.timeline and self.has_wal_receiver)
        return self.is_same_database(primary) and is_following

    def is_on_older_timeline_than(self, primary: "ServerIdentity") -> bool:
        """A standby that has not heard of a failover yet, or never will."""
        return self.is_same_database(primary) and self.is_replica and self.timeline < primary.timeline

    def may_be_valid_replica_of(self, primary: "ServerIdentity | None") -> bool:
        """The same while the primary is away, to whom one of the standbys may succeed; as it was when it was last heard of."""
        if primary is None:
            return self.is_replica
        return self.is_same_database(primary) and (self.is_replica or self.timeline > primary.timeline)


async def identify_server(connection: asyncpg.Connection) -> ServerIdentity:
    record = await connection.fetchrow(_IDENTIFY)
    assert record is not None
    return ServerIdentity(*record)
