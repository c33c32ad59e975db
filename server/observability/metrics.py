"""The Prometheus metrics of a process: requests as they end, and once a second the shop's own counters."""

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
from graph.execution.documents import Documents

GATHER_INTERVAL = 1.0  # seconds
MAX_OPERATION_NAMES, MAX_NAME_LENGTH = 100, 100
"""Limits for names of operations that are not trusted, because clients choose them."""
OTHER, NONE = "other", "none"
INTERNAL_ERROR, BAD_REQUEST, OK = "INTERNAL_SERVER_ERROR", "BAD_REQUEST", "OK"
CODES_BY_SEVERITY = (INTERNAL_ERROR, "TIMEOUT", "SERVICE_UNAVAILABLE")
LATENCY_BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)  # seconds


@dataclass(frozen=True, slots=True)
class OperationMetrics:
    """The counters of an operation, looked up once."""

    name: str
    root: str
    seconds: Histogram
    outcomes: dict[str, Counter] = field(default_factory=dict)


class DeltaCounter:
    """A counter that follows totals which are counted elsewhere, by their labels."""

    def __init__(self, counter: Counter) -> None:
        self._counter = counter
        self._last_totals: dict[tuple[str, ...], float] = {}

    def update_to(self, totals: Mapping[Any, float]) -> None:
        """Raise the counter to the new totals."""
        for labels, total in totals.items():
            if total != self._last_totals.get(labels):
                counter = self._counter.labels(*labels) if labels else self._counter
                counter.inc(total - self._last_totals.get(labels, 0))
                self._last_totals[labels] = total


