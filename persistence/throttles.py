"""Counts of tries, by digests of who tried what."""

import datetime as dt
from dataclasses import dataclass

from sqlalchemy import Integer, Interval, LargeBinary, bindparam, delete, extract, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from persistence.database import Transaction
from persistence.models import Throttle

KEPT = dt.timedelta(days=90)
"""How long it is remembered where an account was signed in to; wrong tries count for a day."""


@dataclass(frozen=True, slots=True)
class Claim:
    """One more try under `key`: `free` of them cost no wait, which then doubles up to `longest`."""

    key: bytes
    free: int
    longest: dt.timedelta


# One statement decides and counts, so that of tries at once no more pass than one after the other would.
_CLAIM = text("""
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
    bindparam("key", type_=LargeBinary()), bindparam("free", type_=Integer()), bindparam("longest", type_=Interval())
)
_WAIT = select(func.ceil(extract("epoch", Throttle.free_at - func.clock_timestamp())).cast(Integer)).where(
    Throttle.key == bindparam("key", type_=LargeBinary())
)


async def claim(tx: Transaction, claim: Claim) -> int:
    """Counts a try. The seconds it has to wait, 0 when it may go on."""
    parameters = {"key": claim.key, "free": claim.free, "longest": claim.longest}
    if await tx.scalar(_CLAIM, parameters) is not None:
        return 0
    return max(1, await tx.scalar(_WAIT, {"key": claim.key}) or 1)


async def give_back(tx: Transaction, key: bytes, *, wholly: bool) -> None:
    """Uncounts a try, or all of them."""
    last = Throttle.key == key if wholly else (Throttle.key == key) & (Throttle.tries <= 1)
    if not await tx.run(delete(Throttle).where(last)):
        fewer = {"tries": Throttle.tries - 1, "free_at": func.clock_timestamp()}
        await tx.run(update(Throttle).where(Throttle.key == key).values(fewer))


async def remember(tx: Transaction, key: bytes) -> None:
    now = func.clock_timestamp()
    there = insert(Throttle).values(key=key, tries=0, free_at=now, tried_at=now)
    await tx.run(there.on_conflict_do_update(index_elements=["key"], set_={"tried_at": now}))


async def is_there(tx: Transaction, key: bytes) -> bool:
    return await tx.scalar(select(Throttle.key).where(Throttle.key == key)) is not None


async def forget_old(tx: Transaction) -> int:
    now = func.clock_timestamp()
    spent = (Throttle.tries > 0) & (Throttle.tried_at < now - dt.timedelta(days=1)) & (Throttle.free_at < now)
    return await tx.run(delete(Throttle).where(spent | (Throttle.tried_at < now - KEPT)))
