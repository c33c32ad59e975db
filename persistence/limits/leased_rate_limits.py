"""Shared rate limits with leases: a process charges more than one request needs, so that the next ones need no query."""

import time
from dataclasses import dataclass, field

from persistence.limits.rate_limits import Rate, RateLimitStore

LEASE_TTL = 1.0  # seconds
MAX_LEASES = 10_000


@dataclass(slots=True)
class Lease:
    """Cost units that a caller may still spend in this process without a query, and units it has spent during the lease."""

    expires_at: float
    remaining: int = 0
    spent: int = 0


@dataclass(slots=True)
class LeasedStore:
    """Charges a shared store in advance, and grants requests from what was charged.

    Each charge adds as much as the caller has spent during the lease, up to one second's refill. Units that are not spent
    within `LEASE_TTL` are lost. They never exceed what was spent just before, so an occasional caller pays the exact cost.
    """

    shared_store: RateLimitStore
    _leases: dict[bytes, Lease] = field(default_factory=dict)

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        """Charge the lease, or else the shared store. See `RateLimitStore.charge`."""
        lease = self._get_lease(caller)
        if cost <= lease.remaining:
            lease.remaining -= cost
            lease.spent += cost
            return 0
        remaining, lease.remaining = lease.remaining, 0  # other requests must not spend it during the query
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
        """Delete full buckets from the shared store."""
        await self.shared_store.evict_full()

    async def close(self) -> None:
        """Drop the leases and close the shared store."""
        self._leases.clear()
        await self.shared_store.close()
