"""The job queue of emails: PgQueuer, with its own tables in the same database."""

import datetime as dt
import uuid
from collections.abc import Sequence

from pgqueuer import AsyncpgDriver, Queries
from sqlalchemy import ColumnElement, String, bindparam, cast, column, delete, exists, func, literal_column, table
from sqlalchemy.types import Interval

from persistence.postgres.database import Transaction
from persistence.postgres.statements import Command

_queue = table("pgqueuer", column("entrypoint", String()), column("payload"), column("status"))
_log = table("pgqueuer_log", column("created"))
_PENDING_STATUSES = literal_column("'queued'", String()), literal_column("'picked'", String())
_DELETE_OLD_LOGS = Command(delete(_log).where(_log.c.created < func.now() - bindparam("after", type_=Interval())))


async def enqueue(tx: Transaction, entrypoint: str, payloads: Sequence[bytes]) -> None:
    """Enqueue jobs that exist once the transaction is committed."""
    if payloads:
        queries = Queries(AsyncpgDriver(tx.driver_connection))
        await queries.enqueue([entrypoint] * len(payloads), list(payloads), [0] * len(payloads))


def is_pending(entrypoint: str, key: ColumnElement[uuid.UUID]) -> ColumnElement[bool]:
    """Return the condition that a job for this key is queued or running."""
    return exists().where(
        _queue.c.entrypoint == entrypoint,
        _queue.c.payload == func.convert_to(cast(key, String()), "UTF8"),
        cast(_queue.c.status, String()).in_(_PENDING_STATUSES),
    )


async def delete_old_job_logs(tx: Transaction, max_age: dt.timedelta) -> None:
    """Delete PgQueuer's log entries older than `max_age`; PgQueuer never does."""
    await tx.execute(_DELETE_OLD_LOGS, after=max_age)
