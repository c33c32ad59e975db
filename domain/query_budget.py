"""Query budgets: each document's cost is charged to its caller's budget, which refills over time."""

import hashlib
import math
import time
from dataclasses import dataclass, field

import structlog

from domain.errors import RateLimited
from persistence.limits.rate_limits import MemoryStore, Rate, RateLimitStore
from persistence.postgres.errors import Unavailable

log = structlog.get_logger()

REJECTED_COST = 20
"""Cost of a document that fails validation, because validation takes time too."""
RETRY_SHARED_AFTER = 5.0
"""Seconds for which a process uses its local store after the shared store failed."""
MAX_CACHED_REJECTIONS = 10_000


@dataclass(slots=True)
class RateLimiter:
    """Charges the cost of queries to callers, and rejects callers whose budget is spent.

    The store sees only keyed hashes of users and addresses. Without a `rate` there is no limit.
    """

    store: RateLimitStore
    rate: Rate | None
    hash_key: bytes = field(repr=False)
    _local_store: MemoryStore = field(default_factory=MemoryStore)
    _local_until: float = 0.0
    _rejected_until: dict[bytes, float] = field(default_factory=dict)

    def check(self, caller: str) -> None:
        """Reject a caller whose last rejection still holds, without access to the store.

        Raises:
            RateLimited: The wait of the caller's last rejection is not over.
        """
        until = self._rejected_until.get(self._hash_caller(caller)) if self._rejected_until else None
        if until is not None and (wait := until - time.monotonic()) > 0:
            raise RateLimited(math.ceil(wait))

    async def charge(self, caller: str, cost: int) -> None:
        """Charge `cost` (at least 1) to the caller's budget.

        Raises:
            RateLimited: The budget is spent.
        """
        if self.rate is None:
            return
        digest = self._hash_caller(caller)
        wait = await self._charge(digest, max(cost, 1), self.rate)
        if wait > 0:
            self._cache_rejection(digest, time.monotonic() + wait)
            raise RateLimited(math.ceil(wait))

    async def _charge(self, digest: bytes, cost: int, rate: Rate) -> float:
        if time.monotonic() >= self._local_until:
            try:
                return await self.store.charge(digest, cost, rate)
            except Unavailable as error:
                self._local_until = time.monotonic() + RETRY_SHARED_AFTER
                log.warning("rate_limit_store_unavailable", cause=repr(error.__cause__ or error))
        return await self._local_store.charge(digest, cost, rate)

    def _cache_rejection(self, digest: bytes, until: float) -> None:
        if len(self._rejected_until) >= MAX_CACHED_REJECTIONS:
            self._rejected_until.clear()  # these callers are charged, and rejected, again
        self._rejected_until[digest] = until

    def _hash_caller(self, caller: str) -> bytes:
        return hashlib.blake2b(caller.encode("utf-8", "surrogatepass"), key=self.hash_key, digest_size=32).digest()
