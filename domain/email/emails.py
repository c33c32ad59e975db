"""Enqueues emails, each in the transaction of the change that it reports."""

import uuid

from persistence import emails
from persistence.emails import EmailKind
from persistence.postgres.database import Transaction


async def enqueue(tx: Transaction, kind: EmailKind, subject_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Enqueue an email to one user, unless this kind was enqueued for the same subject and user before."""
    await emails.enqueue_emails(tx, kind, [(subject_id, user_id)])


async def enqueue_again(tx: Transaction, kind: EmailKind, subject_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """Enqueue an email about a subject that has changed since the last one, unless that one is still to be sent.

    The caller holds a lock on the subject.
    """
    await emails.enqueue_email_again(tx, kind, subject_id, user_id)


async def enqueue_or_decoy(tx: Transaction, kind: EmailKind, subject_id: uuid.UUID, user_id: uuid.UUID | None) -> None:
    """Like `enqueue`; without a user, run the same statements and enqueue a job that no email belongs to."""
    if user_id is None:
        await emails.enqueue_decoy_email(tx, kind)
    else:
        await enqueue(tx, kind, subject_id, user_id)
