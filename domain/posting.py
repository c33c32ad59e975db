"""Posting: what becomes of a letter when it is taken to the post office."""

import asyncio
import contextlib
import datetime as dt
import re
import uuid
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol, TypeVar

import stamina
import structlog

from domain.contents import Contents, NotHere, Obsolete, contents_of
from domain.shop import Shop
from persistence import letters
from persistence.faults import Unavailable, retried
from persistence.letters import Letter, LetterStatus

T = TypeVar("T")

log = structlog.get_logger()

LONGEST_PROBLEM = 500
LEASE = dt.timedelta(minutes=3)
"""For sending a letter, a minute at most, and noting that through a failover. So long waits a letter whose poster died."""
LONGEST_WAIT = 5  # seconds until it is tried again to note what has become of a letter
LAST_WORD = 2  # seconds for giving a letter back when the poster closes


class PostRefused(Exception):
    """It will never be taken to this address."""


class PostDelayed(Exception):
    """It was not taken this time."""


class InHand(Exception):
    """Another poster has the letter."""


class PostOffice(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """Comes back once the letter has been taken, within a minute or so.

        Raises `PostRefused`, which is for good; `PostDelayed` or `OSError` when it is to be tried again.
        """


@dataclass(frozen=True, slots=True)
class Patience:
    """Each try comes twice as long after the last: 18 of them, from 5 seconds to 6 hours apart, take a day and a half."""

    first_delay: dt.timedelta = dt.timedelta(seconds=5)
    longest_delay: dt.timedelta = dt.timedelta(hours=6)
    attempts: int = 18

    def delay_after(self, attempts: int) -> dt.timedelta | None:
        """`None` when it is to be given up."""
        if attempts >= self.attempts:
            return None
        return min(self.first_delay * (1 << min(attempts - 1, 30)), self.longest_delay)


@dataclass(frozen=True, slots=True)
class Desk:
    """Where letters are made and handed in; without an office none is sent, and each is noted as suppressed.

    Who takes a letter has it for the `lease`, on the database's clock.
    """

    compose: Callable[[Contents], EmailMessage]
    office: PostOffice | None
    patience: Patience = Patience()
    lease: dt.timedelta = LEASE


async def post(shop: Shop, desk: Desk, letter_id: uuid.UUID, *, takes_over: bool = True) -> dt.timedelta | None:
    """Sends a letter, unless that is settled; in how long to try again, or `None` when it is settled now.

    Nobody else sends it while the desk's lease runs; with `takes_over` one is sent, too, that somebody else had for longer
    than theirs. It is sent twice only when the office's answer is lost, or is not noted before somebody takes over: the
    process has died or was stopped, slept through its lease, or was cut off for so long from a database that others reached.

    Raises `InHand`, or `Unavailable` when the database is away: then it was not sent.
    """
    ends = asyncio.get_running_loop().time() + desk.lease.total_seconds()
    letter = await _taken(shop, letter_id, desk.lease, takes_over)
    if letter is None:
        return None
    try:
        async with asyncio.timeout_at(ends):  # who was asleep for so long does not begin to send
            status, problem = await _deliver(shop, desk, letter)
    except asyncio.CancelledError:
        with contextlib.suppress(Unavailable, TimeoutError):
            async with asyncio.timeout(LAST_WORD):
                await _give_back(shop, letter)
        raise
    except Unavailable:
        await _noted(lambda: _give_back(shop, letter))
        raise
    except Exception as error:  # a fault of ours loses no letter either
        if not isinstance(error, (NotHere, PostDelayed, OSError)):
            log.exception("letter_unfit", letter=str(letter.id), kind=letter.kind)
        return await _postpone(shop, desk.patience, letter, _told(error))
    await _settle(shop, letter, status, problem)
    return None


async def _taken(shop: Shop, letter_id: uuid.UUID, lease: dt.timedelta, takes_over: bool) -> Letter | None:
    """`None` where nothing is left to do. Committed before anything is sent."""
    async with shop.database.transaction() as tx:
        taken = await letters.take_letter(tx, letter_id, lease, takes_over=takes_over)
        letter = await letters.find_letter(tx, letter_id)
    if letter is None or letter.status != LetterStatus.QUEUED:
        return None
    if not taken:
        raise InHand
    return letter


async def _deliver(shop: Shop, desk: Desk, letter: Letter) -> tuple[LetterStatus, str | None]:
    try:
        async with shop.database.transaction() as tx:
            contents = await contents_of(tx, shop, letter)
        if desk.office is None:
            return LetterStatus.SUPPRESSED, None
        await desk.office.send(desk.compose(contents))
    except Obsolete as reason:
        return LetterStatus.OBSOLETE, str(reason)
    except PostRefused as refusal:
        return LetterStatus.FAILED, _told(refusal)
    return LetterStatus.SENT, None


async def _postpone(shop: Shop, patience: Patience, letter: Letter, problem: str) -> dt.timedelta | None:
    delay = patience.delay_after(letter.attempts + 1)
    if delay is None:
        await _settle(shop, letter, LetterStatus.FAILED, problem)
        return None

    async def note() -> bool:
        async with shop.database.transaction() as tx:
            return await letters.postpone_letter(tx, letter, problem)

    if await _noted(note):
        shop.tally.letters[letter.kind, "POSTPONED"] += 1
        told = {"seconds": delay.total_seconds(), "why": _without_addresses(problem)}
        log.warning("letter_postponed", letter=str(letter.id), kind=letter.kind, **told)
    return delay


async def _settle(shop: Shop, letter: Letter, status: LetterStatus, problem: str | None) -> None:
    async def note() -> bool:
        async with shop.database.transaction() as tx:
            return await letters.settle_letter(tx, letter.id, status, problem, taken_until=letter.taken_until)

    told = {"letter": str(letter.id), "kind": letter.kind, "status": str(status)}
    if not await _noted(note):  # by whoever took it over, or by us when the answer to a COMMIT was lost
        log.warning("letter_settled_before", **told)
        return
    shop.tally.letters[letter.kind, str(status)] += 1
    write = log.warning if status is LetterStatus.FAILED else log.info
    write("letter_settled", **told, why=problem and _without_addresses(problem))


async def _give_back(shop: Shop, letter: Letter) -> None:
    async with shop.database.transaction() as tx:
        await letters.give_back_letter(tx, letter)


async def _noted(note: Callable[[], Awaitable[T]]) -> T:
    """However long the database is away: what was sent and not noted is sent again."""
    # a context, because a decorated function's arguments would be logged: keys and addresses among them
    async for attempt in stamina.retry_context(on=Unavailable, attempts=None, timeout=None, wait_max=LONGEST_WAIT):
        with attempt:
            return await note()
    raise AssertionError("unreachable")


@retried
async def begin_again(shop: Shop, letter_ids: Collection[uuid.UUID] | None = None) -> int:
    """Letters that were given up, all or these, as if they had never been tried; how many."""
    async with shop.database.transaction() as tx:
        return await letters.requeue_failed_letters(tx, letter_ids)


def _told(error: Exception) -> str:
    """In one line that can be kept and shown."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(character for character in text if character.isprintable())[:LONGEST_PROBLEM]


def _without_addresses(problem: str) -> str:
    """For the log: mail servers like to repeat whom they refuse."""
    return _ADDRESS.sub("…", problem)


_ADDRESS = re.compile(r"""[^\s<>"']+@[^\s<>"']+""")
