"""What callers have spent, in this process or in PostgreSQL: buckets that fill up again as time goes by.

A bucket is one number: when it will be full again. Whoever has anything left may spend, more than that once, and is then
refused for so much longer.
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
    """Cost units: `burst` at once, `per_second` after that."""

    burst: int
    per_second: int

    @property
    def time_to_fill(self) -> float:
        """Seconds."""
        return self.burst / self.per_second


class RateLimitStore(Protocol):
    """Raises `Unavailable` where what is remembered cannot be asked."""

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        """0, or where nothing is left the seconds until there is; nothing is taken then."""

    async def evict_full(self) -> None:
        """Drops buckets that are full again."""

    async def close(self) -> None: ...


class MemoryStore:
    """For one process. Forgets full buckets whenever their number has doubled."""

    def __init__(self) -> None:
        self._full_at: dict[bytes, float] = {}
        self._evict_at_size = MIN_EVICTION_SIZE

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
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
        now = time.monotonic()
        self._full_at = {caller: full_at for caller, full_at in self._full_at.items() if full_at > now}

    async def close(self) -> None:
        self._full_at.clear()


# One statement decides and counts: requests at once spend as they would one after the other.
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
    """For several processes: a statement each time it is asked."""

    database: Database

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        parameters = {"caller": caller, "cost": cost / rate.per_second, "time_to_fill": rate.time_to_fill}
        async with self.database.transaction() as tx:
            if await tx.scalar(_CHARGE, **parameters) is not None:
                return 0
            seconds_until_full: float = await tx.scalar(_FIND_SECONDS_UNTIL_FULL, caller=caller) or 0
            return max(seconds_until_full - rate.time_to_fill, 0.001)

    async def evict_full(self) -> None:
        async with self.database.transaction() as tx:
            await tx.execute(_EVICT_FULL)

    async def close(self) -> None:
        pass  # the database is the shop's
