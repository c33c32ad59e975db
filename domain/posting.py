"""Posting: what becomes of a letter when it is taken to the post office."""

import datetime as dt
import uuid
from collections.abc import Callable, Collection
from dataclasses import dataclass
from email.message import EmailMessage
from typing import Protocol

import stamina
import structlog

from domain.contents import Contents, NotHere, Obsolete, contents_of
from domain.shop import Shop
from persistence import letters
from persistence.faults import Unavailable, retried
from persistence.letters import Letter, LetterStatus

log = structlog.get_logger()

LONGEST_PROBLEM = 500


class PostRefused(Exception):
    """It will never be taken to this address."""


class PostDelayed(Exception):
    """It was not taken this time."""


class PostOffice(Protocol):
    async def send(self, message: EmailMessage) -> None:
        """Comes back once the letter has been taken.

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
    """Where letters are made and handed in; without an office none is sent, and each is noted as suppressed."""

    compose: Callable[[Contents], EmailMessage]
    office: PostOffice | None
    patience: Patience = Patience()


async def post(shop: Shop, desk: Desk, letter_id: uuid.UUID) -> dt.timedelta | None:
    """Sends a letter, unless that is settled; in how long to try again, or `None` when it is settled now.

    The caller sees to it that nobody else is posting the same letter. It is sent twice only when the process dies
    between the post office's answer and the note of it. Raises `Unavailable` when the database is away.
    """
    async with shop.database.transaction() as tx:
        letter = await letters.find_letter(tx, letter_id)
    if letter is None or letter.status != LetterStatus.QUEUED:
        return None
    try:
        status, problem = await _deliver(shop, desk, letter)
    except Unavailable:
        raise
    except Exception as error:  # a fault of ours loses no letter either
        if not isinstance(error, (NotHere, PostDelayed, OSError)):
            log.exception("letter_unfit", letter=str(letter.id), kind=letter.kind)
        return await _postpone(shop, desk.patience, letter, _told(error))
    await _settle(shop, letter, status, problem)
    return None


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
    async with shop.database.transaction() as tx:
        await letters.note_attempt(tx, letter.id, problem)
    shop.tally.letters[letter.kind, "POSTPONED"] += 1
    log.warning("letter_postponed", letter=str(letter.id), kind=letter.kind, seconds=delay.total_seconds(), why=problem)
    return delay


@stamina.retry(on=Unavailable, attempts=10, timeout=60, wait_max=10)  # what was sent and not noted is sent again
async def _settle(shop: Shop, letter: Letter, status: LetterStatus, problem: str | None) -> None:
    async with shop.database.transaction() as tx:
        await letters.settle_letter(tx, letter.id, status, problem)
    shop.tally.letters[letter.kind, str(status)] += 1
    note = log.warning if status is LetterStatus.FAILED else log.info
    note("letter_settled", letter=str(letter.id), kind=letter.kind, status=str(status), why=problem)


@retried
async def begin_again(shop: Shop, letter_ids: Collection[uuid.UUID] | None = None) -> int:
    """Letters that were given up, all or these, as if they had never been tried; how many."""
    async with shop.database.transaction() as tx:
        return await letters.requeue_failed_letters(tx, letter_ids)


def _told(error: Exception) -> str:
    """In one line that can be kept and shown."""
    text = " ".join(str(error).split()) or type(error).__name__
    return "".join(character for character in text if character.isprintable())[:LONGEST_PROBLEM]
