"""What callers have spent, in Redis or Valkey, which forget by themselves what is full again."""

from redis.asyncio import Redis
from redis.exceptions import RedisError

from persistence.limits.rate_limits import Rate
from persistence.postgres.errors import Unavailable

TIMEOUT = 0.25  # seconds; no request waits longer to be counted

_CHARGE_SCRIPT = """
local clock = redis.call('TIME')
local now = clock[1] + clock[2] / 1000000
local cost, time_to_fill = tonumber(ARGV[1]), tonumber(ARGV[2])
local full_at = math.max(tonumber(redis.call('GET', KEYS[1]) or now), now)
local wait = full_at - now - time_to_fill
if wait > 0 then return string.format('%.6f', wait) end
full_at = full_at + cost
redis.call('SET', KEYS[1], string.format('%.6f', full_at), 'PX', math.ceil((full_at - now) * 1000))
return '0'
"""


class RedisStore:
    """For several processes."""

    def __init__(self, url: str) -> None:
        self._redis = Redis.from_url(url, socket_timeout=TIMEOUT, socket_connect_timeout=TIMEOUT)

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        key = b"bookstore:rate-limit:" + caller
        try:
            wait = await self._redis.eval(_CHARGE_SCRIPT, 1, key, cost / rate.per_second, rate.time_to_fill)
        except (RedisError, OSError, TimeoutError) as error:
            raise Unavailable from error
        return float(wait)

    async def evict_full(self) -> None:
        pass

    async def close(self) -> None:
        await self._redis.aclose()
