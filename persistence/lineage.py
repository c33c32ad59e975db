"""Which server a connection leads to, and whether it may be read in the place of the primary."""

import datetime as dt
from dataclasses import dataclass

import asyncpg

_LOOK = """
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
class Server:
    system: int
    database: str
    is_standby: bool
    started: dt.datetime
    timeline: int
    """A promotion begins a new one."""
    receives: bool
    """Whether somebody sends it a log, and its timeline is shown to other roles alone, as those in `pg_read_all_stats`."""

    def is_same_database(self, other: "Server") -> bool:
        """As a primary, its standbys and all their copies are."""
        return (self.system, self.database) == (other.system, other.database)

    def is_same(self, other: "Server") -> bool:
        return self.is_same_database(other) and (self.started, self.timeline) == (other.started, other.timeline)

    def stands_for(self, primary: "Server") -> bool:
        """Whether it has what the primary has, or will have it: a copy that goes its own way has not."""
        if not self.is_standby:
            return self.is_same(primary)
        follows = self.timeline == primary.timeline or (self.timeline < primary.timeline and self.receives)
        return self.is_same_database(primary) and follows

    def is_behind(self, primary: "Server") -> bool:
        """A standby that has not heard of a failover yet, or never will."""
        return self.is_same_database(primary) and self.is_standby and self.timeline < primary.timeline

    def may_stand_for(self, primary: "Server | None") -> bool:
        """The same while the primary is away, to whom one of the standbys may succeed; as it was when it was last heard of."""
        if primary is None:
            return self.is_standby
        return self.is_same_database(primary) and (self.is_standby or self.timeline > primary.timeline)


async def server_at(connection: asyncpg.Connection) -> Server:
    found = await connection.fetchrow(_LOOK)
    assert found is not None
    return Server(*found)
