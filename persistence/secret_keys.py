"""The secret keys in use, by ids that reveal nothing about them."""

import datetime as dt
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import String, bindparam, delete, func, literal_column, select
from sqlalchemy.dialects.postgresql import ARRAY
from sqlalchemy.dialects.postgresql import insert as upsert

from persistence import tables
from persistence.postgres.database import Transaction
from persistence.postgres.statements import Command, Query


class UsedKey(NamedTuple):
    """A key id, when it was last used, and when this was read."""

    id: str
    used_at: dt.datetime
    checked_at: dt.datetime


_ids = func.unnest(bindparam("ids", type_=ARRAY(String())))
_USED_KEYS = Query(select(tables.SecretKey.id, tables.SecretKey.used_at, func.now()), UsedKey)
_RECORD_USE = Command(
    upsert(tables.SecretKey)
    .from_select(["id", "used_at"], select(_ids, func.now()))
    .on_conflict_do_update(index_elements=[tables.SecretKey.id], set_={"used_at": func.now()})
)
_DELETE_UNUSED = Command(
    delete(tables.SecretKey).where(tables.SecretKey.used_at < func.now() - literal_column("interval '90 days'"))
)


async def list_used_keys(tx: Transaction) -> list[UsedKey]:
    """Return all key ids with the times of their last use."""
    return await tx.all(_USED_KEYS)


async def record_used_keys(tx: Transaction, ids: Sequence[str]) -> None:
    """Record that these keys are in use now, and delete those unused for 90 days."""
    await tx.execute(_RECORD_USE, ids=sorted(ids))  # in one order, so that processes do not deadlock
    await tx.execute(_DELETE_UNUSED)
