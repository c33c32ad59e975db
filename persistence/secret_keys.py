"""Which secrets the shop is run with, by ids that tell nothing of them."""

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
    """`now` is when it was looked."""

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
    return await tx.all(_USED_KEYS)


async def record_used_keys(tx: Transaction, ids: Sequence[str]) -> None:
    """They are in use now; those that nobody has used for 90 days are forgotten."""
    await tx.execute(_RECORD_USE, ids=sorted(ids))  # in one order, whoever else notes the same
    await tx.execute(_DELETE_UNUSED)
