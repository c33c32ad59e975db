"""Leases on shared rate limits: a charge takes more than it needs, so that the next charges stay in memory."""

import time
from dataclasses import dataclass, field

from persistence.limits.rate_limits import Rate, RateLimitStore

LEASE_TTL = 1.0  # seconds
MAX_LEASES = 10_000


@dataclass(slots=True)
class Lease:
    """What a caller may spend in this process without a charge, and what it spent here recently."""

    expires_at: float
    remaining: int = 0
    spent: int = 0


@dataclass(slots=True)
class LeasedStore:
    """Charges a shared store, and prefetches as much as the caller just spent here, up to one second's refill.

    Everything granted here was taken from the shared budget before. A prefetch that is not spent within a second is
    lost; it never exceeds what was spent just before, so occasional callers pay the actual cost.
    """

    shared_store: RateLimitStore
    _leases: dict[bytes, Lease] = field(default_factory=dict)

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        """Charge the lease, or the shared store when the lease is used up."""
        lease = self._get_lease(caller)
        if cost <= lease.remaining:
            lease.remaining -= cost
            lease.spent += cost
            return 0
        remaining, lease.remaining = lease.remaining, 0  # concurrent requests must not spend it meanwhile
        prefetch = min(lease.spent, rate.per_second)
        wait = None
        try:
            wait = await self.shared_store.charge(caller, cost - remaining + prefetch, rate)
        finally:
            if wait != 0:
                lease.remaining += remaining
        if wait == 0:
            lease.remaining += prefetch
            lease.spent += cost
            lease.expires_at = time.monotonic() + LEASE_TTL
        return wait

    def _get_lease(self, caller: bytes) -> Lease:
        now = time.monotonic()
        lease = self._leases.get(caller)
        if lease is None or lease.expires_at <= now:
            if len(self._leases) >= MAX_LEASES:
                self._leases.clear()
            lease = self._leases[caller] = Lease(now + LEASE_TTL)
        return lease

    async def evict_full(self) -> None:
        """Evict full buckets of the shared store."""
        await self.shared_store.evict_full()

    async def close(self) -> None:
        """Drop all leases and close the shared store."""
        self._leases.clear()
        await self.shared_store.close()
