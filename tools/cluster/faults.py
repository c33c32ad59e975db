"""What is done to the cluster: each fault, from its start until everything has recovered and customers buy again."""

import asyncio
import time
from collections.abc import Awaitable, Callable

from tools.cluster import patroni, servers
from tools.cluster.cluster import Cluster
from tools.cluster.journal import Journal, Span

Fault = Callable[[Cluster, Journal], Awaitable[str]]
"""Returns what was hit, and what took over."""
SERVER_DOWNTIME = 5  # seconds before a killed server is started again
WRITE_TIMEOUT = 120  # seconds


async def measure_calm(cluster: Cluster, journal: Journal, name: str, seconds: float) -> Span:
    """Measure without a fault, after the first order."""

    async def check() -> bool | None:
        return bool(journal.orders) or None

    await cluster.processes.wait_for("The first order", WRITE_TIMEOUT, check)
    start = time.monotonic()
    await asyncio.sleep(seconds)
    return Span(name, "", start, time.monotonic(), 0)


async def apply(cluster: Cluster, journal: Journal, name: str, fault: Fault, calm: float) -> Span:
    """Apply a fault, wait for the recovery, and keep the load for some more seconds."""
    start = time.monotonic()
    detail = await fault(cluster, journal)
    await patroni.wait_until_healthy(cluster)
    await _wait_for_write(cluster, journal)
    recovery = time.monotonic() - start
    await asyncio.sleep(calm)
    return Span(name, detail, start, time.monotonic(), recovery)


async def kill_primary(cluster: Cluster, journal: Journal) -> str:
    """Kill the primary, and start its node again when another has taken over."""
    before = await patroni.wait_for_primary(cluster)
    patroni.kill(cluster, before)
    after = await patroni.wait_for_primary(cluster, other_than=before)
    await _wait_for_write(cluster, journal)
    patroni.start(cluster, before)
    return f"{before} → {after}"


async def switch_over(cluster: Cluster, _: Journal) -> str:
    """Let a replica take over as planned."""
    before = await patroni.switch_over(cluster)
    return f"{before} → {await patroni.wait_for_primary(cluster, other_than=before)}"


async def kill_server(cluster: Cluster, _: Journal) -> str:
    """Kill a bookstore server, and start it again after five seconds."""
    name = servers.NAMES[0]
    cluster.processes.kill(name)
    await asyncio.sleep(SERVER_DOWNTIME)
    servers.start(cluster, name)
    await servers.wait_until_ready(cluster, name)
    return name


async def _wait_for_write(cluster: Cluster, journal: Journal) -> None:
    since = time.monotonic()

    async def check() -> bool | None:
        return journal.last_write > since or None

    await cluster.processes.wait_for("A successful write", WRITE_TIMEOUT, check)
