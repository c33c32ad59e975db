"""What is done to the cluster: each fault from the moment it strikes until all is whole and people buy again."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from cluster import patroni, shops
from cluster.cluster import Cluster
from cluster.journal import Journal, Span
from cluster.waiting import until

Fault = Callable[[Cluster, Journal], Awaitable[str]]
"""Tells who was struck, and who took over."""
DEAD_FOR = 5  # seconds that a replica of the shop stays away
BUYING_WAIT = 120  # seconds


async def calm_before(cluster: Cluster, journal: Journal, name: str, seconds: float) -> Span:
    """To compare with: from the first purchase on."""

    async def look() -> bool | None:
        return bool(journal.orders) or None

    await until(cluster.processes, "A first purchase", BUYING_WAIT, look)
    began = time.monotonic()
    await asyncio.sleep(seconds)
    return Span(name, "", began, time.monotonic(), 0)


async def strike(cluster: Cluster, journal: Journal, name: str, fault: Fault, calm: float) -> Span:
    began = time.monotonic()
    what = await fault(cluster, journal)
    await patroni.until_whole(cluster)
    await _until_bought(cluster, journal)
    whole_after = time.monotonic() - began
    await asyncio.sleep(calm)
    return Span(name, what, began, time.monotonic(), whole_after)


async def kill_the_primary(cluster: Cluster, journal: Journal) -> str:
    """The node comes back when another has taken over, as a machine does that was started again."""
    before = await patroni.leader(cluster)
    patroni.kill(cluster, before)
    after = await patroni.leader(cluster, other_than=before)
    await _until_bought(cluster, journal)
    patroni.start(cluster, before)
    return f"{before} → {after}"


async def switch_over(cluster: Cluster, _: Journal) -> str:
    before = await patroni.switch_over(cluster)
    return f"{before} → {await patroni.leader(cluster, other_than=before)}"


async def kill_a_shop(cluster: Cluster, _: Journal) -> str:
    name = shops.NAMES[0]
    cluster.processes.kill(name)
    await asyncio.sleep(DEAD_FOR)
    shops.start(cluster, name)
    await shops.until_ready(cluster, name)
    return name


async def _until_bought(cluster: Cluster, journal: Journal) -> None:
    since = time.monotonic()

    async def look() -> bool | None:
        return journal.last_write > since or None

    await until(cluster.processes, "A write that the shop acknowledges", BUYING_WAIT, look)
