"""The letters the shop writes. Each is written in the transaction of the fact that it tells of."""

import uuid

from persistence import emails
from persistence.emails import EmailKind
from persistence.postgres.database import Transaction


async def enqueue(tx: Transaction, kind: EmailKind, subject_id: uuid.UUID, user_id: uuid.UUID) -> None:
    """To one reader; nothing happens when this kind was written about this subject to them before."""
    await emails.enqueue_emails(tx, kind, [(subject_id, user_id)])


async def enqueue_or_decoy(tx: Transaction, kind: EmailKind, subject_id: uuid.UUID, user_id: uuid.UUID | None) -> None:
    """As `write`; without a reader the same statements are sent, and a job whose letter the poster will not find."""
    if user_id is None:
        await emails.enqueue_decoy_email(tx, kind)
    else:
        await enqueue(tx, kind, subject_id, user_id)
