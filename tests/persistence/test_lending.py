"""Connections are lent for a statement each: never two at once, never a broken one, and never more than there may be."""

import asyncio
from collections.abc import AsyncIterator

import asyncpg
import pytest

from persistence.connecting import driver_address
from persistence.lending import Lender, LentConnection, NoneFree

MOST = 2
IDLE_SECONDS = 100.0
PID = "SELECT pg_backend_pid()"
ASLEEP = "SELECT wait_event = 'PgSleep' FROM pg_stat_activity WHERE pid = $1"


class Opening:
    """Opens connections, unless it is told that it cannot."""

    def __init__(self, url: str) -> None:
        self._address = driver_address(url)
        self.opened: list[LentConnection] = []
        self.trouble: Exception | None = None
        self.admitted = asyncio.Event()
        self.admitted.set()

    async def __call__(self) -> LentConnection:
        await self.admitted.wait()
        if self.trouble:
            raise self.trouble
        connection: LentConnection = await asyncpg.connect(self._address, connection_class=LentConnection)
        self.opened.append(connection)
        return connection


@pytest.fixture
async def opening(database_url: str) -> AsyncIterator[Opening]:
    opening = Opening(database_url)
    yield opening
    for connection in opening.opened:
        connection.terminate()


def lender(opening: Opening, wait_seconds: float = 30) -> Lender:
    return Lender(opening, MOST, wait_seconds=wait_seconds, idle_seconds=IDLE_SECONDS)


async def test_whoever_finds_none_waits_no_longer_than_said(opening: Opening) -> None:
    lends = lender(opening)
    lent = [await lends.borrow() for _ in range(MOST)]
    lends._wait_seconds = 0.01
    with pytest.raises(NoneFree):
        await lends.borrow()
    for connection in lent:
        lends.give_back(connection)
    assert {await lends.borrow() for _ in range(MOST)} == set(lent)
    assert len(opening.opened) == MOST


async def test_opening_takes_no_longer_either(opening: Opening) -> None:
    lends = lender(opening, wait_seconds=0.01)
    opening.admitted.clear()
    for _ in range(MOST + 1):
        with pytest.raises(TimeoutError) as raised:
            await lends.borrow()
        assert not isinstance(raised.value, NoneFree)
    opening.admitted.set()
    lends._wait_seconds = 30
    assert len({await lends.borrow() for _ in range(MOST)}) == MOST


async def test_what_cannot_be_opened_takes_no_place(opening: Opening) -> None:
    lends = lender(opening)
    opening.trouble = ConnectionRefusedError("nobody there")
    for _ in range(MOST + 1):
        with pytest.raises(ConnectionRefusedError):
            await lends.borrow()
    opening.trouble = None
    assert len({await lends.borrow() for _ in range(MOST)}) == MOST


async def test_whoever_waits_for_a_place_gets_one_that_could_not_be_used(opening: Opening) -> None:
    lends = lender(opening)
    opening.admitted.clear()
    asked = [asyncio.create_task(lends.borrow()) for _ in range(MOST + 1)]
    await asyncio.sleep(0)
    asked[0].cancel()
    opening.admitted.set()
    done = await asyncio.gather(*asked, return_exceptions=True)
    assert isinstance(done[0], asyncio.CancelledError)
    assert len(set(done[1:])) == MOST == len(opening.opened)


async def test_who_has_waited_longest_is_next(opening: Opening) -> None:
    lends = lender(opening)
    first, second = [await lends.borrow() for _ in range(MOST)]
    waiting = [asyncio.create_task(lends.borrow()) for _ in range(3)]
    await asyncio.sleep(0)
    lends.give_back(second)
    lends.give_back(first)
    assert [await waiting[0], await waiting[1]] == [second, first]
    assert not waiting[2].done()
    lends.give_back(first)
    assert await waiting[2] is first


async def test_who_no_longer_waits_is_passed_over(opening: Opening) -> None:
    lends = lender(opening)
    first, _ = [await lends.borrow() for _ in range(MOST)]
    gone, still_there = (asyncio.create_task(lends.borrow()) for _ in range(2))
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.sleep(0)
    lends.give_back(first)
    assert await still_there is first


