"""Transactional e-mails as outbox rows, each with a job that sends it: one per kind, subject and recipient, unless repeated."""

import datetime as dt
import uuid
from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    DateTime,
    Integer,
    Interval,
    String,
    Uuid,
    any_,
    bindparam,
    func,
    insert,
    select,
    update,
)
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import job_queue, tables
from persistence.postgres.database import Transaction
from persistence.postgres.read_session import ReadSession
from persistence.postgres.statements import Command, Query

ENTRYPOINT = "letter"
"""PgQueuer's name for the job that sends an e-mail; its payload is the e-mail's id. Stored in databases, so it stays."""


class EmailKind(StrEnum):
    """What an e-mail is about."""

    ORDER_CONFIRMED = "ORDER_CONFIRMED"
    ORDER_SHIPPED = "ORDER_SHIPPED"
    ORDER_CANCELLED = "ORDER_CANCELLED"
    BOOK_BACK = "BOOK_BACK"
    VERIFY_EMAIL = "VERIFY_EMAIL"
    RESET_PASSWORD = "RESET_PASSWORD"
    PROVIDER_LINKED = "PROVIDER_LINKED"


class EmailStatus(StrEnum):
    """The state of an e-mail."""

    QUEUED = "QUEUED"
    SENT = "SENT"
    SUPPRESSED = "SUPPRESSED"
    """Not sent because no mail backend is configured."""
    OBSOLETE = "OBSOLETE"
    """Not sent because its subject no longer exists or has changed."""
    FAILED = "FAILED"


@dataclass(slots=True)
class EmailRow:
    """An e-mail with the recipient's current address.

    Until `taken_until`, only the worker that claimed it sends it.
    """

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
    """Return the e-mail, or `None` when there is no such e-mail."""
    return await db.first(_BY_ID, id=email_id)


