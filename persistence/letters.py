"""Letters: each kind once for each subject and recipient, with the job that carries it."""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import Boolean, DateTime, Interval, String, Uuid, any_, bindparam, func, select, update
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import jobs, models
from persistence.database import Reading, Transaction
from persistence.query import Command, Query

ENTRYPOINT = "letter"
"""What PgQueuer calls the work of posting one; the payload is the letter's id."""


class LetterKind(StrEnum):
    ORDER_CONFIRMED = "ORDER_CONFIRMED"
    ORDER_SHIPPED = "ORDER_SHIPPED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    BOOK_BACK = "BOOK_BACK"
    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105  # no password
    PROVIDER_LINKED = "PROVIDER_LINKED"


class LetterStatus(StrEnum):
    QUEUED = "QUEUED"
    SENT = "SENT"
    SUPPRESSED = "SUPPRESSED"
    """Not sent because the settings say so."""
    OBSOLETE = "OBSOLETE"
    """Not sent because what it would tell is no longer there."""
    FAILED = "FAILED"


@dataclass(slots=True)
class Letter:
    """`address` is the recipient's of today; until `taken_until`, one poster alone sends it."""

    id: uuid.UUID
    kind: str
    subject_id: uuid.UUID
    user_id: uuid.UUID
    status: str
    attempts: int
    problem: str | None
    created_at: dt.datetime
    settled_at: dt.datetime | None
    taken_until: dt.datetime | None
    address: str = field(repr=False)


_letter = models.Letter
_columns = (*(getattr(_letter, name) for name in Letter.__slots__ if name != "address"), models.User.email)
_letters = select(*_columns).join(models.User, models.User.id == _letter.user_id)
_BY_ID = Query(_letters.where(_letter.id == bindparam("id", type_=Uuid())), Letter)
_FAILED = Query(
    _letters.where(_letter.status == LetterStatus.FAILED).order_by(_letter.settled_at, _letter.id).limit(1000), Letter
)
_ids = bindparam("ids", type_=ARRAY(Uuid()))


async def find_letter(db: Reading | Transaction, letter_id: uuid.UUID) -> Letter | None:
    return await db.first(_BY_ID, id=letter_id)


async def list_failed_letters(reading: Reading) -> list[Letter]:
    """Those that were given up, the longest ago first; a thousand at most."""
    return await reading.all(_FAILED)


_WRITE = Command(
    upsert(_letter)
    .from_select(
        ["id", "kind", "subject_id", "user_id"],
        select(
            func.unnest(_ids),
            bindparam("kind", type_=String()),
            func.unnest(bindparam("subjects", type_=ARRAY(Uuid()))),
            func.unnest(bindparam("users", type_=ARRAY(Uuid()))),
        ),
    )
    .on_conflict_do_nothing()
    .returning(_letter.id)
)


_one = update(_letter).where(_letter.id == bindparam("letter", type_=Uuid()))
_queued = _one.where(_letter.status == LetterStatus.QUEUED)
_now = func.clock_timestamp()  # of the statement that waited for the row, not of when its transaction began
_TAKE = Command(
    _queued.where(
        _letter.taken_until.is_(None) | (bindparam("takes_over", type_=Boolean()) & (_letter.taken_until <= _now))
    ).values(taken_until=_now + bindparam("lease", type_=Interval()))
)
_ours = _queued.where(_letter.taken_until.is_not_distinct_from(bindparam("taken", type_=DateTime(timezone=True))))
_GIVE_BACK = Command(_ours.values(taken_until=None))
_tried = {"attempts": _letter.attempts + 1, "taken_until": None}
_POSTPONE = Command(_ours.values(_tried))
_SETTLE = Command(_ours.values(settled_at=func.now(), **_tried))
_SENT = Command(_queued.values(settled_at=func.now(), **_tried))
_STRAYS: Query[uuid.UUID] = Query(
    select(_letter.id).where(
        _letter.status == LetterStatus.QUEUED, ~jobs.is_under_way(ENTRYPOINT, _letter.id.expression)
    ),
    lambda letter_id: letter_id,
)
_requeue = (
    update(_letter)
    .where(_letter.status == LetterStatus.FAILED)
    .values(status=LetterStatus.QUEUED, attempts=0, problem=None, settled_at=None)
    .returning(_letter.id)
)
_REQUEUE_ALL = Command(_requeue)
_REQUEUE_SOME = Command(_requeue.where(_letter.id == any_(_ids)))


async def add_letters(tx: Transaction, kind: LetterKind, about: Iterable[tuple[uuid.UUID, uuid.UUID]]) -> None:
    """Writes to each (subject, user) who has no such letter yet."""
    added = await tx.scalars(_WRITE, **_values(kind, list(about)))
    await jobs.enqueue(tx, ENTRYPOINT, [str(letter_id).encode() for letter_id in added])


async def pretend_letter(tx: Transaction, kind: LetterKind) -> None:
    """No letter, by the statements that write one, and a job for it: whoever measures the time learns nothing."""
    await tx.scalars(_WRITE, **_values(kind, []))
    await jobs.enqueue(tx, ENTRYPOINT, [str(models.new_id()).encode()])


def _values(kind: LetterKind, pairs: list[tuple[uuid.UUID, uuid.UUID]]) -> dict[str, Any]:
    return {
        "ids": [models.new_id() for _ in pairs],
        "kind": kind,
        "subjects": [subject for subject, _ in pairs],
        "users": [user for _, user in pairs],
    }


async def take_letter(tx: Transaction, letter_id: uuid.UUID, lease: dt.timedelta, *, takes_over: bool = True) -> bool:
    """For so long nobody else can. False when somebody has it, or had it and `takes_over` is not set, or it is settled."""
    return await tx.run(_TAKE, letter=letter_id, lease=lease, takes_over=takes_over) == 1


async def give_back_letter(tx: Transaction, letter: Letter) -> None:
    """As if it had not been taken."""
    await tx.run(_GIVE_BACK, letter=letter.id, taken=letter.taken_until)


async def postpone_letter(tx: Transaction, letter: Letter, problem: str) -> bool:
    """It will be tried again. False when somebody else has taken it meanwhile, or settled it."""
    return await tx.run(_POSTPONE, letter=letter.id, taken=letter.taken_until, problem=problem) == 1


async def settle_letter(
    tx: Transaction,
    letter_id: uuid.UUID,
    status: LetterStatus,
    problem: str | None = None,
    *,
    taken_until: dt.datetime | None = None,
) -> bool:
    """It will not be tried again. False when it was settled before.

    That it was sent is true whoever has it in hand by now; anything else is for whom it was `taken_until` then.
    """
    if status is LetterStatus.SENT:
        return await tx.run(_SENT, letter=letter_id, status=status, problem=problem) == 1
    return await tx.run(_SETTLE, letter=letter_id, taken=taken_until, status=status, problem=problem) == 1


async def requeue_strays(tx: Transaction) -> int:
    """Those that wait without a job that would carry them, which should not be; how many."""
    found = await tx.all(_STRAYS)
    await jobs.enqueue(tx, ENTRYPOINT, [str(letter_id).encode() for letter_id in found])
    return len(found)


async def requeue_failed_letters(tx: Transaction, letter_ids: Iterable[uuid.UUID] | None = None) -> int:
    """Those that were given up, or some of them, begin again; how many."""
    if letter_ids is None:
        again = await tx.scalars(_REQUEUE_ALL)
    else:
        again = await tx.scalars(_REQUEUE_SOME, ids=list(letter_ids))
    await jobs.enqueue(tx, ENTRYPOINT, [str(letter_id).encode() for letter_id in again])
    return len(again)
