"""Rate limits as token buckets, stored in this process or in PostgreSQL.

A bucket is stored as the time at which it is full again. A caller with anything left may overdraw once, and then waits
longer.
"""

import time
from dataclasses import dataclass
from typing import Protocol

from sqlalchemy import Double, LargeBinary, bindparam, delete, func, text

from persistence import tables
from persistence.postgres.database import Database
from persistence.postgres.statements import Command

MIN_EVICTION_SIZE = 1_000


@dataclass(frozen=True, slots=True)
class Rate:
    """A budget in cost units: `burst` at once, refilled by `per_second`."""

    burst: int
    per_second: int

    @property
    def time_to_fill(self) -> float:
        """The seconds in which an empty bucket fills."""
        return self.burst / self.per_second


class RateLimitStore(Protocol):
    """Stores buckets. Methods raise `Unavailable` when the store cannot be reached."""

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        """Take `cost` from the caller's bucket and return 0; when it is empty, take nothing and return the seconds to wait."""

    async def evict_full(self) -> None:
        """Delete buckets that are full again."""

    async def close(self) -> None:
        """Release what the store holds."""


class MemoryStore:
    """Buckets in the memory of one process. Full buckets are evicted whenever their number has doubled."""

    def __init__(self) -> None:
        self._full_at: dict[bytes, float] = {}
        self._evict_at_size = MIN_EVICTION_SIZE

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        """Charge a bucket in memory."""
        now = time.monotonic()
        full_at = max(self._full_at.get(caller, now), now)
        wait = full_at - now - rate.time_to_fill
        if wait > 0:
            return wait
        self._full_at[caller] = full_at + cost / rate.per_second
        if len(self._full_at) >= self._evict_at_size:
            await self.evict_full()
            self._evict_at_size = max(MIN_EVICTION_SIZE, 2 * len(self._full_at))
        return 0

    async def evict_full(self) -> None:
        """Drop the full buckets."""
        now = time.monotonic()
        self._full_at = {caller: full_at for caller, full_at in self._full_at.items() if full_at > now}

    async def close(self) -> None:
        """Drop all buckets."""
        self._full_at.clear()


# One statement decides and counts, so concurrent requests are charged as if they came one after the other.
_CHARGE = Command(
    text("""
    INSERT INTO rate_limits AS known (caller, full_at)
    VALUES (:caller, clock_timestamp() + :cost * interval '1 second')
    ON CONFLICT (caller) DO UPDATE SET
        full_at = greatest(known.full_at, clock_timestamp()) + :cost * interval '1 second'
    WHERE known.full_at <= clock_timestamp() + :time_to_fill * interval '1 second'
    RETURNING caller
""").bindparams(
        bindparam("caller", type_=LargeBinary()),
        bindparam("cost", type_=Double()),
        bindparam("time_to_fill", type_=Double()),
    )
)
_FIND_SECONDS_UNTIL_FULL = Command(
    text("SELECT extract(epoch FROM full_at - clock_timestamp())::float8 FROM rate_limits WHERE caller = :caller")
)
_EVICT_FULL = Command(delete(tables.RateLimit).where(tables.RateLimit.full_at < func.clock_timestamp()))


@dataclass(frozen=True, slots=True)
class PostgresStore:
    """Buckets in PostgreSQL, shared by processes: one statement per charge."""

    database: Database

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        """Charge a bucket in PostgreSQL."""
        parameters = {"caller": caller, "cost": cost / rate.per_second, "time_to_fill": rate.time_to_fill}
        async with self.database.transaction() as tx:
            if await tx.scalar(_CHARGE, **parameters) is not None:
                return 0
            seconds_until_full: float = await tx.scalar(_FIND_SECONDS_UNTIL_FULL, caller=caller) or 0
            return max(seconds_until_full - rate.time_to_fill, 0.001)

    async def evict_full(self) -> None:
        """Delete the full buckets."""
        async with self.database.transaction() as tx:
            await tx.execute(_EVICT_FULL)

    async def close(self) -> None:
        """Do nothing: the application closes its database."""
