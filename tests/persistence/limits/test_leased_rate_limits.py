"""Processes that share budgets ask for them seldom, grant no more than they are, and take little that they do not need."""

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
    """A budget of several, in memory here, which notes how much was taken of it, and does not answer when it is told not to."""

    limits: MemoryStore = field(default_factory=MemoryStore)
    taken: list[int] = field(default_factory=list)
    is_away: bool = False
    held: asyncio.Event | None = None

    async def charge(self, caller: bytes, cost: int, rate: Rate) -> float:
        if self.held is not None:
            await self.held.wait()
        if self.is_away:
            raise Unavailable
        wait = await self.limits.charge(caller, cost, rate)
        if wait == 0:
            self.taken.append(cost)
        return wait

    async def evict_full(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return _freeze_clock(monkeypatch)


def _freeze_clock(patch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of budgets and of leases, which goes on when it is told to."""
    hands = SimpleNamespace(now=0.0)
    hands.monotonic = lambda: hands.now
    for module in (rate_limits, leased_rate_limits):
        patch.setattr(module, "time", hands)
    return hands


async def _spend(limits: LeasedStore, cost: int, times: int = 1, rate: Rate = RATE) -> list[float]:
    return [await limits.charge(ANN, cost, rate) for _ in range(times)]


async def test_rejection_charges_nothing_and_keeps_the_lease(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    here, there = LeasedStore(shared), LeasedStore(shared)
    await _spend(here, 100, 2)  # 100 are left here
    await _spend(there, 60_000)
    taken = list(shared.taken)

    assert await here.charge(ANN, 101, RATE) > 0
    assert shared.taken == taken
    assert await here.charge(ANN, 100, RATE) == 0
    assert await here.charge(ANN, 1, RATE) > 0


async def test_lease_is_usable_while_storage_is_down(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    limits = LeasedStore(shared)
    await _spend(limits, 100, 2)
    shared.is_away = True

    with pytest.raises(Unavailable):
        await limits.charge(ANN, 101, RATE)
    assert await limits.charge(ANN, 100, RATE) == 0
    with pytest.raises(Unavailable):
        await limits.charge(ANN, 1, RATE)


async def test_cancelled_request_keeps_the_lease(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    limits = LeasedStore(shared)
    await _spend(limits, 100, 2)
    shared.held = asyncio.Event()
    asking = asyncio.create_task(limits.charge(ANN, 101, RATE))
    await asyncio.sleep(0)

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    shared.held, shared.is_away = None, True
    assert await limits.charge(ANN, 100, RATE) == 0


async def test_lease_is_spent_once(clock: SimpleNamespace) -> None:
    """By requests at once, of which the first asks for all that it lacks."""
    shared = SharedStore()
    limits = LeasedStore(shared)
    await _spend(limits, 100, 2)  # 100 are left here
    shared.held = asyncio.Event()
    asking = [asyncio.create_task(limits.charge(ANN, cost, RATE)) for cost in (150, 100)]
    await asyncio.sleep(0)
    shared.held.set()
    await asyncio.gather(*asking)

    assert sum(shared.taken) - limits._leases[ANN].remaining == 100 + 100 + 150 + 100


async def test_busy_caller_rarely_uses_storage(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    assert set(await _spend(LeasedStore(shared), 100, 400)) == {0}
    assert len(shared.taken) < 50
    assert sum(shared.taken) <= 400 * 100 + RATE.per_second


async def test_occasional_caller_is_charged_exactly(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    processes = [LeasedStore(shared) for _ in range(100)]
    for limits in processes:
        await _spend(limits, 5)
        clock.now += 0.01
    await _spend(processes[0], 5)
    assert shared.taken == [5] * 101


async def test_lease_expires_after_a_second(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    limits = LeasedStore(shared)
    await _spend(limits, 100, 2)
    clock.now += leased_rate_limits.LEASE_TTL
    await _spend(limits, 100)
    assert shared.taken == [100, 200, 100]


async def test_lease_expiry_starts_when_it_is_taken(clock: SimpleNamespace) -> None:
    shared = SharedStore()
    limits = LeasedStore(shared)
    for _ in range(3):
        await _spend(limits, 100)
        clock.now += 0.6 * leased_rate_limits.LEASE_TTL
    assert shared.taken == [100, 200]


async def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_rate_limits, "MAX_LEASES", 100)
    limits = LeasedStore(SharedStore())
    for caller in range(1_000):
        await limits.charge(str(caller).encode(), 1, RATE)
        assert len(limits._leases) <= 100


asked = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 400), st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.6, 1.0, 3.0])), max_size=80
)


@given(asked, st.sampled_from([Rate(burst=1_000, per_second=100), Rate(burst=100, per_second=1_000)]))
def test_grants_never_exceed_the_budget_nor_leases_twice_the_grants(
    asked: list[tuple[int, int, float]], rate: Rate
) -> None:
    """Of three processes, whatever they are asked for, and whenever."""

    async def ask(clock: SimpleNamespace) -> None:
        shared = SharedStore()
        processes = [LeasedStore(shared) for _ in range(3)]
        granted = 0
        for process, cost, pause in asked:
            clock.now += pause
            if await processes[process].charge(ANN, cost, rate) == 0:
                granted += cost
            assert granted <= sum(shared.taken) <= 2 * granted
            assert sum(shared.taken) <= rate.burst + rate.per_second * clock.now + 400 + min(
                rate.burst, rate.per_second
            )

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(ask(_freeze_clock(patch)))
