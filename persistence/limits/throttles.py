"""Counters of attempts, by digests of who attempted what."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Integer, Interval, LargeBinary, bindparam, delete, extract, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.statements import Command, Query

RETENTION = dt.timedelta(days=90)
"""How long known devices of an account are remembered; failed attempts count for a day."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """An attempt under `key`: the first `free_attempts` are immediate, then the delay doubles up to `max_delay`."""

    key: bytes
    free_attempts: int
    max_delay: dt.timedelta


# One statement decides and counts, so concurrent attempts are limited as if they came one after the other.
_RECORD_ATTEMPT = Command(
    text("""
    INSERT INTO throttles AS known (key, tries, free_at, tried_at)
    VALUES (:key, 1, clock_timestamp(), clock_timestamp())
    ON CONFLICT (key) DO UPDATE SET
        tries = CASE WHEN known.tried_at < clock_timestamp() - interval '1 day' THEN 1 ELSE known.tries + 1 END,
        free_at = clock_timestamp() + CASE
            WHEN known.tried_at < clock_timestamp() - interval '1 day' OR known.tries + 1 < :free THEN interval '0'
            ELSE least(interval '1 second' * power(2, least(known.tries + 1 - :free, 30)), :longest) END,
        tried_at = clock_timestamp()
    WHERE known.free_at <= clock_timestamp()
    RETURNING key
""").bindparams(
        bindparam("key", type_=LargeBinary()),
        bindparam("free", type_=Integer()),
        bindparam("longest", type_=Interval()),
    )
)
_has_key = tables.Throttle.key == bindparam("throttle", type_=LargeBinary())
_now = func.clock_timestamp()
_WAIT = Query(select(func.ceil(extract("epoch", tables.Throttle.free_at - _now)).cast(Integer)).where(_has_key), int)
_DELETE = Command(delete(tables.Throttle).where(_has_key))
_DELETE_LAST_ATTEMPT = Command(delete(tables.Throttle).where(_has_key, tables.Throttle.tries <= 1))
_DECREMENT = Command(update(tables.Throttle).where(_has_key).values(tries=tables.Throttle.tries - 1, free_at=_now))
_MARK_KNOWN = Command(
    insert(tables.Throttle)
    .values(tries=0, free_at=_now, tried_at=_now)
    .on_conflict_do_update(index_elements=["key"], set_={"tried_at": _now})
)
_IS_KNOWN = Query(select(tables.Throttle.key).where(_has_key), bool)
_DELETE_EXPIRED = Command(
    delete(tables.Throttle).where(
        (
            (tables.Throttle.tries > 0)
            & (tables.Throttle.tried_at < _now - dt.timedelta(days=1))
            & (tables.Throttle.free_at < _now)
        )
        | (tables.Throttle.tried_at < _now - RETENTION)
    )
)


async def record_attempt(tx: Transaction, attempt: Attempt) -> int:
    """Count an attempt; return the seconds it has to wait, or 0 when it may proceed."""
    if (
        await tx.scalar(_RECORD_ATTEMPT, key=attempt.key, free=attempt.free_attempts, longest=attempt.max_delay)
        is not None
    ):
        return 0
    return max(1, await tx.first(_WAIT, throttle=attempt.key) or 1)


async def undo_attempt(tx: Transaction, key: bytes, *, undo_all: bool) -> None:
    """Remove the last attempt from the count, or all attempts."""
    if not await tx.execute(_DELETE if undo_all else _DELETE_LAST_ATTEMPT, throttle=key):
        await tx.execute(_DECREMENT, throttle=key)


async def mark_known(tx: Transaction, key: bytes) -> None:
    """Remember a key, such as a device that signed in."""
    await tx.execute(_MARK_KNOWN, key=key)


async def is_known(tx: Transaction, key: bytes) -> bool:
    """Whether a key was marked as known within `RETENTION`."""
    return await tx.first(_IS_KNOWN, throttle=key) is not None


async def delete_expired(tx: Transaction) -> int:
    """Delete expired counters; return their number."""
    return await tx.execute(_DELETE_EXPIRED)
