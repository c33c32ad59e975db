"""The queue that letters travel in: PgQueuer, on tables of its own in the same database."""

import datetime as dt
import uuid
from collections.abc import Sequence

from pgqueuer import AsyncpgDriver, Queries
from sqlalchemy import ColumnElement, String, bindparam, cast, column, delete, exists, func, literal_column, table
from sqlalchemy.types import Interval

from persistence.database import Transaction
from persistence.query import Command

_queue = table("pgqueuer", column("entrypoint", String()), column("payload"), column("status"))
_log = table("pgqueuer_log", column("created"))
_UNDER_WAY = literal_column("'queued'", String()), literal_column("'picked'", String())
_FORGET = Command(delete(_log).where(_log.c.created < func.now() - bindparam("after", type_=Interval())))


async def enqueue(tx: Transaction, entrypoint: str, payloads: Sequence[bytes]) -> None:
    """Jobs that exist once the transaction is committed, and never if it is not."""
    if payloads:
        queries = Queries(AsyncpgDriver(tx.driver))
        await queries.enqueue([entrypoint] * len(payloads), list(payloads), [0] * len(payloads))


def is_under_way(entrypoint: str, key: ColumnElement[uuid.UUID]) -> ColumnElement[bool]:
    """Whether there is a job that waits, or is being done, for what has this key."""
    return exists().where(
        _queue.c.entrypoint == entrypoint,
        _queue.c.payload == func.convert_to(cast(key, String()), "UTF8"),
        cast(_queue.c.status, String()).in_(_UNDER_WAY),
    )


async def forget_old_jobs(tx: Transaction, after: dt.timedelta) -> None:
    """What PgQueuer noted of jobs; it never forgets any by itself."""
    await tx.run(_FORGET, after=after)
