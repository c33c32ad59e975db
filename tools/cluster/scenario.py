"""The scenario: start the cluster, apply one fault after the other under load, and check what is left."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from persistence.invariants import INVARIANTS, find_violations
from tools.cluster import etcd, faults, haproxy, patroni, pgbouncer, servers
from tools.cluster.clients import run_load
from tools.cluster.cluster import Cluster
from tools.cluster.journal import Journal, PlacedOrder, Span

Show = Callable[[str], None]
KILL, SWITCHOVER, KILL_SERVER, CALM = "kill -9 of the primary", "planned switchover", "kill -9 of a server", "calm"
SELECT_ORDERS = "SELECT idempotency_key, number FROM orders WHERE status = 'CONFIRMED' AND idempotency_key = ANY($1)"


@dataclass(frozen=True, slots=True)
class Plan:
    """How often to kill the primary, and the seconds of load before the first fault and after each."""

    kills: int = 1
    calm: float = 5


@dataclass(frozen=True, slots=True)
class Outcome:
    """What happened: `lost` are acknowledged orders that are not in the database, `violations` are invariants."""

    journal: Journal
    spans: list[Span]
    lost: list[PlacedOrder]
    violations: list[str]

    @property
    def is_good(self) -> bool:
        """Whether orders were placed, and nothing was lost."""
        return bool(self.journal.orders) and not (self.lost or self.violations or self.journal.abandoned)


def list_faults(plan: Plan) -> Iterator[tuple[str, faults.Fault]]:
    """Return the faults with their names."""
    for _ in range(plan.kills):
        yield KILL, faults.kill_primary
    yield SWITCHOVER, faults.switch_over
    yield KILL_SERVER, faults.kill_server


async def run_scenario(cluster: Cluster, plan: Plan, journal: Journal, show: Show) -> Outcome:
    """Run the scenario.

    Raises:
        ProcessFailed: A part exited by itself, or something took too long.
    """
    await start_cluster(cluster, show)
    async with run_load(cluster, journal):
        show(f"{CALM} …")
        spans = [await faults.measure_calm(cluster, journal, CALM, plan.calm)]
        for name, fault in list_faults(plan):
            show(f"{name} …")
            span = await faults.apply(cluster, journal, name, fault, plan.calm)
            show(f"  {span.detail}; recovered after {span.recovery:.0f} s")
            spans.append(span)
        show("The last orders are completed …")
    await patroni.wait_until_healthy(cluster)
    return await _check(cluster, journal, spans, show)


async def start_cluster(cluster: Cluster, show: Show) -> None:
    """Start all parts."""
    show("etcd, three nodes …")
    etcd.start(cluster)
    await etcd.wait_until_healthy(cluster)
    show("PostgreSQL under Patroni, three nodes …")
    patroni.start(cluster, *patroni.NAMES)
    await patroni.wait_until_healthy(cluster)
    show("HAProxy, PgBouncer, the tables and the books …")
    haproxy.start(cluster)
    pgbouncer.start(cluster)
    await servers.create_database(cluster)
    show("Two bookstore servers …")
    servers.start(cluster, *servers.NAMES)
    await servers.wait_until_ready(cluster, *servers.NAMES)


async def _check(cluster: Cluster, journal: Journal, spans: list[Span], show: Show) -> Outcome:
    show(f"{len(journal.orders):,} orders and {len(INVARIANTS)} invariants are checked …")
    connection = await servers.connect(cluster)
    try:
        rows = await connection.fetch(SELECT_ORDERS, [order.key for order in journal.orders])
        stored = {(row["idempotency_key"], row["number"]) for row in rows}
        lost = [order for order in journal.orders if (order.key, order.number) not in stored]
        return Outcome(journal, spans, lost, await find_violations(connection))
    finally:
        await connection.close(timeout=5)
