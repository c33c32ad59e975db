"""Leases save queries, never grant more than the budget, and waste little of it."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence.limits import leased_rate_limits, rate_limits
from persistence.limits.leased_rate_limits import LeasedStore
from persistence.limits.rate_limits import MemoryStore, Rate
from persistence.postgres.errors import Unavailable

RATE = Rate(burst=50_000, per_second=1_000)
ANN = b"ann"


@dataclass
class SharedStore:
    """A shared budget in memory that records each charge; tests can make it fail or wait."""

    limits: MemoryStore = field(default_factory=MemoryStore)
    charges: list[int] = field(default_factory=list)
    is_unavailable: bool = False
    may_continue: asyncio.Event | None = None

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        if self.may_continue is not None:
            await self.may_continue.wait()
        if self.is_unavailable:
            raise Unavailable
        wait = await self.limits.charge(caller, cost, rate)
        if wait == 0:
            self.charges.append(cost)
        return wait

    async def evict_full(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return _freeze_clock(monkeypatch)


def _freeze_clock(patch: pytest.MonkeyPatch) -> SimpleNamespace:
    """Replace the clock of budgets and leases by a clock that tests advance."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    for module in (rate_limits, leased_rate_limits):
        patch.setattr(module, "time", clock)
    return clock


async def _spend(limits: LeasedStore, cost: int, count: int = 1, rate: Rate = RATE) -> list[float]:
    return [await limits.charge(ANN, cost, rate) for _ in range(count)]


async def test_rejection_charges_nothing_and_keeps_the_lease(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    first, second = LeasedStore(shared), LeasedStore(shared)
    await _spend(first, 100, 2)  # leaves a lease of 100
    await _spend(second, 60_000)
    charges = list(shared.charges)

    assert await first.charge(ANN, 101, RATE) > 0
    assert shared.charges == charges
    assert await first.charge(ANN, 100, RATE) == 0
    assert await first.charge(ANN, 1, RATE) > 0


async def test_lease_is_usable_while_storage_is_down(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    limits = LeasedStore(shared)
    await _spend(limits, 100, 2)
    shared.is_unavailable = True

    with pytest.raises(Unavailable):
        await limits.charge(ANN, 101, RATE)
    assert await limits.charge(ANN, 100, RATE) == 0
    with pytest.raises(Unavailable):
        await limits.charge(ANN, 1, RATE)


async def test_cancelled_request_keeps_the_lease(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    limits = LeasedStore(shared)
    await _spend(limits, 100, 2)
    shared.may_continue = asyncio.Event()
    task = asyncio.create_task(limits.charge(ANN, 101, RATE))
    await asyncio.sleep(0)

    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    shared.may_continue, shared.is_unavailable = None, True
    assert await limits.charge(ANN, 100, RATE) == 0


async def test_lease_is_spent_once(clock: SimpleNamespace) -> None:
    """Concurrent requests do not spend the same lease."""
    shared = SharedStore()
    limits = LeasedStore(shared)
    await _spend(limits, 100, 2)  # leaves a lease of 100
    shared.may_continue = asyncio.Event()
    tasks = [asyncio.create_task(limits.charge(ANN, cost, RATE)) for cost in (150, 100)]
    await asyncio.sleep(0)
    shared.may_continue.set()
    await asyncio.gather(*tasks)

    assert sum(shared.charges) - limits._leases[ANN].remaining == 100 + 100 + 150 + 100


async def test_frequent_caller_rarely_uses_storage(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    assert set(await _spend(LeasedStore(shared), 100, 400)) == {0}
    assert len(shared.charges) < 50
    assert sum(shared.charges) <= 400 * 100 + RATE.per_second


async def test_occasional_caller_is_charged_exactly(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    processes = [LeasedStore(shared) for _ in range(100)]
    for limits in processes:
        await _spend(limits, 5)
        clock.now += 0.01
    await _spend(processes[0], 5)
    assert shared.charges == [5] * 101


async def test_lease_expires_after_a_second(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    limits = LeasedStore(shared)
    await _spend(limits, 100, 2)
    clock.now += leased_rate_limits.LEASE_TTL
    await _spend(limits, 100)
    assert shared.charges == [100, 200, 100]


async def test_lease_expiry_starts_when_it_is_taken(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    limits = LeasedStore(shared)
    for _ in range(3):
        await _spend(limits, 100)
        clock.now += 0.6 * leased_rate_limits.LEASE_TTL
    assert shared.charges == [100, 200]


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_rate_limits, "MAX_LEASES", 100)
    limits = LeasedStore(SharedStore())
    for caller in range(1_000):
        await limits.charge(str(caller).encode(), 1, RATE)
        assert len(limits._leases) <= 100


requests_strategy = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 400), st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.6, 1.0, 3.0])), max_size=80
)


@given(requests_strategy, st.sampled_from([Rate(burst=1_000, per_second=100), Rate(burst=100, per_second=1_000)]))
def test_grants_never_exceed_the_budget_nor_leases_twice_the_grants(
    requests: list[tuple[int, int, float]], rate: Rate
) -> None:
    """The bounds hold for three processes, with any costs and pauses."""

    async def charge_all(clock: SimpleNamespace) -> None:
        shared = SharedStore()
        processes = [LeasedStore(shared) for _ in range(3)]
        granted_cost = 0
        for process, cost, pause in requests:
            clock.now += pause
            if await processes[process].charge(ANN, cost, rate) == 0:
                granted_cost += cost
            assert granted_cost <= sum(shared.charges) <= 2 * granted_cost
            assert sum(shared.charges) <= rate.burst + rate.per_second * clock.now + 400 + min(
                rate.burst, rate.per_second
            )

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(charge_all(_freeze_clock(patch)))
