"""What Prometheus is told of a process: requests as they are answered; once a second, what the shop counts anyway."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import psutil
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, disable_created_metrics
from starlette.types import Scope

from domain.shop import Shop
from graph.documents import Documents

EVERY = 1.0  # seconds
MOST_NAMES, LONGEST_NAME = 100, 100
"""Of operations beside those of trusted documents: clients choose them."""
OTHER, NONE = "other", "none"
FAULT, BAD_REQUEST, OK = "INTERNAL_SERVER_ERROR", "BAD_REQUEST", "OK"
WORST = (FAULT, "TIMEOUT", "SERVICE_UNAVAILABLE")
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


@dataclass(frozen=True, slots=True)
class Asked:
    """What is counted of an operation: found once, then at hand."""

    name: str
    root: str
    seconds: Histogram
    outcomes: dict[str, Counter] = field(default_factory=dict)


class Followed:
    """A counter that goes along with numbers which are counted elsewhere, by their labels."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._seen: dict[tuple[str, ...], float] = {}

    def follow(self, totals: Mapping[Any, float]) -> None:
        for labels, total in totals.items():
            if total != self._seen.get(labels):
                counter = self._counter.labels(*labels) if labels else self._counter
                counter.inc(total - self._seen.get(labels, 0))
                self._seen[labels] = total


class Metrics:
    """`path` is the one whose requests are counted; `documents` are those that are executed here, if any are."""

    def __init__(self, shop: Shop, documents: Documents | None = None, path: str = "") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # a series more for each, which nobody asks for
        self.registry = CollectorRegistry()
        self._shop, self._documents, self._path = shop, documents, path
        self._trusted = documents.trusted_names if documents else frozenset[str]()
        self._asked: dict[tuple[str | None, str | None], Asked] = {}
        self._names = 0
        self._process = psutil.Process()

        self._requests = self._counter("requests", "Requests to the endpoint.", "operation", "field", "outcome")
        what = "How long they took, by the field at the root."
        self._seconds = Histogram("bookstore_request_seconds", what, ["field"], buckets=BUCKETS, registry=self.registry)
        what = "Operations that were executed: with a plan that was there (hit), a new one (miss), by graphql-core (fallback)."
        self._plans = self._followed("operations", what, "plan")
        self._cost = self._followed("cost", "What they cost, in units.")
        self._refusals = self._followed("refusals", "What users were refused, by mutation.", "field", "code")
        what = "Sign-ins through providers that came to nothing."
        self._failed_sign_ins = self._followed("provider_sign_in_failures", what, "provider", "why")
        what = "What became of letters, each time they were taken up."
        self._letters = self._followed("letters", what, "kind", "outcome")
        self._statements = self._followed("statements", "SQL statements.", "pool")
        self._waits = self._followed("pool_waits", "How often somebody had to wait for a connection.", "pool")
        self._waited = self._followed("pool_waited_seconds", "For how long they did.", "pool")
        self._in_vain = self._followed("pool_timeouts", "How often nobody got one in time.", "pool")
        self._connections = self._gauge("pool_connections", "Connections to PostgreSQL.", "pool", "state")
        self._most = self._gauge("pool_connections_limit", "How many there may be.", "pool")
        self._waiting = self._gauge("pool_waiting", "Who waits for one just now.", "pool")
        self._cpu = self._followed("cpu_seconds", "CPU time of the processes.")
        self._memory = self._gauge("memory_bytes", "Resident memory of the processes.")
        self._gauge("processes", "Processes that are alive.").set(1)
        what = "Whether visitors read from standbys, in all processes: 0 while one of them asks the primary instead."
        serves_from_standbys = documents is not None and shop.database.has_standbys
        self._standby = self._gauge("standby_up", what, mode="livemin") if serves_from_standbys else None

    def _counter(self, name: str, what: str, *labels: str) -> Counter:
        return Counter(f"bookstore_{name}", what, labels, registry=self.registry)

    def _followed(self, name: str, what: str, *labels: str) -> Followed:
        return Followed(self._counter(name, what, *labels))

    def _gauge(self, name: str, what: str, *labels: str, mode: Literal["livesum", "livemin"] = "livesum") -> Gauge:
        """Of several processes the sum, while they live, or the least."""
        return Gauge(f"bookstore_{name}", what, labels, registry=self.registry, multiprocess_mode=mode)

    # ── As it happens ─────────────────────────────────────────────────────────────────────

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        if scope["path"] != self._path:
            return
        state = scope["state"]
        name, root, codes = state.get("operation"), state.get("root"), state.get("codes")
        asked = self._asked.get((name, root)) or self._admit(name, root)
        outcome = _worst(codes) if codes else OK if status < 400 else BAD_REQUEST if status < 500 else FAULT
        requests = asked.outcomes.get(outcome)
        if requests is None:
            requests = asked.outcomes[outcome] = self._requests.labels(asked.name, asked.root, outcome)
        requests.inc()
        asked.seconds.observe(seconds)

    def _admit(self, name: str | None, root: str | None) -> Asked:
        """By its own name, if it is trusted or one of the first that are met; else with all others."""
        if name is None or self._is_welcome(name):
            self._names += name is not None
            return self._asked.setdefault((name, root), self._new(name or NONE, root or NONE))
        return self._asked.get((OTHER, root)) or self._asked.setdefault((OTHER, root), self._new(OTHER, root or NONE))

    def _is_welcome(self, name: str) -> bool:
        known = name in self._trusted if self._trusted else len(name) <= LONGEST_NAME
        return known and self._names < MOST_NAMES + len(self._trusted)

    def _new(self, name: str, root: str) -> Asked:
        return Asked(name, root, self._seconds.labels(root))

    # ── Once a second ─────────────────────────────────────────────────────────────────────

    def gather(self) -> None:
        tally = self._shop.tally
        self._refusals.follow(tally.refusals)
        self._failed_sign_ins.follow(tally.failed_sign_ins)
        self._letters.follow(tally.letters)
        if self._documents is not None:
            done = self._documents.executed
            self._plans.follow({("hit",): done.planned, ("miss",): done.compiled, ("fallback",): done.interpreted})
            self._cost.follow({(): done.cost})
        lenders = {(pool,): lender for pool, lender in self._shop.database.lenders.items()}
        self._statements.follow({pool: lender.statements for pool, lender in lenders.items()})
        self._waits.follow({pool: lender.waits for pool, lender in lenders.items()})
        self._waited.follow({pool: lender.waited_seconds for pool, lender in lenders.items()})
        self._in_vain.follow({pool: lender.in_vain for pool, lender in lenders.items()})
        for (pool,), lender in lenders.items():
            self._connections.labels(pool, "in use").set(lender.in_use)
            self._connections.labels(pool, "idle").set(lender.idle)
            self._most.labels(pool).set(lender.most)
            self._waiting.labels(pool).set(lender.waiting)
        if self._standby is not None:
            self._standby.set(self._shop.database.standby_trouble is None)
        self._cpu.follow({(): time.process_time()})
        self._memory.set(self._process.memory_info().rss)

    @asynccontextmanager
    async def gathering(self) -> AsyncIterator[None]:
        """For as long as the shop is open, and once more at the end."""
        at_work = asyncio.create_task(self._gather_for_ever())
        try:
            yield
        finally:
            at_work.cancel()
            await asyncio.gather(at_work, return_exceptions=True)
            self.gather()

    async def _gather_for_ever(self) -> None:
        while True:
            self.gather()
            await asyncio.sleep(EVERY)


def _worst(codes: list[str]) -> str:
    return next((code for code in WORST if code in codes), codes[0])
