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

from persistence import job_queue, tables
from persistence.postgres.database import ReadSession, Transaction
from persistence.postgres.statements import Command, Query

ENTRYPOINT = "letter"
"""What PgQueuer calls the work of posting one; the payload is the letter's id."""


class EmailKind(StrEnum):
    ORDER_CONFIRMED = "ORDER_CONFIRMED"
    ORDER_SHIPPED = "ORDER_SHIPPED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    BOOK_BACK = "BOOK_BACK"
    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"  # noqa: S105  # no password
    PROVIDER_LINKED = "PROVIDER_LINKED"


class EmailStatus(StrEnum):
    QUEUED = "QUEUED"
    SENT = "SENT"
    SUPPRESSED = "SUPPRESSED"
    """Not sent because the settings say so."""
    OBSOLETE = "OBSOLETE"
    """Not sent because what it would tell is no longer there."""
    FAILED = "FAILED"


@dataclass(slots=True)
class EmailRow:
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
    email_address: str = field(repr=False)


_email = tables.Email
_columns = (*(getattr(_email, name) for name in EmailRow.__slots__ if name != "email_address"), tables.User.email)
_emails = select(*_columns).join(tables.User, tables.User.id == _email.user_id)
_BY_ID = Query(_emails.where(_email.id == bindparam("id", type_=Uuid())), EmailRow)
_FAILED = Query(
    _emails.where(_email.status == EmailStatus.FAILED).order_by(_email.settled_at, _email.id).limit(1000), EmailRow
)
_ids = bindparam("ids", type_=ARRAY(Uuid()))


async def find_email(db: ReadSession | Transaction, email_id: uuid.UUID) -> EmailRow | None:
    return await db.first(_BY_ID, id=email_id)


async def list_failed_emails(db: ReadSession) -> list[EmailRow]:
    """Those that were given up, the longest ago first; a thousand at most."""
    return await db.all(_FAILED)


_ENQUEUE = Command(
    upsert(_email)
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
    .returning(_email.id)
)


_one_email = update(_email).where(_email.id == bindparam("letter", type_=Uuid()))
_queued = _one_email.where(_email.status == EmailStatus.QUEUED)
_now = func.clock_timestamp()  # of the statement that waited for the row, not of when its transaction began
_CLAIM = Command(
    _queued.where(
        _email.taken_until.is_(None) | (bindparam("takes_over", type_=Boolean()) & (_email.taken_until <= _now))
    ).values(taken_until=_now + bindparam("lease", type_=Interval()))
)
_claimed = _queued.where(_email.taken_until.is_not_distinct_from(bindparam("taken", type_=DateTime(timezone=True))))
_RELEASE = Command(_claimed.values(taken_until=None))
_attempted = {"attempts": _email.attempts + 1, "taken_until": None}
_SCHEDULE_RETRY = Command(_claimed.values(_attempted))
_FINISH = Command(_claimed.values(settled_at=func.now(), **_attempted))
_FINISH_SENT = Command(_queued.values(settled_at=func.now(), **_attempted))
_ORPHANS: Query[uuid.UUID] = Query(
    select(_email.id).where(
        _email.status == EmailStatus.QUEUED, ~job_queue.is_pending(ENTRYPOINT, _email.id.expression)
    ),
    lambda letter_id: letter_id,
)
_requeue = (
    update(_email)
    .where(_email.status == EmailStatus.FAILED)
    .values(status=EmailStatus.QUEUED, attempts=0, problem=None, settled_at=None)
    .returning(_email.id)
)
_REQUEUE_ALL = Command(_requeue)
_REQUEUE_SOME = Command(_requeue.where(_email.id == any_(_ids)))


async def enqueue_emails(
    tx: Transaction, kind: EmailKind, subjects_and_users: Iterable[tuple[uuid.UUID, uuid.UUID]]
) -> None:
    """Writes to each (subject, user) who has no such letter yet."""
    email_ids = await tx.scalars(_ENQUEUE, **_build_values(kind, list(subjects_and_users)))
    await job_queue.enqueue(tx, ENTRYPOINT, [str(email_id).encode() for email_id in email_ids])


async def enqueue_decoy_email(tx: Transaction, kind: EmailKind) -> None:
    """No letter, by the statements that write one, and a job for it: whoever measures the time learns nothing."""
    await tx.scalars(_ENQUEUE, **_build_values(kind, []))
    await job_queue.enqueue(tx, ENTRYPOINT, [str(tables.new_id()).encode()])


def _build_values(kind: EmailKind, pairs: list[tuple[uuid.UUID, uuid.UUID]]) -> dict[str, Any]:
    return {
        "ids": [tables.new_id() for _ in pairs],
        "kind": kind,
        "subjects": [subject for subject, _ in pairs],
        "users": [user for _, user in pairs],
    }


async def claim_email(tx: Transaction, email_id: uuid.UUID, lease: dt.timedelta, *, can_take_over: bool = True) -> bool:
    """For so long nobody else can. False when somebody has it, or had it and `takes_over` is not set, or it is settled."""
    return await tx.execute(_CLAIM, letter=email_id, lease=lease, takes_over=can_take_over) == 1


async def release_email(tx: Transaction, email: EmailRow) -> None:
    """As if it had not been taken."""
    await tx.execute(_RELEASE, letter=email.id, taken=email.taken_until)


async def schedule_email_retry(tx: Transaction, email: EmailRow, problem: str) -> bool:
    """It will be tried again. False when somebody else has taken it meanwhile, or settled it."""
    return await tx.execute(_SCHEDULE_RETRY, letter=email.id, taken=email.taken_until, problem=problem) == 1


async def finish_email(
    tx: Transaction,
    email_id: uuid.UUID,
    status: EmailStatus,
    problem: str | None = None,
    *,
    taken_until: dt.datetime | None = None,
) -> bool:
    """It will not be tried again. False when it was settled before.

    That it was sent is true whoever has it in hand by now; anything else is for whom it was `taken_until` then.
    """
    if status is EmailStatus.SENT:
        return await tx.execute(_FINISH_SENT, letter=email_id, status=status, problem=problem) == 1
    return await tx.execute(_FINISH, letter=email_id, taken=taken_until, status=status, problem=problem) == 1


async def requeue_orphaned_emails(tx: Transaction) -> int:
    """Those that wait without a job that would carry them, which should not be; how many."""
    email_ids = await tx.all(_ORPHANS)
    await job_queue.enqueue(tx, ENTRYPOINT, [str(email_id).encode() for email_id in email_ids])
    return len(email_ids)


async def requeue_failed_emails(tx: Transaction, email_ids: Iterable[uuid.UUID] | None = None) -> int:
    """Those that were given up, or some of them, begin again; how many."""
    if email_ids is None:
        requeued_ids = await tx.scalars(_REQUEUE_ALL)
    else:
        requeued_ids = await tx.scalars(_REQUEUE_SOME, ids=list(email_ids))
    await job_queue.enqueue(tx, ENTRYPOINT, [str(email_id).encode() for email_id in requeued_ids])
    return len(requeued_ids)
