"""Rate limits that processes share, asked for more than a request needs, so that the next ones need not ask."""

import time
from dataclasses import dataclass, field

from persistence.limits.rate_limits import Rate, RateLimitStore

LEASE_TTL = 1.0  # seconds
MAX_LEASES = 10_000


@dataclass(slots=True)
class Lease:
    """What a caller may spend here without asking, and what it has spent here in a row."""

    expires_at: float
    remaining: int = 0
    spent: int = 0


@dataclass(slots=True)
class LeasedStore:
    """With each cost as much is taken as the caller has just spent here, but for no more than a second's refill.

    What is granted here was taken from the shared budget before. What is taken and not spent within a second is lost: no
    more than was spent just before, so that who asks now and then, of however many processes, pays what it costs.
    """

    shared_store: RateLimitStore
    _leases: dict[bytes, Lease] = field(default_factory=dict)

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        lease = self._get_lease(caller)
        if cost <= lease.remaining:
            lease.remaining -= cost
            lease.spent += cost
            return 0
        remaining, lease.remaining = lease.remaining, 0  # which nobody else may spend while it is asked
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
        await self.shared_store.evict_full()

    async def close(self) -> None:
        self._leases.clear()
        await self.shared_store.close()
