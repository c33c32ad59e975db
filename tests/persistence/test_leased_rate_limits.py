"""Processes that share budgets ask for them seldom, grant no more than they are, and take little that they do not need."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from persistence import leased_rate_limits, rate_limits
from persistence.faults import Unavailable
from persistence.leased_rate_limits import Leased
from persistence.rate_limits import InMemory, Rate

RATE = Rate(burst=50_000, per_second=1_000)
ANN = b"ann"


@dataclass
class Shared:
    """A budget of several, in memory here, which notes how much was taken of it, and does not answer when it is told not to."""

    limits: InMemory = field(default_factory=InMemory)
    taken: list[int] = field(default_factory=list)
    is_away: bool = False
    held: asyncio.Event | None = None

    async def spend(self, caller: bytes, cost: int, rate: Rate) -> float:
        if self.held is not None:
            await self.held.wait()
        if self.is_away:
            raise Unavailable
        wait = await self.limits.spend(caller, cost, rate)
        if wait == 0:
            self.taken.append(cost)
        return wait

    async def forget_full(self) -> None: ...

    async def close(self) -> None: ...


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    return _stopped(monkeypatch)


def _stopped(patch: pytest.MonkeyPatch) -> SimpleNamespace:
    """The clock of budgets and of leases, which goes on when it is told to."""
    hands = SimpleNamespace(now=0.0)
    hands.monotonic = lambda: hands.now
    for module in (rate_limits, leased_rate_limits):
        patch.setattr(module, "time", hands)
    return hands


async def _spend(limits: Leased, cost: int, times: int = 1, rate: Rate = RATE) -> list[float]:
    return [await limits.spend(ANN, cost, rate) for _ in range(times)]


async def test_a_refusal_takes_nothing_and_leaves_what_is_here(clock: SimpleNamespace) -> None:
    shared = Shared()
    here, there = Leased(shared), Leased(shared)
    await _spend(here, 100, 2)  # 100 are left here
    await _spend(there, 60_000)
    taken = list(shared.taken)

    assert await here.spend(ANN, 101, RATE) > 0
    assert shared.taken == taken
    assert await here.spend(ANN, 100, RATE) == 0
    assert await here.spend(ANN, 1, RATE) > 0


async def test_what_is_here_can_be_spent_while_the_others_cannot_be_asked(clock: SimpleNamespace) -> None:
    shared = Shared()
    limits = Leased(shared)
    await _spend(limits, 100, 2)
    shared.is_away = True

    with pytest.raises(Unavailable):
        await limits.spend(ANN, 101, RATE)
    assert await limits.spend(ANN, 100, RATE) == 0
    with pytest.raises(Unavailable):
        await limits.spend(ANN, 1, RATE)


async def test_who_gives_up_asking_leaves_what_is_here(clock: SimpleNamespace) -> None:
    shared = Shared()
    limits = Leased(shared)
    await _spend(limits, 100, 2)
    shared.held = asyncio.Event()
    asking = asyncio.create_task(limits.spend(ANN, 101, RATE))
    await asyncio.sleep(0)

    asking.cancel()
    await asyncio.gather(asking, return_exceptions=True)
    shared.held, shared.is_away = None, True
    assert await limits.spend(ANN, 100, RATE) == 0


async def test_what_is_here_is_spent_once(clock: SimpleNamespace) -> None:
    """By requests at once, of which the first asks for all that it lacks."""
    shared = Shared()
    limits = Leased(shared)
    await _spend(limits, 100, 2)  # 100 are left here
    shared.held = asyncio.Event()
    asking = [asyncio.create_task(limits.spend(ANN, cost, RATE)) for cost in (150, 100)]
    await asyncio.sleep(0)
    shared.held.set()
    await asyncio.gather(*asking)

    assert sum(shared.taken) - limits._leases[ANN].left == 100 + 100 + 150 + 100


async def test_a_busy_caller_seldom_asks(clock: SimpleNamespace) -> None:
    shared = Shared()
    assert set(await _spend(Leased(shared), 100, 400)) == {0}
    assert len(shared.taken) < 50
    assert sum(shared.taken) <= 400 * 100 + RATE.per_second


async def test_who_asks_now_and_then_pays_what_it_costs(clock: SimpleNamespace) -> None:
    shared = Shared()
    processes = [Leased(shared) for _ in range(100)]
    for limits in processes:
        await _spend(limits, 5)
        clock.now += 0.01
    await _spend(processes[0], 5)
    assert shared.taken == [5] * 101


async def test_what_is_not_spent_within_a_second_is_lost(clock: SimpleNamespace) -> None:
    shared = Shared()
    limits = Leased(shared)
    await _spend(limits, 100, 2)
    clock.now += leased_rate_limits.KEPT
    await _spend(limits, 100)
    assert shared.taken == [100, 200, 100]


async def test_it_is_a_second_since_it_was_taken(clock: SimpleNamespace) -> None:
    shared = Shared()
    limits = Leased(shared)
    for _ in range(3):
        await _spend(limits, 100)
        clock.now += 0.6 * leased_rate_limits.KEPT
    assert shared.taken == [100, 200]


async def test_many_callers_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leased_rate_limits, "MOST_LEASES", 100)
    limits = Leased(Shared())
    for caller in range(1_000):
        await limits.spend(str(caller).encode(), 1, RATE)
        assert len(limits._leases) <= 100


asked = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 400), st.sampled_from([0.0, 0.0, 0.0, 0.1, 0.6, 1.0, 3.0])), max_size=80
)


@given(asked, st.sampled_from([Rate(burst=1_000, per_second=100), Rate(burst=100, per_second=1_000)]))
def test_no_more_is_granted_than_there_is_and_no_more_taken_than_twice_what_is_granted(
    asked: list[tuple[int, int, float]], rate: Rate
) -> None:
    """Of three processes, whatever they are asked for, and whenever."""

    async def ask(clock: SimpleNamespace) -> None:
        shared = Shared()
        processes = [Leased(shared) for _ in range(3)]
        granted = 0
        for process, cost, pause in asked:
            clock.now += pause
            if await processes[process].spend(ANN, cost, rate) == 0:
                granted += cost
            assert granted <= sum(shared.taken) <= 2 * granted
            assert sum(shared.taken) <= rate.burst + rate.per_second * clock.now + 400 + min(
                rate.burst, rate.per_second
            )

    with pytest.MonkeyPatch.context() as patch:
        asyncio.run(ask(_stopped(patch)))