async def list_failed_emails(db: ReadSession) -> list[EmailRow]:
    """Return at most 1,000 e-mails that failed permanently, the earliest failure first."""
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
_same_subject = (
    _email.kind == bindparam("kind", type_=String()),
    _email.subject_id == bindparam("subject", type_=Uuid()),
    _email.user_id == bindparam("user", type_=Uuid()),
)
_LOCK_LATEST = Command(
    select(_email.repeat, (_email.status == EmailStatus.QUEUED) & _email.taken_until.is_(None))
    .where(*_same_subject)
    .order_by(_email.repeat.desc())
    .limit(1)
    .with_for_update()
)
_ADD_REPEAT = Command(
    insert(_email).values(
        id=bindparam("id", type_=Uuid()),
        kind=bindparam("kind", type_=String()),
        subject_id=bindparam("subject", type_=Uuid()),
        user_id=bindparam("user", type_=Uuid()),
        repeat=bindparam("repeat", type_=Integer()),
    )
)
_one_email = update(_email).where(_email.id == bindparam("email", type_=Uuid()))
_queued = _one_email.where(_email.status == EmailStatus.QUEUED)
_now = func.clock_timestamp()  # not now(): the statement may have waited for the row since the transaction began
_CLAIM = Command(
    _queued.where(
        _email.taken_until.is_(None) | (bindparam("can_take_over", type_=Boolean()) & (_email.taken_until <= _now))
    ).values(taken_until=_now + bindparam("lease", type_=Interval()))
)
_claimed = _queued.where(
    _email.taken_until.is_not_distinct_from(bindparam("claimed_until", type_=DateTime(timezone=True)))
)
_RELEASE = Command(_claimed.values(taken_until=None))
_attempted = {"attempts": _email.attempts + 1, "taken_until": None}
_SCHEDULE_RETRY = Command(_claimed.values(_attempted))
_FINISH = Command(_claimed.values(settled_at=func.now(), **_attempted))
_FINISH_SENT = Command(_queued.values(settled_at=func.now(), **_attempted))
_ORPHANS: Query[uuid.UUID] = Query(
    select(_email.id).where(
        _email.status == EmailStatus.QUEUED, ~job_queue.is_pending(ENTRYPOINT, _email.id.expression)
    ),
    lambda email_id: email_id,
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
    """Enqueue an e-mail of this kind for each (subject id, user id) that has none yet."""
    email_ids = await tx.scalars(_ENQUEUE, **_build_values(kind, list(subjects_and_users)))
    await job_queue.enqueue(tx, ENTRYPOINT, [str(email_id).encode() for email_id in email_ids])


async def enqueue_email_again(tx: Transaction, kind: EmailKind, subject_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Enqueue an e-mail although there may be one, unless the latest waits unclaimed: it will have the new content.

    The caller holds a lock that keeps other transactions from repeating the same e-mail.
    """
    key = {"kind": kind, "subject": subject_id, "user": user_id}
    latest = await tx.fetch_records(_LOCK_LATEST, **key)
    repeat, is_waiting = latest[0] if latest else (-1, False)
    if not is_waiting:
        email_id = tables.new_id()
        await tx.execute(_ADD_REPEAT, id=email_id, repeat=repeat + 1, **key)
        await job_queue.enqueue(tx, ENTRYPOINT, [str(email_id).encode()])


async def enqueue_decoy_email(tx: Transaction, kind: EmailKind) -> None:
    """Run the statements of `enqueue_emails` without adding an e-mail; the job that is enqueued finds none.

    The response takes as long as a real one, so its timing does not reveal whether an account exists.
    """
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
    """Claim a queued e-mail for the time of `lease`, and return whether that succeeded.

    An expired claim of another worker is replaced only if `can_take_over`.
    """
    return await tx.execute(_CLAIM, email=email_id, lease=lease, can_take_over=can_take_over) == 1


async def release_email(tx: Transaction, email: EmailRow) -> None:
    """Give up the claim on an e-mail without counting an attempt."""
    await tx.execute(_RELEASE, email=email.id, claimed_until=email.taken_until)


async def schedule_email_retry(tx: Transaction, email: EmailRow, problem: str) -> bool:
    """Count a failed attempt and give up the claim, so that the e-mail is sent later.

    Returns false when another worker has claimed or finished it meanwhile.
    """
    return await tx.execute(_SCHEDULE_RETRY, email=email.id, claimed_until=email.taken_until, problem=problem) == 1


async def finish_email(
    tx: Transaction,
    email_id: uuid.UUID,
    status: EmailStatus,
    problem: str | None = None,
    *,
    taken_until: dt.datetime | None = None,
) -> bool:
    """Set the final status of an e-mail, and return false when it already had one.

    SENT is recorded whichever worker holds the claim. Any other status needs the claim that ends at `taken_until`.
    """
    if status is EmailStatus.SENT:
        return await tx.execute(_FINISH_SENT, email=email_id, status=status, problem=problem) == 1
    return await tx.execute(_FINISH, email=email_id, claimed_until=taken_until, status=status, problem=problem) == 1


async def requeue_orphaned_emails(tx: Transaction) -> int:
    """Enqueue jobs for queued e-mails that have lost theirs, and return how many there were."""
    email_ids = await tx.all(_ORPHANS)
    await job_queue.enqueue(tx, ENTRYPOINT, [str(email_id).encode() for email_id in email_ids])
    return len(email_ids)


async def requeue_failed_emails(tx: Transaction, email_ids: Iterable[uuid.UUID] | None = None) -> int:
    """Queue all failed e-mails again, or those with these ids, and return how many that were."""
    if email_ids is None:
        requeued_ids = await tx.scalars(_REQUEUE_ALL)
    else:
        requeued_ids = await tx.scalars(_REQUEUE_SOME, ids=list(email_ids))
    await job_queue.enqueue(tx, ENTRYPOINT, [str(email_id).encode() for email_id in requeued_ids])
    return len(requeued_ids)
