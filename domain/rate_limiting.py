"""How much callers may ask for: what their documents cost is taken off a budget that time refills."""

import hashlib
import math
import time
from dataclasses import dataclass, field

import structlog

from domain.errors import TooOften
from persistence.faults import Unavailable
from persistence.rate_limits import InMemory, Rate, RateLimits

log = structlog.get_logger()

REFUSED = 20
"""What a document costs that is refused for its form: checking it took time, too."""
SHARED_AGAIN_AFTER = 5.0  # seconds for which a process counts alone when it could not count with the others
MOST_REMEMBERED = 10_000


@dataclass(slots=True)
class RateLimiter:
    """`key` keeps users and addresses out of what is kept. Without a rate, everybody may ask for everything."""

    limits: RateLimits
    rate: Rate | None
    key: bytes = field(repr=False)
    _own: InMemory = field(default_factory=InMemory)
    _alone_until: float = 0.0
    _refused_until: dict[bytes, float] = field(default_factory=dict)

    def check(self, caller: str) -> None:
        """Raises `TooOften` for a caller that was refused a moment ago, before any work is done and without asking."""
        until = self._refused_until.get(self._digest(caller)) if self._refused_until else None
        if until is not None and (wait := until - time.monotonic()) > 0:
            raise TooOften(math.ceil(wait))

    async def spend(self, caller: str, cost: int) -> None:
        """Raises `TooOften` where nothing of the budget is left."""
        if self.rate is None:
            return
        digest = self._digest(caller)
        wait = await self._spend(digest, max(cost, 1), self.rate)
        if wait > 0:
            self._remember(digest, time.monotonic() + wait)
            raise TooOften(math.ceil(wait))

    async def _spend(self, digest: bytes, cost: int, rate: Rate) -> float:
        if time.monotonic() >= self._alone_until:
            try:
                return await self.limits.spend(digest, cost, rate)
            except Unavailable as error:
                self._alone_until = time.monotonic() + SHARED_AGAIN_AFTER
                log.warning("rate limits counted alone", cause=repr(error.__cause__ or error))
        return await self._own.spend(digest, cost, rate)

    def _remember(self, digest: bytes, until: float) -> None:
        if len(self._refused_until) >= MOST_REMEMBERED:
            self._refused_until.clear()  # they are refused again, after their documents were looked at
        self._refused_until[digest] = until

    def _digest(self, caller: str) -> bytes:
        return hashlib.blake2b(caller.encode("utf-8", "surrogatepass"), key=self.key, digest_size=32).digest()
