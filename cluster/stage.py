"""The cluster brought up part by part, the faults one after the other, and what is true at the end."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from cluster import etcd, faults, haproxy, patroni, pgbouncer, shops
from cluster.cluster import Cluster
from cluster.journal import Journal, Span, Told
from cluster.load import under_load
from cluster.waiting import until
from persistence.invariants import INVARIANTS, find_violations

Say = Callable[[str], None]
KILL, SWITCHOVER, KILL_SHOP, CALM = (
    "kill -9 of the primary",
    "planned switchover",
    "kill -9 of a replica of the shop",
    "calm",
)


@dataclass(frozen=True, slots=True)
class Plan:
    kills: int = 1
    calm: float = 5
    """Seconds of load before the first fault, and after each."""


@dataclass(frozen=True, slots=True)
class Outcome:
    journal: Journal
    spans: list[Span]
    lost: list[Told]
    """Orders that a customer was told are placed, and that are not there at the end, or not as they were told."""
    violated: list[str]
    """Of the invariants."""

    @property
    def is_good(self) -> bool:
        return bool(self.journal.orders) and not (self.lost or self.violated or self.journal.given_up)


def steps(plan: Plan) -> Iterator[tuple[str, faults.Fault]]:
    for _ in range(plan.kills):
        yield KILL, faults.kill_the_primary
    yield SWITCHOVER, faults.switch_over
    yield KILL_SHOP, faults.kill_a_shop


async def perform(cluster: Cluster, plan: Plan, journal: Journal, say: Say) -> Outcome:
    """Raises `Broken`."""
    await bring_up(cluster, say)
    async with under_load(cluster, journal):
        say(f"{CALM} …")
        spans = [await faults.calm_before(cluster, journal, CALM, plan.calm)]
        for name, fault in steps(plan):
            say(f"{name} …")
            span = await faults.strike(cluster, journal, name, fault, plan.calm)
            say(f"  {span.what}; whole again after {span.whole_after:.0f} s")
            spans.append(span)
        say("The last customers finish …")
    await patroni.until_whole(cluster)
    return await _examined(cluster, journal, spans, say)


async def bring_up(cluster: Cluster, say: Say) -> None:
    say("etcd, three nodes …")
    etcd.start(cluster)
    await etcd.until_agreed(cluster)
    say("PostgreSQL under Patroni, three nodes …")
    patroni.start(cluster, *patroni.NAMES)
    await patroni.until_whole(cluster)
    say("HAProxy, PgBouncer, the tables and the books …")
    haproxy.start(cluster)
    pgbouncer.start(cluster)
    await shops.make_database(cluster)
    say("The shop, two replicas …")
    shops.start(cluster, *shops.NAMES)
    await shops.until_ready(cluster, *shops.NAMES)


async def _examined(cluster: Cluster, journal: Journal, spans: list[Span], say: Say) -> Outcome:
    say(f"Looking up {len(journal.orders):,} orders and {len(INVARIANTS)} invariants …")
    address = cluster.address(cluster.ports.primary)
    connection = await until(cluster.processes, "A look at the database", 30, lambda: shops.connected(address))
    try:
        there = {
            (row["idempotency_key"], row["number"])
            for row in await connection.fetch(
                "SELECT idempotency_key, number FROM orders WHERE status = 'CONFIRMED' AND idempotency_key = ANY($1)",
                [told.key for told in journal.orders],
            )
        }
        lost = [told for told in journal.orders if (told.key, told.number) not in there]
        return Outcome(journal, spans, lost, await find_violations(connection))
    finally:
        await connection.close(timeout=5)
