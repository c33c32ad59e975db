"""Rate limits that processes share, asked for more than a request needs, so that the next ones need not ask."""

import time
from dataclasses import dataclass, field

from persistence.rate_limits import Rate, RateLimits

KEPT = 1.0  # seconds
MOST_LEASES = 10_000


@dataclass(slots=True)
class Lease:
    """What a caller may spend here without asking, and what it has spent here in a row."""

    until: float
    left: int = 0
    spent: int = 0


@dataclass(slots=True)
class Leased:
    """With each cost as much is taken as the caller has just spent here, but for no more than a second's refill.

    What is granted here was taken from the shared budget before. What is taken and not spent within a second is lost: no
    more than was spent just before, so that who asks now and then, of however many processes, pays what it costs.
    """

    shared: RateLimits
    _leases: dict[bytes, Lease] = field(default_factory=dict)

    async def spend(self, caller: bytes, cost: int, rate: Rate) -> float:
        lease = self._lease(caller)
        if cost <= lease.left:
            lease.left -= cost
            lease.spent += cost
            return 0
        left, lease.left = lease.left, 0  # which nobody else may spend while it is asked
        more = min(lease.spent, rate.per_second)
        wait = None
        try:
            wait = await self.shared.spend(caller, cost - left + more, rate)
        finally:
            if wait != 0:
                lease.left += left
        if wait == 0:
            lease.left += more
            lease.spent += cost
            lease.until = time.monotonic() + KEPT
        return wait

    def _lease(self, caller: bytes) -> Lease:
        now = time.monotonic()
        lease = self._leases.get(caller)
        if lease is None or lease.until <= now:
            if len(self._leases) >= MOST_LEASES:
                self._leases.clear()
            lease = self._leases[caller] = Lease(now + KEPT)
        return lease

    async def forget_full(self) -> None:
        await self.shared.forget_full()

    async def close(self) -> None:
        self._leases.clear()
        await self.shared.close()