class Metrics:
    """The metrics of a process.

    Requests to `path` are counted. `documents` is the registry of a process that executes documents.
    """

    def __init__(self, shop: Shop, documents: Documents | None = None, path: str = "") -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]  # doubles the number of series
        self.registry = CollectorRegistry()
        self._shop, self._documents, self._path = shop, documents, path
        self._trusted = documents.trusted_operation_names if documents else frozenset[str]()
        self._operations: dict[tuple[str | None, str | None], OperationMetrics] = {}
        self._name_count = 0
        self._process = psutil.Process()

        self._requests = self._create_counter("requests", "Requests to the endpoint.", "operation", "field", "outcome")
        description = "Request duration by root field."
        self._seconds = Histogram(
            "bookstore_request_seconds", description, ["field"], buckets=LATENCY_BUCKETS, registry=self.registry
        )
        description = "Executed operations by plan: cached (hit), compiled (miss), graphql-core (fallback)."
        self._plans = self._create_delta_counter("operations", description, "plan")
        self._cost = self._create_delta_counter("cost", "Total cost of executed operations, in cost units.")
        self._user_errors = self._create_delta_counter("refusals", "User errors by mutation and code.", "field", "code")
        description = "Failed sign-ins through OAuth providers."
        self._failed_sign_ins = self._create_delta_counter("provider_sign_in_failures", description, "provider", "why")
        description = "Email delivery attempts by kind and outcome."
        self._emails = self._create_delta_counter("letters", description, "kind", "outcome")
        self._statements = self._create_delta_counter("statements", "SQL statements.", "pool")
        self._waits = self._create_delta_counter("pool_waits", "Acquisitions that waited for a connection.", "pool")
        self._wait_seconds = self._create_delta_counter(
            "pool_waited_seconds", "Total seconds spent waiting for a connection.", "pool"
        )
        self._timeouts = self._create_delta_counter("pool_timeouts", "Acquisitions that timed out.", "pool")
        self._connections = self._create_gauge("pool_connections", "Connections to PostgreSQL.", "pool", "state")
        self._max_connections = self._create_gauge("pool_connections_limit", "Maximum pool size.", "pool")
        self._waiting = self._create_gauge("pool_waiting", "Acquisitions waiting now.", "pool")
        self._cpu = self._create_delta_counter("cpu_seconds", "CPU time of the processes.")
        self._memory = self._create_gauge("memory_bytes", "Resident memory of the processes.")
        self._create_gauge("processes", "Running processes.").set(1)
        description = (
            "Whether anonymous reads go to replicas in all processes: 0 while any process falls back to the primary."
        )
        reads_from_replicas = documents is not None and shop.database.has_replicas
        self._replica_up = (
            self._create_gauge("standby_up", description, mode="livemin") if reads_from_replicas else None
        )

    def _create_counter(self, name: str, description: str, *labels: str) -> Counter:
        return Counter(f"bookstore_{name}", description, labels, registry=self.registry)

    def _create_delta_counter(self, name: str, description: str, *labels: str) -> DeltaCounter:
        return DeltaCounter(self._create_counter(name, description, *labels))

    def _create_gauge(
        self, name: str, description: str, *labels: str, mode: Literal["livesum", "livemin"] = "livesum"
    ) -> Gauge:
        """Create a gauge whose value over live processes is the sum or the minimum."""
        return Gauge(f"bookstore_{name}", description, labels, registry=self.registry, multiprocess_mode=mode)

    # ── Per request ───────────────────────────────────────────────────────────────────────

    def observe(self, scope: Scope, status: int, seconds: float) -> None:
        """Count a request to the endpoint."""
        if scope["path"] != self._path:
            return
        state = scope["state"]
        name, root, codes = state.get("operation"), state.get("root"), state.get("codes")
        operation = self._operations.get((name, root)) or self._get_or_create(name, root)
        outcome = (
            _get_most_severe(codes)
            if codes
            else OK
            if status < 400
            else BAD_REQUEST
            if status < 500
            else INTERNAL_ERROR
        )
        requests = operation.outcomes.get(outcome)
        if requests is None:
            requests = operation.outcomes[outcome] = self._requests.labels(operation.name, operation.root, outcome)
        requests.inc()
        operation.seconds.observe(seconds)

    def _get_or_create(self, name: str | None, root: str | None) -> OperationMetrics:
        """Return the metrics of an operation; beyond the limit of names it shares those of `other`."""
        if name is None or self._has_own_label(name):
            self._name_count += name is not None
            return self._operations.setdefault((name, root), self._create(name or NONE, root or NONE))
        return self._operations.get((OTHER, root)) or self._operations.setdefault(
            (OTHER, root), self._create(OTHER, root or NONE)
        )

    def _has_own_label(self, name: str) -> bool:
        is_allowed = name in self._trusted if self._trusted else len(name) <= MAX_NAME_LENGTH
        return is_allowed and self._name_count < MAX_OPERATION_NAMES + len(self._trusted)

    def _create(self, name: str, root: str) -> OperationMetrics:
        return OperationMetrics(name, root, self._seconds.labels(root))

    # ── Once a second ─────────────────────────────────────────────────────────────────────

    def gather(self) -> None:
        """Copy the shop's counters and gauges into the metrics."""
        counters = self._shop.counters
        self._user_errors.update_to(counters.user_errors)
        self._failed_sign_ins.update_to(counters.failed_oauth_logins)
        self._emails.update_to(counters.emails)
        if self._documents is not None:
            executed = self._documents.counters
            self._plans.update_to(
                {("hit",): executed.planned, ("miss",): executed.compiled, ("fallback",): executed.interpreted}
            )
            self._cost.update_to({(): executed.cost})
        pools = {(name,): pool for name, pool in self._shop.database.pools.items()}
        self._statements.update_to({labels: pool.statement_count for labels, pool in pools.items()})
        self._waits.update_to({labels: pool.requests_queued for labels, pool in pools.items()})
        self._wait_seconds.update_to({labels: pool.requests_wait_seconds for labels, pool in pools.items()})
        self._timeouts.update_to({labels: pool.timeouts for labels, pool in pools.items()})
        for (name,), pool in pools.items():
            self._connections.labels(name, "in use").set(pool.in_use)
            self._connections.labels(name, "idle").set(pool.idle)
            self._max_connections.labels(name).set(pool.max_size)
            self._waiting.labels(name).set(pool.requests_waiting)
        if self._replica_up is not None:
            self._replica_up.set(self._shop.database.replica_failure is None)
        self._cpu.update_to({(): time.process_time()})
        self._memory.set(self._process.memory_info().rss)

    @asynccontextmanager
    async def run_gathering(self) -> AsyncIterator[None]:
        """Gather metrics every second during the block, and once at its end."""
        task = asyncio.create_task(self._gather_periodically())
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            self.gather()

    async def _gather_periodically(self) -> None:
        while True:
            self.gather()
            await asyncio.sleep(GATHER_INTERVAL)


def _get_most_severe(codes: list[str]) -> str:
    return next((code for code in CODES_BY_SEVERITY if code in codes), codes[0])
