"""The queue that letters travel in: PgQueuer, on tables of its own in the same database."""

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
    """Jobs that exist once the transaction is committed, and never if it is not."""
    if payloads:
        queries = Queries(AsyncpgDriver(tx.driver_connection))
        await queries.enqueue([entrypoint] * len(payloads), list(payloads), [0] * len(payloads))


def is_pending(entrypoint: str, key: ColumnElement[uuid.UUID]) -> ColumnElement[bool]:
    """Whether there is a job that waits, or is being done, for what has this key."""
    return exists().where(
        _queue.c.entrypoint == entrypoint,
        _queue.c.payload == func.convert_to(cast(key, String()), "UTF8"),
        cast(_queue.c.status, String()).in_(_PENDING_STATUSES),
    )


async def delete_old_job_logs(tx: Transaction, max_age: dt.timedelta) -> None:
    """What PgQueuer noted of jobs; it never forgets any by itself."""
    await tx.execute(_DELETE_OLD_LOGS, after=max_age)