async def test_what_came_at_the_moment_of_giving_up_goes_to_the_next(opening: Opening) -> None:
    lends = lender(opening)
    first, _ = [await lends.borrow() for _ in range(MOST)]
    gone, still_there = (asyncio.create_task(lends.borrow()) for _ in range(2))
    await asyncio.sleep(0)
    lends.give_back(first)
    gone.cancel()
    assert await still_there is first
    assert gone.cancelled()


async def test_a_broken_one_is_not_lent_again(opening: Opening, postgres: asyncpg.Connection) -> None:
    lends = lender(opening)
    broken = await lends.borrow()
    pid = await broken.fetchval(PID)
    lends.give_back(broken)
    await postgres.fetchval("SELECT pg_terminate_backend($1, 5000)", pid)
    while not broken.is_closed():
        await asyncio.sleep(0.001)
    whole = [await lends.borrow() for _ in range(MOST)]
    assert broken not in whole
    assert await whole[0].fetchval(PID) != pid


async def test_one_that_broke_meanwhile_makes_room_for_whoever_waits(opening: Opening) -> None:
    lends = lender(opening)
    broken, _ = [await lends.borrow() for _ in range(MOST)]
    waiting = asyncio.create_task(lends.borrow())
    await asyncio.sleep(0)
    broken.terminate()
    lends.give_back(broken)
    assert await (await waiting).fetchval("SELECT 1") == 1
    assert len(opening.opened) == MOST + 1


async def test_one_whose_statement_was_given_up_is_lent_when_that_has_ended(
    opening: Opening, postgres: asyncpg.Connection
) -> None:
    lends = lender(opening)
    lent = await lends.borrow()
    pid = await lent.fetchval(PID)
    statement = asyncio.create_task(lent.fetch("SELECT pg_sleep(60)"))
    while not await postgres.fetchval(ASLEEP, pid):
        await asyncio.sleep(0.001)
    statement.cancel()
    await asyncio.gather(statement, return_exceptions=True)
    lends.give_back_checked(lent)
    other = await lends.borrow()
    assert other is not lent
    again = await lends.borrow()
    assert again is lent
    assert await again.fetchval("SELECT 1") == 1


@pytest.mark.parametrize("steps", [["BEGIN"], ["BEGIN", "SELECT 1"], ["BEGIN", "SELECT 1 / 0"]])
async def test_one_that_was_given_up_in_a_transaction_is_lent_outside_of_it(opening: Opening, steps: list[str]) -> None:
    lends = lender(opening)
    lent, _ = [await lends.borrow() for _ in range(MOST)]
    for number, step in enumerate(steps, 1):
        running = asyncio.create_task(lent.execute(step))
        if number == len(steps) == 1:
            await asyncio.sleep(0)  # it has been sent, and no more
            running.cancel()
        await asyncio.gather(running, return_exceptions=True)
    lends.give_back_checked(lent)
    again = await lends.borrow()
    assert again is lent
    assert not again.is_in_transaction()
    assert await again.fetchval("SELECT 1") == 1


async def test_what_nobody_needs_is_closed(opening: Opening) -> None:
    lends = lender(opening)
    busy, idle = [await lends.borrow() for _ in range(MOST)]
    lends.give_back(idle)
    lends.give_back(busy)
    idle.used_at -= IDLE_SECONDS + 1
    assert await lends.borrow() is busy
    lends.give_back(busy)
    assert idle.is_closed()
    assert not busy.is_closed()
    assert idle not in [await lends.borrow() for _ in range(MOST)]


async def test_nothing_is_lent_after_the_end(opening: Opening) -> None:
    lends = lender(opening)
    lent, idle = [await lends.borrow() for _ in range(MOST)]
    lends.give_back(idle)
    await lends.close()
    assert idle.is_closed()
    with pytest.raises(asyncpg.InterfaceError, match="closed"):
        await lends.borrow()
    assert await lent.fetchval("SELECT 1") == 1
    lends.give_back(lent)
    assert lent.is_closed()
